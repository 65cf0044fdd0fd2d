/* What the attack programs share: one line per step, "<step>=<result>", errno by name of its text. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static inline void say(const char *step, const char *format, ...) {
    char line[512];
    int used = snprintf(line, sizeof line, "%s=", step);
    va_list rest;
    va_start(rest, format);
    used += vsnprintf(line + used, sizeof line - used - 1, format, rest);
    va_end(rest);
    line[used++] = '\n';
    if (write(1, line, used) < 0) _exit(99);
}

/* "done" when the step succeeded, else why not. */
static inline void tell(const char *step, long outcome) {
    say(step, "%s", outcome >= 0 ? "done" : strerror(errno));
}

static inline double clock_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}
