/* What these attack programs share beside say.h: they stand still at their end, to be looked at. */
#include "say.h"

/* Say so, and wait for the end of stdin, 20 s at the longest. */
static inline void hold(void) {
    char byte;
    say("held", "");
    alarm(20);
    while (read(0, &byte, 1) > 0) continue;
}
