/* DO-IRP and DNS over UDP: a few sockets, many requests in one system call. */
#include "load.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define MAX_SOCKETS 256
#define BATCH 64
#define MAX_REPLY 4200

static int sockets[MAX_SOCKETS];
static int next_socket;

void udp_open(void) {
    int octets = 4 << 20;
    for (int i = 0; i < options.sockets; i++) {
        int fd = socket(peer.ss_family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (void *)&peer, peer_size)) die("socket");
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &octets, sizeof octets);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        if (epoll_ctl(watched, EPOLL_CTL_ADD, fd, &event)) die("epoll");
        sockets[i] = fd;
    }
}

/* The slot in the low half, its generation in the high one; never 0. */
static uint32_t irp_id(uint32_t slot) {
    return (slot + 1) | (uint32_t)(requests[slot].generation & 0x7FFF) << 16;
}

static int write_request(uint8_t *out, uint32_t slot) {
    const struct key *key = requests[slot].key;
    if (options.mode == DNS) return dns_request(out, key, (uint16_t)slot);
    return irp_request(out, key, irp_id(slot), 0);
}

/* Send what is due, over one socket; how many went. */
int udp_send(const uint64_t *due, int count) {
    static uint8_t data[BATCH][MAX_KEY + 64];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    uint32_t slots[BATCH];
    if (count > BATCH) count = BATCH;
    for (int i = 0; i < count; i++) {
        slots[i] = begin(due[i]);
        parts[i] = (struct iovec){data[i], (size_t)write_request(data[i], slots[i])};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
    }
    next_socket = (next_socket + 1) % options.sockets;
    int sent = sendmmsg(sockets[next_socket], messages, (unsigned)count, 0);
    int refused = sent < 0 && errno != EAGAIN && errno != EINTR; /* by an earlier packet's ICMP */
    if (sent < 0) sent = 0;
    for (int i = sent + refused; i < count; i++) put_back(slots[i]);
    if (refused) give_up(slots[0], &counts.failed);
    return sent + refused;
}

/* Which request a reply belongs to; −1: none. later: of a long reply's further packets. */
static long slot_of(const uint8_t *reply, int size, int *later) {
    uint32_t slot;
    *later = 0;
    if (options.mode == DNS) {
        if (size < 12) return -1;
        slot = (uint32_t)reply[0] << 8 | reply[1];
    } else {
        if (size < 20) return -1;
        *later = get32(reply + 12) != 0;
        slot = (get32(reply + 8) & 0xFFFF) - 1;
    }
    if (slot >= (uint32_t)options.open || !requests[slot].busy) return -1;
    if (options.mode != DNS && irp_id(slot) != get32(reply + 8)) return -1;
    return (long)slot;
}

static void take(const uint8_t *reply, int size, uint64_t now) {
    int later;
    long slot = slot_of(reply, size, &later);
    if (later) return;
    if (slot < 0) {
        counts.stray++;
        return;
    }
    int right = options.mode == DNS ? dns_is_right(reply, size)
                                    : irp_is_right(reply, size, requests[slot].key);
    finish((uint32_t)slot, now, right);
}

static int receive_from(int fd) {
    static uint8_t data[BATCH][MAX_REPLY];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    if (!parts[0].iov_base)
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){data[i], MAX_REPLY};
            messages[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &parts[i], .msg_iovlen = 1}};
        }
    int got = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
    uint64_t now = got > 0 ? now_ns() : 0;
    for (int i = 0; i < got; i++) take(data[i], (int)messages[i].msg_len, now);
    return got;
}

void udp_receive(void) {
    struct epoll_event events[MAX_SOCKETS];
    int count = epoll_wait(watched, events, MAX_SOCKETS, 0);
    for (int i = 0; i < count; i++)
        while (receive_from(events[i].data.fd) == BATCH) continue;
}

void udp_expire(uint64_t now) {
    for (int i = 0; i < options.open; i++)
        if (requests[i].busy && now > requests[i].due + TIMEOUT_NS) give_up((uint32_t)i, &counts.lost);
}
