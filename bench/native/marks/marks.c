/* Marks for callgrind: between begin() and end(NAME) instructions are counted, under that name.
 * Outside valgrind they do nothing. Build: cc -O2 -shared -fPIC -o marks.so marks.c */
#include <valgrind/callgrind.h>

void begin(void) {
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

void end(const char *name) {
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
}
