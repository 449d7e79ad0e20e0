/* What is measured: time, latencies in a log-linear histogram, and the process table. */
#include "load.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Three significant digits: 1024 buckets for each doubling, as HdrHistogram lays them out. */
#define SUB_BITS 10
#define SUB (1 << SUB_BITS)
#define BUCKETS ((64 - SUB_BITS + 1) * SUB)
#define MAX_PIDS 64

static uint64_t histogram[BUCKETS];
static int pids[MAX_PIDS], pid_count;

uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

void count_latency(uint64_t ns) {
    int exponent = ns < SUB ? SUB_BITS - 1 : 63 - __builtin_clzll(ns);
    int group = exponent - SUB_BITS + 1;
    int within = group ? (int)(ns >> (exponent - SUB_BITS)) & (SUB - 1) : (int)ns;
    histogram[group * SUB + within]++;
}

/* The highest value that falls into a bucket. */
static uint64_t bucket_top(int bucket) {
    int group = bucket / SUB, within = bucket % SUB;
    if (!group) return (uint64_t)within;
    return ((uint64_t)(SUB + within + 1) << (group - 1)) - 1;
}

void print_histogram(FILE *out) {
    const char *between = "";
    fputs("[", out);
    for (int bucket = 0; bucket < BUCKETS; bucket++) {
        if (!histogram[bucket]) continue;
        fprintf(out, "%s[%llu,%llu]", between, (unsigned long long)bucket_top(bucket),
                (unsigned long long)histogram[bucket]);
        between = ",";
    }
    fputs("]", out);
}

void watch_processes(char *list) {
    for (char *pid = strtok(list, ","); pid && pid_count < MAX_PIDS; pid = strtok(NULL, ","))
        pids[pid_count++] = atoi(pid);
}

/* One process: fields 10, 12, 14, 15 and 24 of /proc/PID/stat (proc(5)). */
static void add_usage(struct usage *sum, int pid) {
    char path[64], text[1024];
    unsigned long minor, major, user, system;
    long rss;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *in = fopen(path, "r");
    if (!in) return;
    size_t size = fread(text, 1, sizeof text - 1, in);
    fclose(in);
    text[size] = 0;
    char *rest = strrchr(text, ')');
    const char *form = "%*c %*d %*d %*d %*d %*d %*u %lu %*u %lu %*u %lu %lu"
                       " %*d %*d %*d %*d %*d %*d %*u %*u %ld";
    if (!rest || sscanf(rest + 2, form, &minor, &major, &user, &system, &rss) != 5) return;
    sum->cpu_s += (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    sum->minor += (long)minor;
    sum->major += (long)major;
    sum->rss_kib += rss * (sysconf(_SC_PAGESIZE) / 1024);
}

struct usage server_usage(void) {
    struct usage sum = {0};
    for (int i = 0; i < pid_count; i++) add_usage(&sum, pids[i]);
    return sum;
}

static double seconds(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec / 1e6; }

double own_cpu_s(void) {
    struct rusage self;
    getrusage(RUSAGE_SELF, &self);
    return seconds(self.ru_utime) + seconds(self.ru_stime);
}
