/* Process 1 of a container: waits for go, runs the program, says how it ended.
 *
 *     guard SOCKET [NAME=VALUE...] -- PROGRAM [ARGUMENT...]
 *
 * It connects to the agent's socket and says "ready". It is told, one message each:
 *
 *     go    with the wall limit; attached are the program's stdin, stdout and stderr, and the filter
 *           of system calls, a file that holds struct sock_filter
 *     kill  everything but this process
 *
 * and answers with how the program ended, when nothing but itself lives. Then it waits for the end of
 * the channel. When the agent dies first: before go it ends; later it keeps the limit itself.
 *
 * The program has the same user, so nothing here may be within its reach. Process 1 takes no SIGKILL
 * or SIGSTOP from inside; every other signal is blocked and there is no handler to abuse. It is not
 * dumpable, so its /proc files, descriptors among them, are root's. The channel's descriptor is
 * closed in the child, and the agent has stopped listening on the socket once this has connected.
 * When memory is short, the kernel takes the program rather than process 1, whose death would leave
 * nobody to say why.
 *
 * The filter is put on here, one process before the program, since the engine takes a filter as rules
 * that libseccomp translates anew for every container, which costs more than all of our own work.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { GO = 1, KILL = 2 };

struct order {
    int32_t what;
    int32_t unused;
    int64_t limit; /* milliseconds */
};

struct report {
    int32_t status; /* as of wait(2) */
    int32_t timed_out;
};

enum { INPUT, OUTPUT, ERRORS, FILTER, RECEIVED };

static int channel;
static int received[RECEIVED];

static int64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000LL + at.tv_nsec / 1000000;
}

/* One order; KILL where the channel has ended before go, 0 where it has ended later. */
static struct order take_order(int started) {
    struct order order = {.what = started ? 0 : KILL};
    union {
        char room[CMSG_SPACE(sizeof received)];
        struct cmsghdr aligned;
    } attached;
    struct iovec content = {&order, sizeof order};
    struct msghdr message = {
        .msg_iov = &content,
        .msg_iovlen = 1,
        .msg_control = attached.room,
        .msg_controllen = sizeof attached.room,
    };
    ssize_t got;
    while ((got = recvmsg(channel, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {}
    if (got != (ssize_t)sizeof order) return (struct order){.what = started ? 0 : KILL};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (order.what == GO) {
        if (!header || header->cmsg_len != CMSG_LEN(sizeof received)) _exit(1);
        memcpy(received, CMSG_DATA(header), sizeof received);
    }
    return order;
}

/* The last to be spared. The file is ours to write only while we are dumpable. */
static void offer_oneself(void) {
    prctl(PR_SET_DUMPABLE, 1);
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    (void)!write(fd, "1000", 4);
    close(fd);
}

static void become(char **program, char **environment) {
    sigset_t none;
    close(channel);
    offer_oneself();
    setsid();
    if (chdir("/work")) _exit(126);
    for (int fd = 0; fd < 3; fd++) dup2(received[fd], fd); /* all are above 2, where ours still are */
    for (int fd = 0; fd < FILTER; fd++) close(received[fd]);
    for (int number = 1; number < NSIG; number++) signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    environ = environment;
    execvp(program[0], program);
    int missing = errno == ENOENT || errno == ENOTDIR;
    dprintf(2, "%s: %s\n", program[0], strerror(errno));
    _exit(missing ? 127 : 126);
}

/* 0, or -1: then nothing may run. Never undone, so it holds for the program and all it starts. */
static int filter_calls(void) {
    static struct sock_filter rules[BPF_MAXINSNS];
    ssize_t size = pread(received[FILTER], rules, sizeof rules, 0);
    if (size <= 0 || size % sizeof rules[0]) return -1;
    struct sock_fprog program = {.len = size / sizeof rules[0], .filter = rules};
    close(received[FILTER]);
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int supervise(pid_t program, int children, int64_t deadline) {
    struct report report = {0};
    int talking = 1;
    for (;;) {
        struct pollfd wait_for[] = {{children, POLLIN, 0}, {talking ? channel : -1, POLLIN, 0}};
        int64_t left = deadline - now();
        if (left <= 0 && !report.timed_out) {
            report.timed_out = 1;
            kill(-1, SIGKILL);
        }
        if (report.timed_out || left > 1000000) left = 1000000;
        if (poll(wait_for, 2, (int)left) < 0) continue;
        if (wait_for[0].revents) {
            struct signalfd_siginfo told;
            (void)!read(children, &told, sizeof told);
            int status;
            for (pid_t ended; (ended = waitpid(-1, &status, WNOHANG)) > 0;)
                if (ended == program) {
                    report.status = status;
                    program = 0;
                }
            if (!program) break;
        }
        if (wait_for[1].revents) {
            if (take_order(1).what == KILL) kill(-1, SIGKILL);
            else talking = 0;
        }
    }
    /* In one sweep, which no fork slips through. */
    kill(-1, SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {}
    if (!talking) return 0;
    (void)!send(channel, &report, sizeof report, MSG_NOSIGNAL);
    while (take_order(1).what) {}
    return 0;
}

int main(int count, char **words) {
    int separator = 2;
    while (separator < count && strcmp(words[separator], "--")) separator++;
    if (separator + 1 >= count) return 2;
    words[separator] = NULL;

    sigset_t all, child;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    prctl(PR_SET_DUMPABLE, 0);

    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(words[1]) >= sizeof address.sun_path) return 2;
    strcpy(address.sun_path, words[1]);
    channel = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (channel < 0 || connect(channel, (struct sockaddr *)&address, sizeof address)) return 1;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    int children = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (children < 0 || send(channel, "ready", 5, MSG_NOSIGNAL) != 5) return 1;

    struct order order = take_order(0);
    if (order.what != GO) return 0;
    int64_t deadline = now() + order.limit;
    if (filter_calls()) return 1;
    pid_t program = fork();
    if (program == 0) become(&words[separator + 1], &words[2]);
    if (program < 0) return 1;
    for (int fd = 0; fd < FILTER; fd++) close(received[fd]);
    return supervise(program, children, deadline);
}
