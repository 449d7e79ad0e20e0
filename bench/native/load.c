/* load: an open-loop generator for DO-IRP (UDP, TCP), DNS (NAPTR over UDP), HTTP and Redis.
 *
 * Build: cc -O2 -Wall -Wextra -o load *.c -lm
 * Use:   load -m MODE -H HOST -p PORT -f KEYS [options]; load -h lists them
 *
 * One thread. With -r the i-th request is due at start + i/RATE whatever the server does, and its
 * latency counts from that instant, so a server that stalls cannot hide it (no coordinated
 * omission). Without -r the loop is closed: OPEN requests are kept under way. With nothing to do
 * it sleeps until a reply comes, as clients do; with -b it spins, and no server on the same
 * machine pays for waking it. KEYS has one name a line.
 *
 * The result is one JSON object on stdout: counts, the latencies' histogram ([highest ns, count]
 * of each bucket that is not empty), the generator's own CPU, and the CPU, page faults and
 * resident memory of the processes given by -P.
 */
#include "load.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#define BURST 64
#define EXPIRE_NS 50000000ull
#define LONGEST_NS 10000000ull /* sleep in one piece */

struct options options = {.host = "127.0.0.1", .port = 2641, .open = 64, .sockets = 8, .seconds = 5,
                          .warmup = 1};
struct sockaddr_storage peer;
socklen_t peer_size;
int watched;

static const char *mode_names[] = {"irp-udp", "irp-tcp", "irp-tcp-once", "http", "dns", "redis", NULL};
static const char *expected_names[] = {"present", "absent", "withheld", NULL};
static const char *help =
    "load -m irp-udp|irp-tcp|irp-tcp-once|http|dns|redis -H HOST -p PORT -f KEYS\n"
    "  -r RATE      requests a second; without: as many as keep OPEN under way\n"
    "  -n OPEN      most requests under way (64)\n"
    "  -t SECONDS   length (5), after -w SECONDS of warm-up (1)\n"
    "  -z ZIPF      skew of the names; without: evenly drawn\n"
    "  -e WHAT      present, absent or withheld: which answer is the right one\n"
    "  -s SEED      of the draw\n"
    "  -S SOCKETS   UDP sockets (8)\n"
    "  -b           spin where it could sleep\n"
    "  -P PID,PID   server processes whose CPU and page faults are counted\n";

void die(const char *what) {
    fprintf(stderr, "load: %s%s%s\n", what, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(2);
}

void *room(size_t count, size_t size) {
    void *made = calloc(count, size);
    if (!made) die("memory");
    return made;
}

/* --- the command line */

static int which(const char *text, const char **names) {
    for (int i = 0; names[i]; i++)
        if (!strcmp(text, names[i])) return i;
    fputs(help, stderr);
    exit(2);
}

static void option(int letter, char *text) {
    switch (letter) {
    case 'm': options.mode = (enum mode)which(text, mode_names); break;
    case 'e': options.expected = (enum expected)which(text, expected_names); break;
    case 'H': options.host = text; break;
    case 'p': options.port = atoi(text); break;
    case 'f': options.keys_file = text; break;
    case 'r': options.rate = atof(text); break;
    case 'n': options.open = atoi(text); break;
    case 't': options.seconds = atof(text); break;
    case 'w': options.warmup = atof(text); break;
    case 'z': options.zipf = atof(text); break;
    case 's': seed_keys((uint64_t)atoll(text)); break;
    case 'b': options.spin = 1; break;
    case 'S': options.sockets = atoi(text); break;
    case 'P': watch_processes(text); break;
    default: fputs(help, stderr); exit(2);
    }
}

static void find_peer(void) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    char service[16];
    snprintf(service, sizeof service, "%d", options.port);
    int error = getaddrinfo(options.host, service, &hints, &found);
    if (error) die(gai_strerror(error));
    memcpy(&peer, found->ai_addr, found->ai_addrlen);
    peer_size = found->ai_addrlen;
    freeaddrinfo(found);
}

static void read_options(int count, char **values) {
    int letter;
    while ((letter = getopt(count, values, "m:e:H:p:f:r:n:t:w:z:s:S:P:bh")) != -1) option(letter, optarg);
    errno = 0;
    if (!options.keys_file) die("-f KEYS is missing; load -h");
    if (options.open < 1 || options.open > 65535) die("-n is not in 1 ... 65535");
    if (options.sockets < 1 || options.sockets > 256) die("-S is not in 1 ... 256");
    if (options.seconds <= 0) die("-t is not above 0");
    find_peer();
}

/* --- the run */

struct plan {
    uint64_t start, end;
    double next; /* when the next request is due, ns; open loop */
    double step; /* between two of them; 0: closed loop */
    uint64_t full_at; /* when the last slot was taken: lateness before that is the server's */
    uint64_t behind_max; /* latest that a request was sent though a slot was free, ns */
};

/* Send what is due by now, one burst at most. */
static void send_due(struct plan *plan, uint64_t now, int udp) {
    uint64_t due[BURST];
    int count = 0, most = free_count < BURST ? free_count : BURST;
    for (; count < most; count++) {
        if (plan->step && plan->next + count * plan->step > (double)now) break;
        due[count] = plan->step ? (uint64_t)(plan->next + count * plan->step) : now;
    }
    if (!free_count) plan->full_at = now;
    if (!count) return;
    uint64_t since = due[0] > plan->full_at ? due[0] : plan->full_at;
    if (since >= measured_from && now - since > plan->behind_max) plan->behind_max = now - since;
    int sent = udp ? udp_send(due, count) : tcp_send(due, count);
    plan->next += sent * plan->step;
}

/* Sleep until a reply comes or the next request is due. */
static void rest(const struct plan *plan) {
    struct pollfd replies = {.fd = watched, .events = POLLIN};
    uint64_t now = now_ns(), longest = LONGEST_NS;
    if (options.spin) return;
    if (free_count) {
        if (!plan->step || plan->next <= (double)now) return;
        if (plan->next < (double)(now + longest)) longest = (uint64_t)plan->next - now;
    }
    struct timespec time = {0, (long)longest};
    ppoll(&replies, 1, &time, NULL);
}

static void drain(int udp) {
    uint64_t until = now_ns() + TIMEOUT_NS / 2;
    while (free_count < options.open && now_ns() < until) {
        if (udp)
            udp_receive();
        else
            tcp_receive();
    }
    for (int i = 0; i < options.open; i++)
        if (requests[i].busy) give_up((uint32_t)i, &counts.lost);
}

static void print_result(const struct plan *plan, struct usage server, double own) {
    double each = counts.answered ? 1e6 / (double)counts.answered : 0;
    printf("{\"mode\":\"%s\",", mode_names[options.mode]);
    printf("\"expected\":\"%s\",", expected_names[options.expected]);
    printf("\"rate_asked\":%.0f,\"open\":%d,\"seconds\":%.3f,", options.rate, options.open, options.seconds);
    printf("\"sent\":%llu,\"answered\":%llu,", (unsigned long long)counts.sent,
           (unsigned long long)counts.answered);
    printf("\"lost\":%llu,\"wrong\":%llu,", (unsigned long long)counts.lost,
           (unsigned long long)counts.wrong);
    printf("\"failed\":%llu,\"stray\":%llu,", (unsigned long long)counts.failed,
           (unsigned long long)counts.stray);
    printf("\"retried\":%llu,", (unsigned long long)counts.retried);
    printf("\"per_second\":%.0f,", (double)counts.answered / options.seconds);
    printf("\"behind_max_us\":%.1f,\"client_cpu_us\":%.2f,", (double)plan->behind_max / 1000, own * each);
    printf("\"server\":{\"cpu_s\":%.2f,\"cpu_us_per_answer\":%.3f,", server.cpu_s, server.cpu_s * each);
    printf("\"minor_faults\":%ld,\"major_faults\":%ld,", server.minor, server.major);
    printf("\"rss_kib\":%ld},\"histogram_ns\":", server.rss_kib);
    print_histogram(stdout);
    puts("}");
}

/* Load until the time is over; what the server and the generator used of it. */
static struct usage run(struct plan *plan, int udp, double *own) {
    struct usage before = {0};
    int counting = 0;
    for (uint64_t now = plan->start, expired = now; now < plan->end; now = now_ns()) {
        if (!counting && now >= measured_from) {
            counting = 1;
            before = server_usage();
            *own = own_cpu_s();
        }
        send_due(plan, now, udp);
        udp ? udp_receive() : tcp_receive();
        if (now - expired > EXPIRE_NS) {
            expired = now;
            udp ? udp_expire(now) : tcp_expire(now);
        }
        rest(plan);
    }
    struct usage used = server_usage();
    *own = own_cpu_s() - *own;
    used.cpu_s -= before.cpu_s;
    used.minor -= before.minor;
    used.major -= before.major;
    return used;
}

int main(int count, char **values) {
    double own = 0;
    read_options(count, values);
    read_keys();
    make_slots();
    watched = epoll_create1(0);
    if (watched < 0) die("epoll");
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    int udp = options.mode == IRP_UDP || options.mode == DNS;
    udp ? udp_open() : tcp_open();
    struct plan plan = {.start = now_ns(), .step = options.rate > 0 ? 1e9 / options.rate : 0};
    measured_from = plan.start + (uint64_t)(options.warmup * 1e9);
    plan.end = measured_from + (uint64_t)(options.seconds * 1e9);
    plan.next = (double)plan.start;
    struct usage used = run(&plan, udp, &own);
    drain(udp);
    print_result(&plan, used, own);
    return counts.answered && !counts.wrong ? 0 : 1;
}
