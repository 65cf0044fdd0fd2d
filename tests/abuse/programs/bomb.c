/* Take more than the limits allow and hold it: bomb WHAT COUNT, with COUNT processes, threads,
   descriptors or MiB. COUNT bounds it where nothing else does. */
#include "hold.h"
#include <pthread.h>
#include <sys/ipc.h>
#include <sys/shm.h>

enum { MIB = 1 << 20, FAMILY = 16 };

static void processes(long most) {
    long n = 0;
    for (pid_t child = 1; n < most && child > 0; n += child > 0) {
        child = fork();
        if (child == 0)
            for (;;) pause();
    }
    say("processes", "%ld %s", n, n < most ? strerror(errno) : "done");
}

static void *rest(void *nothing) {
    for (;;) pause();
    return nothing;
}

static void threads(long most) {
    pthread_attr_t small;
    pthread_t thread;
    long n = 0;
    int why = 0;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    while (n < most && !(why = pthread_create(&thread, &small, rest, NULL))) n++;
    say("threads", "%ld %s", n, why ? strerror(why) : "done");
}

static void dirty(char *room, size_t bytes) {
    for (size_t at = 0; at < bytes; at += 4096) room[at] = 1;
}

static void touch(size_t bytes) {
    char *room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) _exit(3);
    dirty(room, bytes);
}

static void memory(long most) {
    touch((size_t)most * MIB);
    say("memory", "done");
}

static void family(long most) {
    int *through = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < FAMILY; i++)
        if (fork() == 0) {
            touch((size_t)most * MIB / FAMILY);
            __atomic_add_fetch(through, 1, __ATOMIC_SEQ_CST);
            for (;;) pause();
        }
    for (int i = 0; i < 30 && *through < FAMILY; i++) usleep(100000);
    say("family", "%d of %d", *through, FAMILY);
}

static void shared(long most) {
    int id = shmget(IPC_PRIVATE, (size_t)most * MIB, IPC_CREAT | 0600);
    char *room = id < 0 ? (char *)-1 : shmat(id, NULL, 0);
    if (id >= 0) shmctl(id, IPC_RMID, NULL); /* or it would stay, in a control for good */
    if (room != (char *)-1) dirty(room, (size_t)most * MIB);
    tell("shared", room == (char *)-1 ? -1 : 0);
}

static void descriptors(long most) {
    long n = 0;
    while (n < most && open("/dev/null", O_RDONLY) >= 0) n++;
    say("descriptors", "%ld %s", n, n < most ? strerror(errno) : "done");
    close(3);
}

/* COUNT processes that want 0.9 CPU seconds together, and get 5 s for that. */
static void spin(long most) {
    for (long i = 0; i < most; i++)
        if (fork() == 0) {
            double end = clock_now() + 5;
            while (clock_now() < end && clock() < 0.9 / most * CLOCKS_PER_SEC) continue;
            _exit(0);
        }
    while (wait(NULL) > 0) continue;
}

static void nothing(long most) { (void)most; }

int main(int count, char **words) {
    static const struct {
        const char *name;
        void (*take)(long);
    } kinds[] = {{"processes", processes}, {"threads", threads}, {"memory", memory},
                 {"family", family},       {"shared", shared},   {"descriptors", descriptors},
                 {"spin", spin},           {"nothing", nothing}};
    for (size_t i = 0; count > 2 && i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(words[1], kinds[i].name)) {
            kinds[i].take(atol(words[2]));
            hold();
            return 0;
        }
    return 2;
}
