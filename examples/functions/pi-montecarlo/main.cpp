// pi-montecarlo: approximates pi on the CPU by throwing random points at a square.
//
// Input:  a number of iterations and a number of threads, as in "1000000 4".
// Output: two lines, "Elapsed time: <milliseconds> ms" and "PI: <approximation>",
//         both with 12 decimals; without iterations there is no approximation (nan).

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <random>
#include <system_error>
#include <thread>
#include <vector>

namespace {

// Counts the points of the unit square, out of `iterations`, that fall into the quarter circle.
std::int64_t count_hits(std::int64_t iterations, std::uint64_t seed, std::uint64_t thread) {
    std::seed_seq seeds{seed & 0xffffffffU, seed >> 32U, thread};
    std::mt19937_64 generator(seeds);
    std::uniform_real_distribution<double> coordinate(0.0, 1.0);

    std::int64_t hits = 0;
    for (std::int64_t i = 0; i < iterations; ++i) {
        const double x = coordinate(generator);
        const double y = coordinate(generator);
        hits += x * x + y * y <= 1.0 ? 1 : 0;
    }
    return hits;
}

// Shares the iterations out over the threads. Each has a generator of its own and writes its
// own element of the result, once, so nothing is shared while they run.
std::int64_t count_hits_in_parallel(std::int64_t iterations, std::int64_t threads,
                                    std::uint64_t seed) {
    std::vector<std::int64_t> hits(static_cast<std::size_t>(threads), 0);
    std::vector<std::thread> workers;
    const auto join_all = [&workers] {
        for (std::thread& worker : workers) {
            worker.join();
        }
    };

    try {
        for (std::int64_t t = 0; t < threads; ++t) {
            const std::int64_t share = iterations / threads + (t < iterations % threads ? 1 : 0);
            workers.emplace_back([&hits, share, seed, t] {
                hits[static_cast<std::size_t>(t)] =
                    count_hits(share, seed, static_cast<std::uint64_t>(t));
            });
        }
    } catch (const std::system_error&) {
        join_all();  // a thread that is destroyed unjoined ends the program
        throw;
    }
    join_all();

    std::int64_t total = 0;
    for (const std::int64_t count : hits) {
        total += count;
    }
    return total;
}

}  // namespace

int main() {
    using clock = std::chrono::steady_clock;
    constexpr std::int64_t most_threads = 1024;

    std::int64_t iterations = 0;
    std::int64_t threads = 0;
    std::cin >> iterations >> threads;
    iterations = std::max<std::int64_t>(iterations, 0);
    threads = std::clamp<std::int64_t>(threads, 1, most_threads);

    const auto seed = static_cast<std::uint64_t>(
        std::chrono::system_clock::now().time_since_epoch().count());

    try {
        const auto start = clock::now();
        const std::int64_t hits = count_hits_in_parallel(iterations, threads, seed);
        const std::chrono::duration<double, std::milli> elapsed = clock::now() - start;

        const double pi = 4.0 * static_cast<double>(hits) / static_cast<double>(iterations);
        std::printf("Elapsed time: %.12f ms\nPI: %.12f\n", elapsed.count(), pi);
    } catch (const std::system_error& error) {
        std::cerr << "pi-montecarlo: cannot start " << threads << " threads: " << error.what()
                  << '\n';
        return 1;
    }
    return 0;
}
