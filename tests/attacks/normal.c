/* No attack: what honest programs do must work. normal [WORDS]: reads stdin, uses files and threads. */
#include "say.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <pwd.h>

static void *count_up(void *counter) {
    __atomic_add_fetch((int *)counter, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static int use_file(const char *path) {
    char back[3] = "";
    int fd = open(path, O_CREAT | O_RDWR | O_EXCL, 0600);
    if (fd < 0 || write(fd, "ok", 2) != 2 || pread(fd, back, 2, 0) != 2) return -1;
    return strcmp(back, "ok") ? -1 : 0;
}

static int own_loopback(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(server, (struct sockaddr *)&at, size) || listen(server, 1)) return -1;
    getsockname(server, (struct sockaddr *)&at, &size);
    return connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&at, size);
}

int main(int count, char **words) {
    char input[64] = "", folder[200] = "";
    pthread_t threads[8];
    int counted = 0;
    for (int i = 0; i < 8; i++) pthread_create(&threads[i], NULL, count_up, &counted);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    ssize_t got = read(0, input, sizeof input - 1);
    say("threads", "%d", counted);
    say("input", "%zd %s", got, input);
    say("words", "%d %s", count, count > 1 ? words[1] : "");
    say("folder", "%s", getcwd(folder, sizeof folder));
    say("user", "%s", getpwuid(getuid()) ? getpwuid(getuid())->pw_name : "?");
    tell("work", use_file("file"));
    tell("tmp", use_file("/tmp/file"));
    tell("shm", use_file("/dev/shm/file"));
    tell("loopback", own_loopback());
    tell("stdout-by-name", open("/dev/stdout", O_WRONLY));
    say("shell", "%d", system("exit 3") >> 8);
    (void)!write(2, "to stderr\n", 10);
    return 5;
}
