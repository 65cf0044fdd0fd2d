// A hermes-function: its input comes on stdin, its output goes to stdout.
// This one counts the words of the input, and how long the longest is.

#include <algorithm>
#include <cstddef>
#include <iostream>
#include <string>

int main() {
    std::size_t words = 0;
    std::size_t longest = 0;

    std::string word;
    while (std::cin >> word) {
        ++words;
        longest = std::max(longest, word.size());
    }

    // What you write to stderr is kept apart; exit codes other than 0 mark the run as failed.
    if (words == 0) {
        std::cerr << "There was no input.\n";
        return 1;
    }
    std::cout << words << " words, the longest has " << longest << " bytes\n";
    return 0;
}
