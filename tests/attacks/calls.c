/* Make system calls that a program has no business making; each in a child of its own, as some kill. */
#include "say.h"
#include <linux/audit.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/timex.h>

static long sys(long number, long a, long b, long c, long d) {
    return syscall(number, a, b, c, d, 0, 0);
}

/* A bad pointer tells apart a filter from a kernel that looked: EFAULT and the like mean it looked. */
static const struct {
    const char *name;
    long number, a, b, c, d;
} plain[] = {
    {"ptrace", SYS_ptrace, PTRACE_TRACEME, 0, 0, 0},
    {"process_vm_readv", SYS_process_vm_readv, 1, 0, 0, 0},
    {"process_vm_writev", SYS_process_vm_writev, 1, 0, 0, 0},
    {"unshare-user", SYS_unshare, CLONE_NEWUSER, 0, 0, 0},
    {"unshare-net", SYS_unshare, CLONE_NEWNET, 0, 0, 0},
    {"unshare-files", SYS_unshare, CLONE_FILES, 0, 0, 0},
    {"clone-newuser", SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0},
    {"clone-newpid", SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0},
    {"clone3", SYS_clone3, 8, 88, 0, 0},
    {"setns", SYS_setns, 0, 0, 0, 0},
    {"mount", SYS_mount, (long)"none", (long)"/tmp", (long)"tmpfs", 0},
    {"umount2", SYS_umount2, (long)"/tmp", MNT_DETACH, 0, 0},
    {"pivot_root", SYS_pivot_root, (long)"/", (long)"/", 0, 0},
    {"chroot", SYS_chroot, (long)"/tmp", 0, 0, 0},
    {"open_tree", SYS_open_tree, AT_FDCWD, (long)"/", 0, 0},
    {"move_mount", SYS_move_mount, 0, 0, 0, 0},
    {"fsopen", SYS_fsopen, (long)"tmpfs", 0, 0, 0},
    {"mount_setattr", SYS_mount_setattr, AT_FDCWD, 0, 0, 0},
    {"io_uring_setup", SYS_io_uring_setup, 8, 8, 0, 0},
    {"io_setup", SYS_io_setup, 1, 8, 0, 0},
    {"bpf", SYS_bpf, 0, 8, 72, 0},
    {"userfaultfd", SYS_userfaultfd, O_CLOEXEC, 0, 0, 0},
    {"userfaultfd-user", SYS_userfaultfd, O_CLOEXEC | 1, 0, 0, 0},
    {"perf_event_open", SYS_perf_event_open, 8, 0, -1, -1},
    {"add_key", SYS_add_key, (long)"user", (long)"n", (long)"v", 1},
    {"request_key", SYS_request_key, (long)"user", (long)"n", 0, -3},
    {"keyctl", SYS_keyctl, 0, -3, 1, 0},
    {"vmsplice", SYS_vmsplice, 1, 8, 1, 0},
    {"kcmp", SYS_kcmp, 1, 1, 0, 0},
    {"pidfd_getfd", SYS_pidfd_getfd, 0, 0, 0, 0},
    {"memfd_secret", SYS_memfd_secret, 0, 0, 0, 0},
    {"open_by_handle_at", SYS_open_by_handle_at, AT_FDCWD, 8, 0, 0},
    {"name_to_handle_at", SYS_name_to_handle_at, AT_FDCWD, 8, 0, 0},
    {"syslog", SYS_syslog, 10, 0, 0, 0},
    {"init_module", SYS_init_module, 8, 4, (long)"", 0},
    {"finit_module", SYS_finit_module, 0, (long)"", 0, 0},
    {"delete_module", SYS_delete_module, (long)"x", 0, 0, 0},
    {"kexec_load", SYS_kexec_load, 0, 0, 0, 0},
    {"reboot", SYS_reboot, 0, 0, 0, 0},
    {"swapon", SYS_swapon, (long)"/x", 0, 0, 0},
    {"acct", SYS_acct, (long)"/x", 0, 0, 0},
    {"quotactl", SYS_quotactl, 0, 0, 0, 0},
    {"fanotify_init", SYS_fanotify_init, 0, 0, 0, 0},
    {"iopl", SYS_iopl, 3, 0, 0, 0},
    {"ioperm", SYS_ioperm, 0, 1, 1, 0},
    {"modify_ldt", SYS_modify_ldt, 0, 8, 0, 0},
    {"settimeofday", SYS_settimeofday, 0, 8, 0, 0},
    {"clock_settime", SYS_clock_settime, 0, 8, 0, 0},
    {"adjtimex", SYS_adjtimex, 8, 0, 0, 0},
    {"sethostname", SYS_sethostname, (long)"x", 1, 0, 0},
    {"personality", SYS_personality, ADDR_NO_RANDOMIZE, 0, 0, 0},
    {"tiocsti", SYS_ioctl, 0, 0x5412, (long)"x", 0},
    {"setuid", SYS_setuid, 0, 0, 0, 0},
    {"setgroups", SYS_setgroups, 1, (long)"\0\0\0\0", 0, 0},
    {"mknod-disk", SYS_mknod, (long)"disk", S_IFBLK | 0600, 254 << 8, 0},
    {"mknod-memory", SYS_mknod, (long)"memory", S_IFCHR | 0600, (1 << 8) | 1, 0},
    {"setpriority", SYS_setpriority, PRIO_PROCESS, 0, -10, 0},
    {"unknown", 463, 0, 0, 0, 0},
    {"x32", 0x40000000 | 39, 0, 0, 0, 0},
};

static void in_a_child(const char *name, long number, long a, long b, long c, long d) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        long outcome = sys(number, a, b, c, d);
        if (outcome == 0 && (number == SYS_clone || number == SYS_clone3)) _exit(0);
        _exit(outcome < 0 ? errno : 0);
    }
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status)) say(name, "signal %d", WTERMSIG(status));
    else say(name, "%s", WEXITSTATUS(status) ? strerror(WEXITSTATUS(status)) : "done");
}

static void other_architecture(void) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        long outcome; /* getpid of i386, by the old gate */
        __asm__ volatile("int $0x80" : "=a"(outcome) : "a"(20) : "memory");
        _exit(outcome > 0 ? 0 : 1);
    }
    waitpid(child, &status, 0);
    say("i386", "%s", WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "done" : "refused");
}

static void realtime(void) {
    struct sched_param priority = {.sched_priority = 10};
    tell("realtime", sched_setscheduler(0, SCHED_FIFO, &priority));
}

static void more_descriptors(void) {
    struct rlimit wanted = {1 << 20, 1 << 20};
    tell("raise-limit", setrlimit(RLIMIT_NOFILE, &wanted));
}

int main(void) {
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        in_a_child(plain[i].name, plain[i].number, plain[i].a, plain[i].b, plain[i].c, plain[i].d);
    other_architecture();
    realtime();
    more_descriptors();
    return 0;
}
