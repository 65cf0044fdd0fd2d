/* Fill a folder and hold it: stuff bytes|files|sparse FOLDER COUNT, at most COUNT MiB or files. */
#include "hold.h"

static char block[1 << 20];

static int make(const char *folder, long n) {
    char path[400];
    snprintf(path, sizeof path, "%s/stuffed.%ld", folder, n);
    return open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
}

int main(int count, char **words) {
    if (count < 4) return 2;
    const char *what = words[1], *folder = words[2];
    long most = atol(words[3]), n = 0;
    ssize_t outcome = 0;
    signal(SIGXFSZ, SIG_IGN);
    for (; n < most && outcome >= 0; n++) {
        int fd = outcome = make(folder, n);
        if (fd < 0) break;
        if (!strcmp(what, "bytes"))
            for (size_t done = 0; done < sizeof block && outcome >= 0;)
                done += outcome = write(fd, block, sizeof block - done);
        if (!strcmp(what, "sparse")) {
            outcome = ftruncate(fd, 1L << 40);
            break;
        }
        close(fd);
    }
    say(what, "%ld %s", n, outcome < 0 ? strerror(errno) : "done");
    hold();
    return 0;
}
