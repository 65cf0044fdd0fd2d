/* Keep unread data in socket buffers: queues tcp|udp|stream|datagram MIB CHILDREN. Bounded by MIB
   in all. Afterwards it waits for the end of stdin, so that the host can be looked at. */
#include "hold.h"
#include <arpa/inet.h>
#include <netinet/in.h>

enum { MOST_IN_ONE = 4 << 20 }; /* a full UDP socket drops what comes, and says nothing */
static char block[60000];

/* Two ends of one connection by the loopback, -1 with errno where there is none. */
static int by_internet(int kind, int ends[2]) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int server = socket(AF_INET, kind, 0);
    ends[1] = socket(AF_INET, kind, 0);
    if (server < 0 || ends[1] < 0) return -1;
    if (bind(server, (struct sockaddr *)&at, size)) return -1;
    if (kind == SOCK_STREAM && listen(server, 1)) return -1;
    getsockname(server, (struct sockaddr *)&at, &size);
    if (connect(ends[1], (struct sockaddr *)&at, size)) return -1;
    ends[0] = kind == SOCK_STREAM ? accept(server, NULL, NULL) : server;
    if (kind == SOCK_STREAM) close(server);
    return ends[0] < 0 ? -1 : 0;
}

static int connected(const char *how, int ends[2]) {
    if (!strcmp(how, "tcp")) return by_internet(SOCK_STREAM, ends);
    if (!strcmp(how, "udp")) return by_internet(SOCK_DGRAM, ends);
    return socketpair(AF_UNIX, strcmp(how, "stream") ? SOCK_DGRAM : SOCK_STREAM, 0, ends);
}

static const char *fill(const char *how, long most, long *kept) {
    for (int ends[2], huge = 1 << 30; *kept < most;) {
        if (connected(how, ends)) return strerror(errno);
        for (int i = 0; i < 2; i++) {
            setsockopt(ends[i], SOL_SOCKET, SO_RCVBUF, &huge, sizeof huge);
            setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &huge, sizeof huge);
        }
        fcntl(ends[1], F_SETFL, O_NONBLOCK);
        for (ssize_t got = 1, most_here = *kept + MOST_IN_ONE; *kept < most_here && got > 0;)
            if ((got = send(ends[1], block, sizeof block, 0)) > 0) *kept += got;
    }
    return "done";
}

int main(int count, char **words) {
    if (count < 4) return 2;
    long most = atol(words[2]) << 20;
    int children = atoi(words[3]);
    signal(SIGPIPE, SIG_IGN);
    long *kept = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < children; i++)
        if (fork() == 0) {
            const char *why = fill(words[1], most / children, &kept[i]);
            if (i == 0) say("why", "%s", why);
            pause();
        }
    long before = -1, sum = 0; /* done when nothing was added for half a second */
    for (int quiet = 0; quiet < 5 && sum < most; quiet = sum == before ? quiet + 1 : 0, before = sum) {
        usleep(100000);
        sum = 0;
        for (int i = 0; i < children; i++) sum += kept[i];
    }
    say(words[1], "%ld", sum >> 20);
    hold();
    return 0;
}
