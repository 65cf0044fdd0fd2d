/* Look for what is not ours and print it: peek files PATH... | peek self PID.
   PATH:w is overwritten. PID is somebody's on the host, and gets a SIGTERM. */
#include "hold.h"
#include <dirent.h>

static char text[1 << 20];

static void print(const char *step, const char *from, ssize_t size) {
    static char line[300];
    for (ssize_t i = 0; i < size && i < 64; i++) snprintf(line + 2 * i, 3, "%02x", (unsigned char)from[i]);
    say(step, "%s", line);
    line[0] = 0;
}

static void file(char *path) {
    char step[400], *colon = strrchr(path, ':');
    int writing = colon && !strcmp(colon, ":w");
    snprintf(step, sizeof step, "%s", path);
    if (writing) *colon = 0;
    int fd = open(path, (writing ? O_WRONLY : O_RDONLY) | O_NONBLOCK);
    DIR *folder = fd < 0 || writing ? NULL : fdopendir(fd);
    if (fd < 0) tell(step, -1);
    else if (folder) {
        struct dirent *entry = readdir(folder);
        while (entry && entry->d_name[0] == '.') entry = readdir(folder);
        say(step, "%s", entry ? "entries" : "empty");
    } else if (writing)
        tell(step, strncmp(path, "/proc", 5) && strncmp(path, "/dev", 4) && strncmp(path, "/sys", 4)
                       ? write(fd, "owned", 5)
                       : 0);
    else {
        ssize_t got = read(fd, text, 64);
        if (got > 0) print(step, text, got);
        else say(step, "%s", got ? strerror(errno) : "empty");
    }
}

static void environments(void) {
    DIR *folder = opendir("/proc");
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        char path[300];
        snprintf(path, sizeof path, "/proc/%s/environ", entry->d_name);
        int fd = atoi(entry->d_name) > 0 ? open(path, O_RDONLY) : -1;
        ssize_t got = fd < 0 ? 0 : read(fd, text, sizeof text);
        close(fd);
        char *found = got > 0 ? memmem(text, got, "HERMES_CANARY=", 14) : NULL;
        if (found) say("environment", "%.40s", found + 14);
    }
}

static void self(int somebody) {
    char step[30];
    for (int fd = 3; fd < 1024; fd++) {
        ssize_t got = pread(fd, text, 64, 0);
        snprintf(step, sizeof step, "descriptor-%d", fd);
        if (got > 0) print(step, text, got);
    }
    environments();
    gethostname(text, 64);
    say("hostname", "%.64s", text);
    FILE *groups = fopen("/proc/self/cgroup", "r");
    while (groups && fgets(text, 400, groups)) say("group", "%.*s", (int)strcspn(text, "\n"), text);
    tell("kill", kill(somebody, SIGTERM));
}

int main(int count, char **words) {
    if (count < 3) return 2;
    if (!strcmp(words[1], "files"))
        for (int i = 2; i < count; i++) file(words[i]);
    else self(atoi(words[2]));
    hold();
    return 0;
}
