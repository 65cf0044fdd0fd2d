/* Fill a folder: fill bytes|files|sparse FOLDER. Stops by itself after 1 GiB or 200,000 files. */
#include "say.h"

static char block[1 << 20];

static void bytes(const char *folder) {
    char path[300];
    long written = 0;
    for (int n = 0; n < 1024; n++) {
        snprintf(path, sizeof path, "%s/block.%d", folder, n);
        int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
        ssize_t done = fd < 0 ? -1 : write(fd, block, sizeof block);
        if (done > 0) written += done;
        if (done < (ssize_t)sizeof block) {
            if (done >= 0) done = write(fd, block, 1); /* a short write: ask for the reason */
            say("bytes", "%ld %s", written, done < 0 ? strerror(errno) : "short");
            return;
        }
        close(fd);
    }
    say("bytes", "%ld done", written);
}

static void files(const char *folder) {
    char path[300];
    int n = 0;
    for (; n < 200000; n++) {
        snprintf(path, sizeof path, "%s/%d", folder, n);
        int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
        if (fd < 0) break;
        close(fd);
    }
    say("files", "%d %s", n, n < 200000 ? strerror(errno) : "done");
}

static void sparse(const char *folder) {
    char path[300];
    snprintf(path, sizeof path, "%s/sparse", folder);
    signal(SIGXFSZ, SIG_IGN);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    tell("sparse", fd < 0 ? -1 : ftruncate(fd, 1L << 40));
}

int main(int count, char **words) {
    if (count < 3) return 2;
    memset(block, 7, sizeof block);
    if (!strcmp(words[1], "bytes")) bytes(words[2]);
    if (!strcmp(words[1], "files")) files(words[2]);
    if (!strcmp(words[1], "sparse")) sparse(words[2]);
    return 0;
}
