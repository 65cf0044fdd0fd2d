/* Take more than the limits allow: hog WHAT. Every loop is bounded, so that a missing limit harms
   the test's host little. */
#include "say.h"
#include <pthread.h>
#include <sys/ipc.h>
#include <sys/shm.h>

enum { MIB = 1 << 20 };

static void processes(void) {
    int n = 0;
    for (; n < 2000; n++) {
        pid_t child = fork();
        if (child == 0) {
            pause();
            _exit(0);
        }
        if (child < 0) break;
    }
    say("processes", "%d %s", n, n < 2000 ? strerror(errno) : "done");
}

static void *sleep_on(void *nothing) {
    pause();
    return nothing;
}

static void threads(void) {
    int n = 0, why = 0;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    for (pthread_t t; n < 2000; n++)
        if ((why = pthread_create(&t, &small, sleep_on, NULL))) break;
    say("threads", "%d %s", n, why ? strerror(why) : "done");
}

static void touch(size_t bytes) {
    char *room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) _exit(3);
    for (size_t at = 0; at < bytes; at += 4096) room[at] = 1;
}

static void memory(void) {
    for (int i = 0; i < 64; i++) touch(32 * MIB);
    say("memory", "done");
}

static void family(void) {
    int survivors = 0, status;
    for (int i = 0; i < 12; i++)
        if (fork() == 0) {
            touch(64 * MIB);
            sleep(1);
            _exit(0);
        }
    while (wait(&status) > 0) survivors += WIFEXITED(status) && WEXITSTATUS(status) == 0;
    say("family", "%d of 12", survivors);
}

static void shared(void) {
    int id = shmget(IPC_PRIVATE, (size_t)1500 * MIB, IPC_CREAT | 0600);
    char *room = id < 0 ? (char *)-1 : shmat(id, NULL, 0);
    if (room == (char *)-1) {
        tell("shared", -1);
        return;
    }
    for (size_t at = 0; at < (size_t)1500 * MIB; at += 4096) room[at] = 1;
    say("shared", "done");
}

static void descriptors(void) {
    int n = 0;
    while (n < 100000 && open("/dev/null", O_RDONLY) >= 0) n++;
    say("descriptors", "%d %s", n, n < 100000 ? strerror(errno) : "done");
}

static void spin(void) {
    for (int i = 0; i < 4; i++)
        if (fork() == 0) {
            for (double end = clock_now() + 1.5; clock_now() < end;) continue;
            _exit(0);
        }
    while (wait(NULL) > 0) continue;
    struct rusage used;
    getrusage(RUSAGE_CHILDREN, &used);
    say("spin", "%.2f", used.ru_utime.tv_sec + used.ru_utime.tv_usec / 1e6);
}

static void core(void) {
    struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    tell("core-limit", setrlimit(RLIMIT_CORE, &all));
    abort();
}

int main(int count, char **words) {
    static const struct {
        const char *name;
        void (*take)(void);
    } kinds[] = {{"processes", processes}, {"threads", threads}, {"memory", memory},
                 {"family", family},       {"shared", shared},   {"descriptors", descriptors},
                 {"spin", spin},           {"core", core}};
    for (size_t i = 0; count > 1 && i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(words[1], kinds[i].name)) {
            kinds[i].take();
            return 0;
        }
    return 2;
}
