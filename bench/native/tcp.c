/* DO-IRP over TCP, HTTP and Redis: one request at a time on each connection, a connection a slot. */
#include "load.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#define MAX_REPLY 70000
#define EVENTS 256

struct connection {
    int fd, out_size, out_at, in_size, reused;
    uint8_t out[MAX_REQUEST], in[MAX_REPLY];
};
static struct connection *connections;

void tcp_open(void) {
    connections = room((size_t)options.open, sizeof *connections);
    for (int i = 0; i < options.open; i++) connections[i].fd = -1;
}

static void hang_up(struct connection *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static int dial(uint32_t slot) {
    struct connection *c = &connections[slot];
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = slot};
    struct linger at_once = {1, 0}; /* no ports kept in TIME_WAIT: there are too few of them */
    int one = 1;
    c->reused = 0;
    c->fd = socket(peer.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) return -1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (options.mode == IRP_TCP_ONCE) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    if (connect(c->fd, (void *)&peer, peer_size) && errno != EINPROGRESS) return -1;
    return epoll_ctl(watched, EPOLL_CTL_ADD, c->fd, &event);
}

/* A server may close an idle connection just as a request is sent on it. HTTP clients then ask once
 * more on a new one (RFC 9112 §9.3.1), and so is done here; 0 where that is not what happened. */
static int ask_again(uint32_t slot) {
    struct connection *c = &connections[slot];
    if (options.mode != HTTP || !requests[slot].busy || !c->reused || c->in_size) return 0;
    hang_up(c);
    c->out_at = 0;
    counts.retried++;
    return dial(slot) == 0;
}

static void fail(uint32_t slot, uint64_t *as) {
    hang_up(&connections[slot]);
    if (requests[slot].busy) give_up(slot, as);
}

static void flush(struct connection *c) {
    while (c->out_at < c->out_size) {
        ssize_t sent = send(c->fd, c->out + c->out_at, (size_t)(c->out_size - c->out_at), MSG_NOSIGNAL);
        if (sent <= 0) return; /* not connected yet, or full: an event follows */
        c->out_at += (int)sent;
    }
}

static int write_request(uint8_t *out, uint32_t slot) {
    const struct key *key = requests[slot].key;
    if (options.mode == HTTP) return http_request(out, key);
    if (options.mode == REDIS) return redis_request(out, key);
    return irp_request(out, key, slot + 1, options.mode == IRP_TCP);
}

/* Send what is due, a connection each; how many went. */
int tcp_send(const uint64_t *due, int count) {
    for (int i = 0; i < count; i++) {
        uint32_t slot = begin(due[i]);
        struct connection *c = &connections[slot];
        c->out_size = write_request(c->out, slot);
        c->out_at = c->in_size = 0;
        if (c->fd < 0 && dial(slot))
            fail(slot, &counts.failed);
        else
            flush(c);
    }
    return count;
}

/* Whether a whole reply is here; right: that it is the one we want. */
static int is_whole(struct connection *c, const struct request *r, int *right) {
    if (options.mode == HTTP) {
        *right = http_is_right(c->in, c->in_size);
        return http_size(c->in, c->in_size) > 0;
    }
    if (options.mode == REDIS) {
        *right = redis_is_right(c->in, c->in_size);
        return redis_size(c->in, c->in_size) > 0;
    }
    if (c->in_size < 20 || c->in_size < 20 + (int)(get32(c->in + 16) & 0xFFFFFF)) return 0;
    *right = irp_is_right(c->in, c->in_size, r->key);
    return 1;
}

/* Read what came; 0 when there is no more to read from this connection now. */
static int read_some(uint32_t slot, uint64_t now) {
    struct connection *c = &connections[slot];
    int right;
    if (c->in_size >= MAX_REPLY - 1) fail(slot, &counts.wrong);
    if (c->fd < 0) return 0;
    ssize_t got = recv(c->fd, c->in + c->in_size, (size_t)(MAX_REPLY - 1 - c->in_size), 0);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) {
        if (ask_again(slot)) return 0;
        fail(slot, &counts.failed); /* none under way: the server closed an idle connection */
        return 0;
    }
    c->in_size += (int)got;
    if (!requests[slot].busy || !is_whole(c, &requests[slot], &right)) return 1;
    if (options.mode == IRP_TCP_ONCE || (options.mode == HTTP && http_is_last(c->in, c->in_size))) hang_up(c);
    finish(slot, now, right);
    c->in_size = 0;
    c->reused = 1;
    return c->fd >= 0; /* once more: the server may have closed behind its reply */
}

void tcp_receive(void) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(watched, events, EVENTS, 0);
    uint64_t now = now_ns();
    for (int i = 0; i < count; i++) {
        uint32_t slot = events[i].data.u32;
        if (connections[slot].fd < 0) continue;
        if (events[i].events & EPOLLOUT) flush(&connections[slot]);
        while (read_some(slot, now)) continue;
    }
}

void tcp_expire(uint64_t now) {
    for (int i = 0; i < options.open; i++)
        if (requests[i].busy && now > requests[i].due + 5 * TIMEOUT_NS) fail((uint32_t)i, &counts.lost);
}
