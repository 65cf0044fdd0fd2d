/* Look around: look PATH... reads each path; look :self tells who and where we are. PATH:w writes. */
#include "say.h"
#include <dirent.h>

static void read_path(char *path) {
    char *colon = strrchr(path, ':'), step[400], some[64];
    int for_writing = colon && !strcmp(colon, ":w");
    snprintf(step, sizeof step, "%s", path);
    if (for_writing) *colon = 0;
    int fd = open(path, (for_writing ? O_WRONLY : O_RDONLY) | O_NONBLOCK);
    if (fd < 0) {
        tell(step, -1);
        return;
    }
    struct stat status;
    fstat(fd, &status);
    if (S_ISDIR(status.st_mode)) {
        DIR *folder = fdopendir(fd);
        int entries = -2;
        while (folder && readdir(folder)) entries++;
        say(step, "%s", entries > 0 ? "done" : "empty");
        return;
    }
    if (for_writing) {
        say(step, "done");
        return;
    }
    ssize_t got = read(fd, some, sizeof some);
    say(step, "%s", got > 0 ? "done" : got == 0 ? "empty" : strerror(errno));
}

static void status_line(const char *key) {
    static char text[8192];
    int fd = open("/proc/self/status", O_RDONLY);
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    text[got > 0 ? got : 0] = 0;
    char *line = strstr(text, key), value[100] = "";
    if (line) sscanf(line + strlen(key) + 1, " %99[^\n]", value);
    say(key, "%s", value);
}

static char environment[1 << 20];

static void self(void) {
    DIR *folder = opendir("/proc");
    int processes = 0, foreign = 0, descriptors = 0;
    for (struct dirent *entry; (entry = readdir(folder));) processes += atoi(entry->d_name) > 0;
    closedir(folder);
    for (int fd = 3; fd < 4096; fd++) descriptors += fcntl(fd, F_GETFD) >= 0;
    say("processes", "%d", processes);
    say("descriptors", "%d", descriptors);
    say("uid", "%d", getuid());
    for (char **variable = environ; *variable; variable++) {
        char name[64] = "";
        sscanf(*variable, "%63[^=]", name);
        say("env", "%s", name);
    }
    for (int pid = 1; pid < 4; pid++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/environ", pid);
        FILE *file = fopen(path, "r");
        size_t size = file ? fread(environment, 1, sizeof environment, file) : 0;
        foreign += memmem(environment, size, "HERMES_CANARY", 13) != NULL;
    }
    say("foreign", "%d", foreign);
    static const char *const keys[] = {"CapEff", "CapPrm", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) status_line(keys[i]);
}

int main(int count, char **words) {
    for (int i = 1; i < count; i++)
        if (!strcmp(words[i], ":self")) self();
        else read_path(words[i]);
    return 0;
}
