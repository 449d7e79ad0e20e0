/* Stands between a process and its files (LD_PRELOAD): records what is written, or makes it fail.

   SHIM_UNDER    only files whose path begins so are looked at
   SHIM_LOG      record: every write, sync, rename … in order, into this file
   SHIM_CONTROL  fail: 16 octets shared with the test: mode, countdown, hits, sticky (int32 each)
                 mode 1 write EIO, 2 short write, 3 sync EIO, 4 write ENOSPC; 0 nothing
                 the countdown-th call of the kind fails, and with sticky all after it
                 only data.mdb is made to fail

   SHIM_CLOCK    8 octets shared with the test: seconds (int64) by which the wall clock is wrong

   A record: u8 op, u8 flag, u16 length of path, u32 length of data, u64 offset; path; data.
   O open (flag 1: created), W write (flag 1: durable when it returns), S sync, T truncate (offset
   is the size), R rename (data is the new path), D mkdir, U unlink, M mark (offset is its number). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FILES 4096
enum { NOTHING, WRITE_EIO, WRITE_SHORT, SYNC_EIO, WRITE_FULL };
struct control { volatile int32_t mode, countdown, hits, sticky; };

static char *paths[FILES];
static char durable[FILES];
static const char *under;
static size_t under_size;
static int log_fd = -1;
static struct control *control;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static void begin(void) {
    under = getenv("SHIM_UNDER");
    under_size = under ? strlen(under) : 0;
    const char *log = getenv("SHIM_LOG"), *shared = getenv("SHIM_CONTROL");
    if (log) log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (shared) {
        int fd = syscall(SYS_openat, AT_FDCWD, shared, O_RDWR | O_CLOEXEC);
        if (fd >= 0) {
            void *at = mmap(0, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (at != MAP_FAILED) control = at;
            syscall(SYS_close, fd);
        }
    }
}

static int ours(const char *path) {
    pthread_once(&once, begin);
    return under && path && !strncmp(path, under, under_size);
}

static void put(char op, char flag, const char *path, const void *data, uint32_t size, uint64_t at) {
    if (log_fd < 0) return;
    uint8_t head[16];
    uint16_t length = path ? strlen(path) : 0;
    head[0] = op, head[1] = flag;
    memcpy(head + 2, &length, 2), memcpy(head + 4, &size, 4), memcpy(head + 8, &at, 8);
    struct iovec parts[3] = {{head, 16}, {(void *)path, length}, {(void *)data, size}};
    pthread_mutex_lock(&lock);
    syscall(SYS_writev, log_fd, parts, 3);
    pthread_mutex_unlock(&lock);
}

static const char *path_of(int fd) { return fd >= 0 && fd < FILES ? paths[fd] : 0; }

/* Whether this call is the one that fails; of a store's data file only. */
static int fails(int fd, int is_sync) {
    const char *path = path_of(fd);
    if (!control || !path || !control->mode) return 0;
    size_t length = strlen(path);
    if (length < 8 || strcmp(path + length - 8, "data.mdb")) return 0;
    if ((control->mode == SYNC_EIO) != is_sync) return 0;
    if (__sync_sub_and_fetch(&control->countdown, 1) > 0) return 0;
    int mode = control->mode;
    __sync_add_and_fetch(&control->hits, 1);
    if (!control->sticky) control->mode = NOTHING;
    return mode;
}

static void opened(int fd, const char *path, int flags, int existed) {
    if (fd < 0 || fd >= FILES || !ours(path)) return;
    free(paths[fd]);
    paths[fd] = strdup(path);
    durable[fd] = (flags & O_DSYNC) != 0;
    if (!existed && (flags & O_CREAT)) put('O', 1, path, 0, 0, 0);
    if (existed && (flags & O_TRUNC)) put('T', 0, path, 0, 0, 0);
}

#define OPEN(name, ...) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); } \
    REAL(name); \
    int existed = ours(path) ? syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0 : 1; \
    int fd = real(__VA_ARGS__, mode); \
    opened(fd, path, flags, existed); \
    return fd;
int open(const char *path, int flags, ...) { OPEN(open, path, flags) }
int open64(const char *path, int flags, ...) { OPEN(open64, path, flags) }
int openat(int at, const char *path, int flags, ...) { OPEN(openat, at, path, flags) }
int openat64(int at, const char *path, int flags, ...) { OPEN(openat64, at, path, flags) }

int close(int fd) {
    REAL(close);
    if (fd >= 0 && fd < FILES && paths[fd]) { free(paths[fd]); paths[fd] = 0; durable[fd] = 0; }
    return real(fd);
}

#define FAIL_WRITE(short_call) \
    switch (fails(fd, 0)) { \
    case WRITE_EIO: errno = EIO; return -1; \
    case WRITE_FULL: errno = ENOSPC; return -1; \
    case WRITE_SHORT: return short_call; }

static ssize_t wrote(int fd, const void *data, ssize_t size, off_t at) {
    if (size > 0 && path_of(fd)) put('W', durable[fd], path_of(fd), data, size, at);
    return size;
}

#define PWRITE(name) \
    ssize_t name(int fd, const void *data, size_t size, off_t at) { \
        REAL(name); \
        FAIL_WRITE(real(fd, data, size / 2, at)) \
        return wrote(fd, data, real(fd, data, size, at), at); }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (!path_of(fd)) return real(fd, data, size);
    FAIL_WRITE(real(fd, data, size / 2))
    off_t at = lseek(fd, 0, SEEK_CUR);
    return wrote(fd, data, real(fd, data, size), at);
}

static ssize_t wrote_parts(int fd, const struct iovec *parts, int count, ssize_t size, off_t at) {
    ssize_t left = size;
    for (int n = 0; n < count && left > 0; n++) {
        ssize_t part = (ssize_t)parts[n].iov_len < left ? (ssize_t)parts[n].iov_len : left;
        wrote(fd, parts[n].iov_base, part, at);
        at += part, left -= part;
    }
    return size;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (!path_of(fd)) return real(fd, parts, count);
    FAIL_WRITE(write(fd, parts[0].iov_base, parts[0].iov_len / 2))
    off_t at = lseek(fd, 0, SEEK_CUR);
    return wrote_parts(fd, parts, count, real(fd, parts, count), at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    REAL(pwritev);
    if (!path_of(fd)) return real(fd, parts, count, at);
    FAIL_WRITE(pwrite(fd, parts[0].iov_base, parts[0].iov_len / 2, at))
    return wrote_parts(fd, parts, count, real(fd, parts, count, at), at);
}

#define SYNC(name) \
    int name(int fd) { \
        REAL(name); \
        if (fails(fd, 1)) { errno = EIO; return -1; } \
        int done = real(fd); \
        if (!done && path_of(fd)) put('S', 0, path_of(fd), 0, 0, 0); \
        return done; }
SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(name) \
    int name(int fd, off_t size) { \
        REAL(name); \
        int done = real(fd, size); \
        if (!done && path_of(fd)) put('T', 0, path_of(fd), 0, 0, size); \
        return done; }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

int rename(const char *from, const char *to) {
    REAL(rename);
    int done = real(from, to);
    if (!done && ours(from)) put('R', 0, from, to, strlen(to), 0);
    return done;
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    int done = real(path, mode);
    if (!done && ours(path)) put('D', 0, path, 0, 0, 0);
    return done;
}

int unlink(const char *path) {
    REAL(unlink);
    int done = real(path);
    if (!done && ours(path)) put('U', 0, path, 0, 0, 0);
    return done;
}

/* The wall clock, moved by the seconds in the file SHIM_CLOCK (int64); the monotonic one is not. */
int clock_gettime(clockid_t clock, struct timespec *at) {
    static volatile int64_t *offset;
    static int looked;
    if (!looked) {
        const char *shared = getenv("SHIM_CLOCK");
        int fd = shared ? syscall(SYS_openat, AT_FDCWD, shared, O_RDONLY | O_CLOEXEC) : -1;
        if (fd >= 0) {
            void *map = mmap(0, 8, PROT_READ, MAP_SHARED, fd, 0);
            if (map != MAP_FAILED) offset = map;
            syscall(SYS_close, fd);
        }
        looked = 1;
    }
    int done = syscall(SYS_clock_gettime, clock, at);
    if (!done && offset && clock == CLOCK_REALTIME) at->tv_sec += *offset;
    return done;
}

/* The process says something of its own, such as "batch 7 was acknowledged". */
void shim_mark(uint64_t number) {
    pthread_once(&once, begin);
    put('M', 0, 0, 0, 0, number);
}
