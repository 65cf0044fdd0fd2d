// eletrification: places the point whose k-th nearest neighbour is as near as can be
// (Codeforces 1175C).
//
// Input:  a number of queries; each is n and k (k < n), then n sorted integers.
// Output: for each query, a point x for which the (k+1)-th smallest distance to the integers
//         is minimal.
//
// The k+1 nearest integers of a point are neighbours in the sorted list, so the best point is
// the middle of the shortest window of k+1 of them.

#include <cstddef>
#include <cstdint>
#include <iostream>
#include <limits>
#include <vector>

int main() {
    std::ios::sync_with_stdio(false);

    std::int64_t queries = 0;
    std::cin >> queries;

    std::size_t count = 0;
    std::size_t k = 0;
    std::vector<std::int64_t> points;
    while (queries-- > 0 && std::cin >> count >> k) {
        // Grown as the numbers arrive: the announced count alone reserves no memory.
        points.clear();
        std::int64_t point = 0;
        while (points.size() < count && std::cin >> point) {
            points.push_back(point);
        }
        if (points.size() < count || k >= count) {
            std::cerr << "eletrification: a query needs n integers and k < n\n";
            return 1;
        }

        std::int64_t shortest = std::numeric_limits<std::int64_t>::max();
        std::int64_t best = 0;
        for (std::size_t first = 0; first + k < count; ++first) {
            const std::int64_t length = points[first + k] - points[first];
            if (length < shortest) {
                shortest = length;
                best = points[first] + (length + 1) / 2;
            }
        }
        std::cout << best << '\n';
    }
    return 0;
}
