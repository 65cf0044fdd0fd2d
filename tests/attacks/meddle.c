/* Reach for process 1 of a container, which has our user, and for what it talks through. */
#include "say.h"
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/un.h>

static void look_into(const char *name, int flags) {
    char path[64];
    snprintf(path, sizeof path, "/proc/1/%s", name);
    int fd = open(path, flags);
    char byte;
    tell(name, fd < 0 ? -1 : flags & O_DIRECTORY ? 0 : read(fd, &byte, 1));
}

int main(void) {
    static const char *const files[] = {"mem", "environ", "maps", "auxv", "syscall", "stack", "io"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) look_into(files[i], O_RDONLY);
    look_into("fd", O_RDONLY | O_DIRECTORY);
    look_into("root", O_RDONLY | O_DIRECTORY);
    look_into("cwd", O_RDONLY | O_DIRECTORY);
    int fd = open("/proc/1/oom_score_adj", O_WRONLY);
    tell("spared", fd < 0 ? -1 : write(fd, "-1000", 5));

    struct rlimit none = {0, 0};
    tell("limit", prlimit(1, RLIMIT_CPU, &none, NULL));
    tell("trace", ptrace(PTRACE_SEIZE, 1, NULL, NULL));
    char byte;
    struct iovec here = {&byte, 1}, there = {main, 1};
    tell("read", process_vm_readv(1, &here, 1, &there, 1, 0));
    tell("descriptor", syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, 1, 0), 3, 0));

    struct sockaddr_un channel = {.sun_family = AF_UNIX, .sun_path = "/.hermes/channel/socket"};
    int talk = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    tell("talk", connect(talk, (struct sockaddr *)&channel, sizeof channel));
    tell("listen", bind(socket(AF_UNIX, SOCK_SEQPACKET, 0), (struct sockaddr *)&channel, sizeof channel));
    tell("rewrite", open("/.hermes/guard", O_WRONLY));
    for (int round = 0; round < 1000; round++) /* noise that it must not take for an end */
        for (int number = 1; number < NSIG; number++) kill(1, number);
    return 6;
}
