/* load: an open-loop generator for DO-IRP (UDP, TCP), DNS (NAPTR over UDP) and HTTP.
 *
 * Build: cc -O2 -Wall -o load load.c -lm
 * Use:   load -m MODE -H HOST -p PORT -f KEYS [-r RATE] [-n OPEN] [-t SECONDS] [-w WARMUP] [-P PID,..]
 *
 * One thread. With -r the i-th request is due at start + i/RATE whatever the server does, and its
 * latency counts from that instant, so a server that stalls cannot hide it (no coordinated omission).
 * Without -r the loop is closed: OPEN requests are kept in flight. KEYS has one name a line.
 * The result is one JSON object on stdout: counts, latency percentiles (log-linear histogram, 1/64
 * relative precision), generator CPU, and the CPU, page faults and resident memory of the PIDs.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum mode { IRP_UDP, IRP_TCP, IRP_TCP_ONCE, HTTP, DNS };
static const char *mode_names[] = {"irp-udp", "irp-tcp", "irp-tcp-once", "http", "dns"};

#define MAX_OPEN 65536
#define MAX_PIDS 64
#define BUFFER 70000
#define TIMEOUT_NS 1000000000ull

static enum mode mode;
static const char *host = "127.0.0.1", *keys_file;
static int port = 2641, open_limit = 64, sockets_wanted = 8;
static double rate, seconds = 5, warmup = 1, zipf;
static int pids[MAX_PIDS], pid_count;
static struct sockaddr_storage peer;
static socklen_t peer_size;

/* ---- keys ---- */
struct key { char *text; int size; };
static struct key *keys;
static long key_count;
static double *zipf_sums;
static uint64_t random_state = 88172645463325252ull;

static uint64_t random_u64(void) {
    random_state ^= random_state << 13; random_state ^= random_state >> 7; random_state ^= random_state << 17;
    return random_state;
}

static void die(const char *what) { fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "bad"); exit(2); }

static void read_keys(void) {
    FILE *in = fopen(keys_file, "r");
    if (!in) die(keys_file);
    size_t room = 0, line_room = 0; char *line = NULL; ssize_t size;
    while ((size = getline(&line, &line_room, in)) > 0) {
        while (size && (line[size - 1] == '\n' || line[size - 1] == '\r')) line[--size] = 0;
        if (!size || size > 2000) continue;
        if (key_count == (long)room) { room = room ? room * 2 : 1024; keys = realloc(keys, room * sizeof *keys); if (!keys) die("memory"); }
        keys[key_count].text = strdup(line); keys[key_count++].size = (int)size;
    }
    free(line); fclose(in);
    if (!key_count) { errno = 0; die("no keys in the file"); }
    if (zipf > 0) {
        zipf_sums = malloc(sizeof(double) * key_count); double sum = 0;
        for (long i = 0; i < key_count; i++) zipf_sums[i] = sum += 1.0 / pow((double)(i + 1), zipf);
    }
}

static struct key *next_key(void) {
    if (!zipf_sums) return &keys[random_u64() % (uint64_t)key_count];
    double want = (random_u64() >> 11) * (1.0 / 9007199254740992.0) * zipf_sums[key_count - 1];
    long low = 0, high = key_count - 1;
    while (low < high) { long middle = (low + high) / 2; if (zipf_sums[middle] < want) low = middle + 1; else high = middle; }
    return &keys[low];
}

/* ---- time, histogram, process table ---- */
static uint64_t now_ns(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ull + t.tv_nsec; }

#define SUB 64
static uint64_t histogram[64 * SUB], most_ns;
static int bucket(uint64_t v) { if (v < SUB) return (int)v; int e = 63 - __builtin_clzll(v); return (e - 5) * SUB + (int)((v >> (e - 6)) & (SUB - 1)); }
static double bucket_ns(int b) { if (b < SUB) return b; int e = b / SUB + 5; return ldexp(SUB + b % SUB + 0.5, e - 6); }
static double percentile(double share, uint64_t total) {
    uint64_t want = (uint64_t)ceil(share * (double)total), seen = 0;
    for (int b = 0; b < 64 * SUB; b++) if ((seen += histogram[b]) >= want && seen) return bucket_ns(b) / 1000.0;
    return 0;
}

struct usage { double cpu; long minor, major, rss_kib; };
static struct usage process_usage(void) {
    struct usage sum = {0};
    for (int i = 0; i < pid_count; i++) {
        char path[64], text[1024]; snprintf(path, sizeof path, "/proc/%d/stat", pids[i]);
        FILE *in = fopen(path, "r"); if (!in) continue;
        size_t size = fread(text, 1, sizeof text - 1, in); fclose(in); text[size] = 0;
        char *rest = strrchr(text, ')'); if (!rest) continue;
        unsigned long minor, major, user, system; long rss;
        if (sscanf(rest + 2, "%*c %*d %*d %*d %*d %*d %*u %lu %*u %lu %*u %lu %lu %*d %*d %*d %*d %*d %*d %*u %*u %ld", &minor, &major, &user, &system, &rss) == 5) {
            sum.cpu += (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
            sum.minor += (long)minor; sum.major += (long)major; sum.rss_kib += rss * (sysconf(_SC_PAGESIZE) / 1024);
        }
    }
    return sum;
}

/* ---- requests ---- */
struct request { uint64_t due; struct key *key; uint8_t busy; };
static struct request *requests;        /* UDP: by slot; TCP: one a connection */
static uint32_t *free_slots; static int free_count;
static uint16_t *generation;
static uint64_t sent, answered, lost, wrong, failed, measured_from, behind_max;

static void put32(uint8_t *to, uint32_t v) { to[0] = v >> 24; to[1] = v >> 16; to[2] = v >> 8; to[3] = v; }
static uint32_t get32(const uint8_t *from) { return (uint32_t)from[0] << 24 | from[1] << 16 | from[2] << 8 | from[3]; }

static int irp_request(uint8_t *out, struct key *key, uint32_t id, int keep) {
    int body = 4 + key->size + 8, message = 24 + body + 4;
    memset(out, 0, 44);
    out[0] = 2; out[1] = 11; out[2] = 2; out[3] = 11;
    put32(out + 8, id); put32(out + 16, (uint32_t)message);
    put32(out + 20, 1); put32(out + 28, 0x11000000u | (keep ? 0x02000000u : 0));
    out[32] = out[33] = 0xFF; put32(out + 36, (uint32_t)time(NULL) + 43200); put32(out + 40, (uint32_t)body);
    put32(out + 44, (uint32_t)key->size); memcpy(out + 48, key->text, key->size);
    memset(out + 48 + key->size, 0, 12);
    return 20 + message;
}

static int dns_request(uint8_t *out, struct key *key, uint16_t id) {
    memset(out, 0, 12); out[0] = id >> 8; out[1] = (uint8_t)id; out[2] = 1; out[5] = 1;
    int at = 12, start = 0;
    for (int i = 0; i <= key->size; i++) if (i == key->size || key->text[i] == '.') {
        int size = i - start; if (size > 63) return 0;
        if (size) { out[at++] = (uint8_t)size; memcpy(out + at, key->text + start, size); at += size; }
        start = i + 1;
    }
    out[at++] = 0; out[at++] = 0; out[at++] = 35; out[at++] = 0; out[at++] = 1;
    return at;
}

static int http_request(uint8_t *out, struct key *key) {
    int at = sprintf((char *)out, "GET ");
    if (key->text[0] != '/') at += sprintf((char *)out + at, "/api/handles/");
    for (int i = 0; i < key->size; i++) {
        unsigned char c = (unsigned char)key->text[i];
        if (c <= 32 || c >= 127 || strchr("?#%\"<>", c)) at += sprintf((char *)out + at, "%%%02X", c); else out[at++] = c;
    }
    return at + sprintf((char *)out + at, " HTTP/1.1\r\nHost: %s:%d\r\n\r\n", host, port);
}

static void finish(struct request *r, uint64_t now, int good) {
    if (!good) wrong++;
    if (r->due >= measured_from) { uint64_t took = now > r->due ? now - r->due : 0; histogram[bucket(took)]++; if (took > most_ns) most_ns = took; answered++; }
    r->busy = 0;
}

/* ---- UDP ---- */
static int udp_fds[256];
static void udp_open(void) {
    for (int i = 0; i < sockets_wanted; i++) {
        int fd = socket(peer.ss_family, SOCK_DGRAM | SOCK_NONBLOCK, 0), size = 4 << 20;
        if (fd < 0 || connect(fd, (void *)&peer, peer_size)) die("socket");
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size); udp_fds[i] = fd;
    }
}

static int udp_send(uint64_t due) {
    uint32_t slot = free_slots[--free_count];
    struct request *r = &requests[slot]; r->key = next_key(); r->due = due; r->busy = 1; generation[slot]++;
    uint8_t out[2200]; int size;
    if (mode == DNS) size = dns_request(out, r->key, (uint16_t)slot);
    else size = irp_request(out, r->key, (slot + 1) | (uint32_t)(generation[slot] & 0x7FFF) << 16, 0);
    if (send(udp_fds[slot % sockets_wanted], out, size, 0) < 0) { r->busy = 0; free_slots[free_count++] = slot; failed++; return -1; }
    sent += due >= measured_from; return 0;
}

static void udp_receive(void) {
    static uint8_t data[64][4200]; static struct iovec parts[64]; static struct mmsghdr messages[64];
    for (int i = 0; i < 64; i++) { parts[i].iov_base = data[i]; parts[i].iov_len = sizeof data[i]; memset(&messages[i], 0, sizeof messages[i]); messages[i].msg_hdr.msg_iov = &parts[i]; messages[i].msg_hdr.msg_iovlen = 1; }
    for (int s = 0; s < sockets_wanted; s++) for (;;) {
        int got = recvmmsg(udp_fds[s], messages, 64, MSG_DONTWAIT, NULL);
        if (got <= 0) break;
        uint64_t now = now_ns();
        for (int i = 0; i < got; i++) {
            uint8_t *d = data[i]; int size = (int)messages[i].msg_len; uint32_t slot; int good = 0;
            if (mode == DNS) { if (size < 12) { wrong++; continue; } slot = d[0] << 8 | d[1]; good = (d[3] & 15) == 0 && (d[6] | d[7]); }
            else {
                if (size < 48) { wrong++; continue; }
                uint32_t id = get32(d + 8); slot = (id & 0xFFFF) - 1;
                if (get32(d + 12)) continue;            /* later packets of a long reply */
                if (slot >= (uint32_t)open_limit || (generation[slot] & 0x7FFF) != id >> 16) { wrong++; continue; }
                struct request *r = &requests[slot];
                good = get32(d + 24) == 1 && size >= 48 + r->key->size && (int)get32(d + 44) == r->key->size && !strncasecmp((char *)d + 48, r->key->text, r->key->size);
            }
            if (slot >= (uint32_t)open_limit || !requests[slot].busy) { wrong++; continue; }
            finish(&requests[slot], now, good); free_slots[free_count++] = slot;
        }
        if (got < 64) break;
    }
}

static void udp_expire(uint64_t now) {
    for (int i = 0; i < open_limit; i++) if (requests[i].busy && now > requests[i].due + TIMEOUT_NS + (uint64_t)(rate ? 0 : 0)) {
        lost += requests[i].due >= measured_from; requests[i].busy = 0; free_slots[free_count++] = (uint32_t)i;
    }
}

/* ---- TCP and HTTP: one request at a time on each connection ---- */
struct connection { int fd, out_size, out_at, in_size; uint8_t out[4400], in[BUFFER]; };
static struct connection *connections;
static int epoll_fd;

static int tcp_connect(int i) {
    struct connection *c = &connections[i];
    c->fd = socket(peer.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0); if (c->fd < 0) return -1;
    int one = 1; setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(c->fd, (void *)&peer, peer_size) && errno != EINPROGRESS) { close(c->fd); c->fd = -1; return -1; }
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = (uint32_t)i};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
}

static void tcp_flush(struct connection *c) {
    while (c->out_at < c->out_size) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_size - c->out_at, MSG_NOSIGNAL);
        if (n <= 0) return;
        c->out_at += (int)n;
    }
}

static void tcp_done(int i, uint64_t now, int good) {
    struct connection *c = &connections[i];
    finish(&requests[i], now, good); free_slots[free_count++] = (uint32_t)i; c->in_size = 0;
    if (mode == IRP_TCP_ONCE) { close(c->fd); c->fd = -1; }
}

static void tcp_fail(int i) {
    struct connection *c = &connections[i];
    if (c->fd >= 0) close(c->fd);
    c->fd = -1; c->in_size = 0;
    if (requests[i].busy) { requests[i].busy = 0; failed++; free_slots[free_count++] = (uint32_t)i; }
}

static int tcp_send(uint64_t due) {
    uint32_t i = free_slots[--free_count]; struct connection *c = &connections[i]; struct request *r = &requests[i];
    r->key = next_key(); r->due = due; r->busy = 1;
    c->out_size = mode == HTTP ? http_request(c->out, r->key) : irp_request(c->out, r->key, i + 1, mode == IRP_TCP);
    c->out_at = c->in_size = 0; sent += due >= measured_from;
    if (c->fd < 0 && tcp_connect((int)i)) { tcp_fail((int)i); return -1; }
    tcp_flush(c); return 0;
}

static int whole(struct connection *c, struct request *r, int *good) {
    if (mode != HTTP) {
        if (c->in_size < 20 || c->in_size < 20 + (int)get32(c->in + 16)) return 0;
        *good = c->in_size >= 48 + r->key->size && get32(c->in + 24) == 1 && !strncasecmp((char *)c->in + 48, r->key->text, r->key->size);
        return 1;
    }
    uint8_t *end = memmem(c->in, c->in_size, "\r\n\r\n", 4); if (!end) return 0;
    *end = 0; char *length = strcasestr((char *)c->in, "content-length:"); *end = '\r';
    int body = length ? atoi(length + 15) : 0;
    if (c->in_size < (int)(end - c->in) + 4 + body) return 0;
    *good = !strncmp((char *)c->in + 8, " 200", 4); return 1;
}

static void tcp_events(int wait_ms) {
    struct epoll_event events[256]; int n = epoll_wait(epoll_fd, events, 256, wait_ms);
    uint64_t now = now_ns();
    for (int e = 0; e < n; e++) {
        int i = (int)events[e].data.u32; struct connection *c = &connections[i]; if (c->fd < 0) continue;
        if (events[e].events & EPOLLOUT) tcp_flush(c);
        for (;;) {
            if (c->in_size >= BUFFER) { tcp_fail(i); break; }
            ssize_t got = recv(c->fd, c->in + c->in_size, BUFFER - c->in_size, 0);
            if (got < 0) { if (errno != EAGAIN) tcp_fail(i); break; }
            if (!got) { if (requests[i].busy) tcp_fail(i); else { close(c->fd); c->fd = -1; } break; }
            c->in_size += (int)got; int good = 0;
            if (requests[i].busy && whole(c, &requests[i], &good)) { tcp_done(i, now, good); break; }
        }
    }
}

static void tcp_expire(uint64_t now) {
    for (int i = 0; i < open_limit; i++) if (requests[i].busy && now > requests[i].due + 5 * TIMEOUT_NS) { lost++; tcp_fail(i); failed--; }
}

/* ---- the run ---- */
static void options(int count, char **values) {
    int o;
    while ((o = getopt(count, values, "m:H:p:f:r:n:t:w:P:z:s:S:h")) != -1) switch (o) {
        case 'm': { int i = 0; while (i < 5 && strcmp(mode_names[i], optarg)) i++; if (i == 5) { errno = 0; die("-m irp-udp|irp-tcp|irp-tcp-once|http|dns"); } mode = (enum mode)i; break; }
        case 'H': host = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'f': keys_file = optarg; break;
        case 'r': rate = atof(optarg); break;
        case 'n': open_limit = atoi(optarg); break;
        case 't': seconds = atof(optarg); break;
        case 'w': warmup = atof(optarg); break;
        case 'z': zipf = atof(optarg); break;
        case 's': random_state ^= (uint64_t)atoll(optarg) * 0x9E3779B97F4A7C15ull; break;
        case 'S': sockets_wanted = atoi(optarg); break;
        case 'P': for (char *t = strtok(optarg, ","); t && pid_count < MAX_PIDS; t = strtok(NULL, ",")) pids[pid_count++] = atoi(t); break;
        default: fprintf(stderr, "load -m MODE -H HOST -p PORT -f KEYS [-r RATE] [-n OPEN] [-t SECONDS] [-w WARMUP] [-z ZIPF] [-S SOCKETS] [-P PIDS]\n"); exit(2);
    }
    if (!keys_file || open_limit < 1 || open_limit > 65535 || sockets_wanted < 1 || sockets_wanted > 256) { errno = 0; die("options; load -h"); }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found; char service[8]; snprintf(service, sizeof service, "%d", port);
    if (getaddrinfo(host, service, &hints, &found)) { errno = 0; die("host"); }
    memcpy(&peer, found->ai_addr, found->ai_addrlen); peer_size = found->ai_addrlen; freeaddrinfo(found);
}

int main(int count, char **values) {
    options(count, values); read_keys();
    int udp = mode == IRP_UDP || mode == DNS;
    requests = calloc(open_limit, sizeof *requests); free_slots = calloc(open_limit, sizeof *free_slots); generation = calloc(open_limit, sizeof *generation);
    for (int i = open_limit; i--;) free_slots[free_count++] = (uint32_t)i;
    if (udp) udp_open(); else { connections = calloc(open_limit, sizeof *connections); epoll_fd = epoll_create1(0); for (int i = 0; i < open_limit; i++) connections[i].fd = -1; }
    uint64_t start = now_ns(), end = start + (uint64_t)((warmup + seconds) * 1e9), due = start, expired = start;
    measured_from = start + (uint64_t)(warmup * 1e9);
    double step = rate > 0 ? 1e9 / rate : 0, ideal = (double)start; struct usage before = {0}; struct rusage self_before; int counting = 0;
    getrusage(RUSAGE_SELF, &self_before);
    for (uint64_t now = start; now < end; now = now_ns()) {
        if (!counting && now >= measured_from) { counting = 1; before = process_usage(); getrusage(RUSAGE_SELF, &self_before); }
        int burst = 0;
        while (free_count && burst++ < 256) {
            if (step) { if (due > now) break; if (now - due > behind_max) behind_max = now - due; }
            else due = now;
            if ((udp ? udp_send(due) : tcp_send(due)) < 0) break;
            if (step) { ideal += step; due = (uint64_t)ideal; }
        }
        if (udp) udp_receive(); else tcp_events(0);
        if (now - expired > 50000000) { expired = now; if (udp) udp_expire(now); else tcp_expire(now); }
        if (step && free_count && due > now + 60000) { struct timespec nap = {0, 20000}; nanosleep(&nap, NULL); }
    }
    struct usage after = process_usage(); struct rusage self; getrusage(RUSAGE_SELF, &self);
    for (uint64_t stop = now_ns() + TIMEOUT_NS / 2; now_ns() < stop && free_count < open_limit;) { if (udp) udp_receive(); else tcp_events(5); }
    for (int i = 0; i < open_limit; i++) lost += requests[i].busy && requests[i].due >= measured_from;
    double client = (self.ru_utime.tv_sec - self_before.ru_utime.tv_sec) + (self.ru_stime.tv_sec - self_before.ru_stime.tv_sec) + (self.ru_utime.tv_usec - self_before.ru_utime.tv_usec + self.ru_stime.tv_usec - self_before.ru_stime.tv_usec) / 1e6;
    printf("{\"mode\":\"%s\",\"rate_asked\":%.0f,\"open\":%d,\"seconds\":%.3f,\"sent\":%llu,\"answered\":%llu,\"lost\":%llu,\"wrong\":%llu,\"failed\":%llu,\"per_second\":%.0f,", mode_names[mode], rate, open_limit, seconds, (unsigned long long)sent, (unsigned long long)answered, (unsigned long long)lost, (unsigned long long)wrong, (unsigned long long)failed, (double)answered / seconds);
    printf("\"latency_us\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f},\"behind_max_us\":%.1f,\"client_cpu_us\":%.2f,", percentile(.5, answered), percentile(.9, answered), percentile(.99, answered), percentile(.999, answered), most_ns / 1000.0, behind_max / 1000.0, answered ? client * 1e6 / (double)answered : 0);
    printf("\"server\":{\"cpu_s\":%.2f,\"cpu_us_per_answer\":%.2f,\"minor_faults\":%ld,\"major_faults\":%ld,\"rss_kib\":%ld}}\n", after.cpu - before.cpu, answered ? (after.cpu - before.cpu) * 1e6 / (double)answered : 0, after.minor - before.minor, after.major - before.major, after.rss_kib);
    return answered && !wrong ? 0 : 1;
}
