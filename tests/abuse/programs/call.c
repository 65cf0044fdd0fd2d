/* Reach listeners outside, and keep sockets of every family open: call ADDRESS...
   ADDRESS is tcp:IP:PORT, udp:IP:PORT, abstract:NAME or path:PATH. */
#include "hold.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/un.h>

static void internet(const char *step, int kind, char *address) {
    char *port = strrchr(address, ':');
    *port++ = 0;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    struct timeval soon = {.tv_sec = 1};
    inet_aton(address, &to.sin_addr);
    int fd = socket(AF_INET, kind, 0);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof soon);
    long outcome = connect(fd, (struct sockaddr *)&to, sizeof to);
    tell(step, outcome ? outcome : send(fd, "x", 1, MSG_NOSIGNAL));
    close(fd);
}

static void local(const char *step, const char *name, int abstract) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path + abstract, name, sizeof to.sun_path - 1 - abstract);
    socklen_t size = offsetof(struct sockaddr_un, sun_path) + abstract + strlen(name) + !abstract;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    tell(step, connect(fd, (struct sockaddr *)&to, size));
    close(fd);
}

static const struct {
    const char *name;
    int family, kind, protocol;
} families[] = {
    {"raw", AF_INET, SOCK_RAW, IPPROTO_ICMP},       {"packet", AF_PACKET, SOCK_RAW, 0},
    {"vsock", AF_VSOCK, SOCK_STREAM, 0},            {"alg", AF_ALG, SOCK_SEQPACKET, 0},
    {"netlink", AF_NETLINK, SOCK_RAW, 0},           {"udp", AF_INET, SOCK_DGRAM, 0},
    {"udp6", AF_INET6, SOCK_DGRAM, 0},              {"ping", AF_INET, SOCK_DGRAM, IPPROTO_ICMP},
    {"sctp", AF_INET, SOCK_STREAM, 132},            {"mptcp", AF_INET, SOCK_STREAM, 262},
    {"bluetooth", AF_BLUETOOTH, SOCK_RAW, 0},       {"tipc", AF_TIPC, SOCK_STREAM, 0},
    {"xdp", AF_XDP, SOCK_RAW, 0},                   {"key", AF_KEY, SOCK_RAW, 2},
};

int main(int count, char **words) {
    for (int i = 1; i < count; i++) {
        char step[300];
        snprintf(step, sizeof step, "%.290s", words[i]);
        if (!strncmp(words[i], "tcp:", 4)) internet(step, SOCK_STREAM, words[i] + 4);
        if (!strncmp(words[i], "udp:", 4)) internet(step, SOCK_DGRAM, words[i] + 4);
        if (!strncmp(words[i], "abstract:", 9)) local(step, words[i] + 9, 1);
        if (!strncmp(words[i], "path:", 5)) local(step, words[i] + 5, 0);
    }
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        tell(families[i].name, socket(families[i].family, families[i].kind, families[i].protocol));
    hold();
    return 0;
}
