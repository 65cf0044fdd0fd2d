// hello: one line, and gone.

#include <cstdio>

int main() {
    std::puts("hello");
    return 0;
}
