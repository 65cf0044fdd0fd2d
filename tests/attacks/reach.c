/* Reach out of the sandbox: reach PORT ABSTRACT PATH, the addresses of listeners on the host. */
#include "say.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/un.h>

static void internet(const char *step, int kind, int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct timeval soon = {.tv_usec = 300000};
    char byte = '?';
    inet_aton("127.0.0.1", &to.sin_addr);
    int fd = socket(AF_INET, kind, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
    long outcome = connect(fd, (struct sockaddr *)&to, sizeof to);
    if (outcome == 0) outcome = send(fd, &byte, 1, 0);
    if (outcome >= 0) outcome = recv(fd, &byte, 1, 0);
    tell(step, outcome);
}

static void local(const char *step, const char *name, int abstract) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    strncpy(to.sun_path + abstract, name, sizeof to.sun_path - 1 - abstract);
    socklen_t size = offsetof(struct sockaddr_un, sun_path) + abstract + strlen(name) + !abstract;
    tell(step, connect(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&to, size));
}

int main(int count, char **words) {
    if (count < 4) return 2;
    internet("tcp", SOCK_STREAM, atoi(words[1]));
    internet("udp", SOCK_DGRAM, atoi(words[1]));
    local("abstract", words[2], 1);
    local("path", words[3], 0);
    tell("raw", socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    tell("packet", socket(AF_PACKET, SOCK_RAW, 0));
    tell("vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
    int pair[2];
    tell("vsock-pair", socketpair(AF_VSOCK, SOCK_STREAM, 0, pair));
    tell("alg", socket(AF_ALG, SOCK_SEQPACKET, 0));
    tell("bluetooth", socket(AF_BLUETOOTH, SOCK_RAW, 0));
    tell("tipc", socket(AF_TIPC, SOCK_STREAM, 0));
    tell("xdp", socket(AF_XDP, SOCK_RAW, 0));
    int others = 0, routes = -1;
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) == 0)
        for (struct ifaddrs *one = all; one; one = one->ifa_next)
            others += (one->ifa_flags & IFF_UP) && !(one->ifa_flags & IFF_LOOPBACK);
    say("interfaces", "%d", others);
    FILE *table = fopen("/proc/net/route", "r");
    for (int c; table && (c = fgetc(table)) != EOF;) routes += c == '\n';
    say("routes", "%d", routes);
    return 0;
}
