// char-printer: prints a character n times.
//
// Input:  a character and a count n, as in "a 3".
// Output: the character n times, without a newline; nothing for n <= 0 or an empty input.

#include <algorithm>
#include <cstddef>
#include <iostream>
#include <string>

int main() {
    constexpr long long block_size = 1 << 16;

    char character = 0;
    long long count = 0;
    if (!(std::cin >> character >> count) || count <= 0) {
        return 0;
    }

    // Whole blocks, so that a large n costs few writes and little memory.
    const std::string block(static_cast<std::size_t>(std::min(count, block_size)), character);
    while (count > 0 && std::cout) {
        const long long length = std::min(count, block_size);
        std::cout.write(block.data(), static_cast<std::streamsize>(length));
        count -= length;
    }
    std::cout.flush();
    return std::cout ? 0 : 1;
}
