/* What the pages of the load generator share. What it does and how it is called: load.c. */
#ifndef LOAD_H
#define LOAD_H

#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#define MAX_KEY 2000     /* octets of a name; longer lines are left out */
#define MAX_REQUEST 8192 /* octets of a request: every octet of an HTTP path may become three */
#define TIMEOUT_NS 1000000000ull

enum mode { IRP_UDP, IRP_TCP, IRP_TCP_ONCE, HTTP, DNS, REDIS };
enum expected { PRESENT, ABSENT, WITHHELD };

/* --- load.c: the command line */
struct options {
    enum mode mode;
    enum expected expected;
    const char *host, *keys_file;
    int port, open, sockets;
    double rate, seconds, warmup, zipf;
    int spin;
};
extern struct options options;
extern struct sockaddr_storage peer;
extern socklen_t peer_size;
void die(const char *what);
void *room(size_t count, size_t size);

/* --- keys.c: the names, and which one is asked for next */
struct key {
    char *text;
    int size;
};
void read_keys(void);
void seed_keys(uint64_t seed);
struct key *next_key(void);

/* --- measure.c: clock, histogram, process table */
struct usage {
    double cpu_s;
    long minor, major, rss_kib;
};
uint64_t now_ns(void);
void count_latency(uint64_t ns);
void print_histogram(FILE *out);
void watch_processes(char *list);
struct usage server_usage(void);
double own_cpu_s(void);

/* --- slots.c: requests that are under way, at most options.open of them */
struct request {
    uint64_t due; /* when it should have been sent; its latency counts from here */
    struct key *key;
    uint16_t generation; /* of the slot: tells a late reply from a new one */
    uint8_t busy;
};
struct counts {
    uint64_t sent, answered, wrong, lost, failed, stray, retried;
};
extern struct request *requests;
extern struct counts counts;
extern uint64_t measured_from;
extern int free_count;
void make_slots(void);
uint32_t begin(uint64_t due);
void finish(uint32_t slot, uint64_t now, int good);
void give_up(uint32_t slot, uint64_t *as);
void put_back(uint32_t slot);

/* --- packets.c: the requests and what a right answer looks like */
int irp_request(uint8_t *out, const struct key *key, uint32_t id, int keep);
int irp_is_right(const uint8_t *reply, int size, const struct key *key);
int dns_request(uint8_t *out, const struct key *key, uint16_t id);
int dns_is_right(const uint8_t *reply, int size);
int http_request(uint8_t *out, const struct key *key);
int http_size(uint8_t *reply, int size);
int http_is_right(const uint8_t *reply, int size);
int http_is_last(const uint8_t *reply, int size);
int redis_request(uint8_t *out, const struct key *key);
int redis_size(const uint8_t *reply, int size);
int redis_is_right(const uint8_t *reply, int size);
uint32_t get32(const uint8_t *from);

/* --- udp.c and tcp.c: each way to carry them */
extern int watched; /* an epoll of all sockets: readable when something came */
void udp_open(void);
int udp_send(const uint64_t *due, int count);
void udp_receive(void);
void udp_expire(uint64_t now);
void tcp_open(void);
int tcp_send(const uint64_t *due, int count);
void tcp_receive(void);
void tcp_expire(uint64_t now);

#endif
