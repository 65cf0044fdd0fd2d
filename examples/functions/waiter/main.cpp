// waiter: greets at intervals, to watch an output arrive live.
//
// Input:  a time t and an interval i, both in whole seconds, as in "2 1".
// Output: "Hello <seconds so far>" at 0, i, 2i, ... up to the first moment at or after t.

#include <chrono>
#include <iostream>
#include <thread>

int main() {
    long long duration = 0;
    long long interval = 0;
    std::cin >> duration >> interval;

    if (duration > 0 && interval < 1) {
        std::cerr << "waiter: the interval must be at least 1 second\n";
        return 1;
    }

    for (long long elapsed = 0;; elapsed += interval) {
        // endl, because a reader who follows the run should see each line when it is written.
        std::cout << "Hello " << elapsed << std::endl;
        if (elapsed >= duration) {
            return 0;
        }
        std::this_thread::sleep_for(std::chrono::seconds(interval));
    }
}
