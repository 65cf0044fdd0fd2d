// reduce-sum: adds up numbers.
//
// Input:  a count n, then n integers.
// Output: their sum, in 64 bits, on a line of its own; 0 for an empty input.

#include <cstdint>
#include <iostream>

int main() {
    std::ios::sync_with_stdio(false);

    std::int64_t count = 0;
    std::cin >> count;

    std::int64_t sum = 0;
    std::int64_t value = 0;
    for (std::int64_t i = 0; i < count && std::cin >> value; ++i) {
        sum += value;
    }

    std::cout << sum << '\n';
    return 0;
}
