// Output that is a function of the input alone: "seed lines pause_ms" gives `lines` lines on stdout,
// every seventh also on stderr, with a pause in the middle for something to be killed in.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <thread>

int main() {
    unsigned long long seed = 0;
    int lines = 0;
    int pause_ms = 0;
    if (std::scanf("%llu %d %d", &seed, &lines, &pause_ms) != 3) return 2;
    std::uint64_t state = seed;
    for (int i = 0; i < lines; ++i) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        std::printf("%d %016llx\n", i, static_cast<unsigned long long>(state));
        if (i % 7 == 0) std::fprintf(stderr, "%d\n", i);
        if (i == lines / 2) {
            std::fflush(stdout);
            std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
        }
    }
    return 0;
}
