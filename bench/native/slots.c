/* Requests under way: a slot each, the longest free one is taken first. */
#include "load.h"

struct request *requests;
struct counts counts;
uint64_t measured_from;
int free_count;

static uint32_t *ring; /* free slots, first in first out */
static uint32_t head, tail;

static void release(uint32_t slot) {
    ring[tail] = slot;
    tail = (tail + 1) % (uint32_t)options.open;
    free_count++;
}

void make_slots(void) {
    requests = room((size_t)options.open, sizeof *requests);
    ring = room((size_t)options.open, sizeof *ring);
    for (int i = 0; i < options.open; i++) release((uint32_t)i);
}

static int counted(const struct request *r) { return r->due >= measured_from; }

/* Take a slot for a request that is due; the caller saw that one is free. */
uint32_t begin(uint64_t due) {
    uint32_t slot = ring[head];
    head = (head + 1) % (uint32_t)options.open;
    free_count--;
    struct request *r = &requests[slot];
    r->key = next_key();
    r->due = due;
    r->busy = 1;
    r->generation++;
    counts.sent += counted(r);
    return slot;
}

/* It could not be sent now: as if it had not begun. */
void put_back(uint32_t slot) {
    counts.sent -= counted(&requests[slot]);
    requests[slot].busy = 0;
    release(slot);
}

void finish(uint32_t slot, uint64_t now, int good) {
    struct request *r = &requests[slot];
    if (counted(r) && good) {
        counts.answered++;
        count_latency(now > r->due ? now - r->due : 0);
    }
    counts.wrong += counted(r) && !good;
    r->busy = 0;
    release(slot);
}

/* No answer will come. as: which of the counts it goes to. */
void give_up(uint32_t slot, uint64_t *as) {
    *as += counted(&requests[slot]);
    requests[slot].busy = 0;
    release(slot);
}
