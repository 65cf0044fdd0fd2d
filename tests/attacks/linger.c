/* Refuse to end: linger deaf|sleep|daemon|silent|orphans|brother. Nothing lives longer than 30 s. */
#include "say.h"

static void deaf(void) {
    for (int n = 1; n < NSIG; n++) signal(n, SIG_IGN);
    say("deaf", "listening to nothing");
    for (double end = clock_now() + 30; clock_now() < end;) sleep(1);
}

static void detach(void) {
    if (fork() == 0) {
        setsid();
        for (int n = 1; n < NSIG; n++) signal(n, SIG_IGN);
        if (fork() == 0) {
            for (int i = 0; i < 300; i++) {
                usleep(100000);
                (void)!write(1, "still here\n", 11);
            }
            _exit(0);
        }
        _exit(0);
    }
    wait(NULL);
    usleep(150000);
    say("daemon", "left behind");
}

static void silent(void) {
    say("silent", "closing");
    for (int fd = 0; fd < 3; fd++) close(fd);
    usleep(700000);
    _exit(7);
}

static void orphans(void) { /* many short-lived grandchildren: someone has to collect them */
    for (int i = 0; i < 300; i++) {
        pid_t child = fork();
        if (child < 0) {
            say("orphans", "%d %s", i, strerror(errno));
            return;
        }
        if (child == 0) {
            if (fork() == 0) _exit(0);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    say("orphans", "300");
}

static void brother(void) { /* try to end or stop the process that keeps the sandbox */
    static const int signals[] = {SIGKILL, SIGSTOP, SIGTERM, SIGINT, SIGHUP, SIGALRM, SIGUSR1, SIGCHLD};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) kill(1, signals[i]);
    usleep(200000);
    say("brother", "alive");
    _exit(5);
}

int main(int count, char **words) {
    if (count < 2) return 2;
    if (!strcmp(words[1], "deaf")) deaf();
    if (!strcmp(words[1], "sleep")) sleep(30);
    if (!strcmp(words[1], "daemon")) detach();
    if (!strcmp(words[1], "silent")) silent();
    if (!strcmp(words[1], "orphans")) orphans();
    if (!strcmp(words[1], "brother")) brother();
    return 0;
}
