// flood: as many bytes as asked for, as fast as they are taken.
//
// Input:  how many MiB.
// Output: that many bytes.

#include <cstdio>
#include <unistd.h>

#include <vector>

int main() {
    int mebibytes = 0;
    if (std::scanf("%d", &mebibytes) != 1) return 2;

    const std::vector<char> piece(1 << 20, '.');
    for (int i = 0; i < mebibytes; ++i) {
        std::size_t written = 0;
        while (written < piece.size()) {
            const ssize_t taken = write(1, piece.data() + written, piece.size() - written);
            if (taken <= 0) return 1;
            written += static_cast<std::size_t>(taken);
        }
    }
    return 0;
}
