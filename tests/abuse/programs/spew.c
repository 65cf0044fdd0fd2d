/* Write to stdout: spew flood MIB | line MIB | bytes | escapes. */
#include "say.h"

static const char *const escapes[] = {
    "\033]0;title\007",        "\033]52;c;aGVybWVz\007", "\033[2J\033[H",  "\033[6n",
    "\033]8;;file:///\033\\x", "\033[?1049h",            "\xc2\x9b" "31m", "\x9b" "31m",
    "\r\033[Khost# ",          "\xe2\x80\xae" "txt.exe", "\b\b\a",         "\033c",
};

static void all(const char *from, size_t size) {
    for (ssize_t done; size; from += done, size -= done)
        if ((done = write(1, from, size)) < 0) _exit(9);
}

int main(int count, char **words) {
    static char block[1 << 16];
    long most = count > 2 ? atol(words[2]) << 4 : 0;
    if (count < 2) return 2;
    if (!strcmp(words[1], "flood") || !strcmp(words[1], "line")) {
        memset(block, words[1][0] == 'l' ? 'x' : '\n', sizeof block);
        while (most-- > 0) all(block, sizeof block);
    }
    if (!strcmp(words[1], "bytes")) /* every value, NUL and broken UTF-8 among them, in odd pieces */
        for (int i = 0; i < 1000; i++) {
            for (int at = 0; at < 997; at++) block[at] = (char)(i * 7 + at);
            all(block, 997);
        }
    if (!strcmp(words[1], "escapes"))
        for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
            all(escapes[i], strlen(escapes[i]));
            all("\n", 1);
        }
    return 0;
}
