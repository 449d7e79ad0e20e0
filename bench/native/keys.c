/* Names to ask for: read from a file, drawn evenly or by Zipf's law. */
#include "load.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct key *keys;
static long key_count;
static double *zipf_sums; /* running sums of 1/rank^s; NULL draws evenly */
static uint64_t state = 88172645463325252ull;

void seed_keys(uint64_t seed) { state ^= seed * 0x9E3779B97F4A7C15ull; }

/* xorshift64: good enough to choose names, and cheap. */
static uint64_t draw(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void add_key(const char *line, int size) {
    static long space;
    if (key_count == space) {
        space = space ? space * 2 : 1024;
        keys = realloc(keys, (size_t)space * sizeof *keys);
        if (!keys) die("memory");
    }
    keys[key_count].text = strndup(line, (size_t)size);
    keys[key_count++].size = size;
}

static void make_zipf(void) {
    double sum = 0;
    zipf_sums = room((size_t)key_count, sizeof *zipf_sums);
    for (long i = 0; i < key_count; i++) zipf_sums[i] = sum += 1.0 / pow((double)(i + 1), options.zipf);
}

void read_keys(void) {
    FILE *in = fopen(options.keys_file, "r");
    char *line = NULL;
    size_t space = 0;
    ssize_t size;
    if (!in) die(options.keys_file);
    while ((size = getline(&line, &space, in)) > 0) {
        while (size && strchr("\r\n", line[size - 1])) size--;
        if (size && size <= MAX_KEY) add_key(line, (int)size);
    }
    free(line);
    fclose(in);
    if (!key_count) die("no names in the file of keys");
    if (options.zipf > 0) make_zipf();
}

struct key *next_key(void) {
    if (!zipf_sums) return &keys[draw() % (uint64_t)key_count];
    double want = (double)(draw() >> 11) * 0x1p-53 * zipf_sums[key_count - 1];
    long low = 0, high = key_count - 1;
    while (low < high) {
        long middle = (low + high) / 2;
        if (zipf_sums[middle] < want)
            low = middle + 1;
        else
            high = middle;
    }
    return &keys[low];
}
