// ticker: a line every few milliseconds, saying when it was written.
//
// Input:  how many lines, and the milliseconds between them.
// Output: CLOCK_REALTIME in nanoseconds, a number a line.

#include <cstdio>
#include <ctime>

int main() {
    int lines = 0;
    int pause = 0;
    if (std::scanf("%d %d", &lines, &pause) != 2) return 2;

    const timespec interval{pause / 1000, pause % 1000 * 1000000L};
    for (int i = 0; i < lines; ++i) {
        nanosleep(&interval, nullptr);
        timespec now{};
        clock_gettime(CLOCK_REALTIME, &now);
        std::printf("%ld%09ld\n", static_cast<long>(now.tv_sec), now.tv_nsec);
        std::fflush(stdout);
    }
    return 0;
}
