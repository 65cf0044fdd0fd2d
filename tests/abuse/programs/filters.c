/* Install filters of one's own. Every call has a bad pointer, so that none is ever installed:
   thousands would stop this kernel. "Bad address" means that the kernel looked. */
#include "say.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

static void attach(const char *step, int option) {
    struct sock_fprog bad = {.len = 1, .filter = (struct sock_filter *)8};
    tell(step, setsockopt(socket(AF_UNIX, SOCK_DGRAM, 0), SOL_SOCKET, option, &bad, sizeof bad));
}

int main(void) {
    struct sock_fprog bad = {.len = 1, .filter = (struct sock_filter *)8};
    tell("seccomp", syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &bad));
    tell("prctl", prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &bad));
    attach("socket", SO_ATTACH_FILTER);
    attach("reuseport", SO_ATTACH_REUSEPORT_CBPF);
    return 0;
}
