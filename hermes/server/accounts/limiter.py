"""Slows down guessing: after some failures, each next try waits twice as long."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from hermes.errors import RateLimited

FREE_FAILURES = 5
LONGEST_DELAY = 60.0
FORGET_AFTER = 900.0
_MOST_KEYS = 50_000


class FailureLimiter:
    """Failures by key, for instance (username, address). Times in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[tuple[str, ...], tuple[int, float]] = OrderedDict()

    def check(self, key: tuple[str, ...]) -> None:
        """Raises RateLimited while the key has to wait."""
        count, last = self._failures.get(key, (0, 0.0))
        waited = self._clock() - last
        if waited > FORGET_AFTER:
            return
        if count >= FREE_FAILURES:
            delay = min(LONGEST_DELAY, 2.0 ** (count - FREE_FAILURES))
            if waited < delay:
                raise RateLimited(
                    f"too many failed logins: try again in {delay - waited:.0f} s",
                    retry_after=delay - waited,
                )

    def failed(self, key: tuple[str, ...]) -> None:
        """Count a failure."""
        count, last = self._failures.pop(key, (0, 0.0))
        if self._clock() - last > FORGET_AFTER:
            count = 0
        self._failures[key] = (count + 1, self._clock())
        while len(self._failures) > _MOST_KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, key: tuple[str, ...]) -> None:
        """Forget the key's failures."""
        self._failures.pop(key, None)


class TokenBucket:
    """At most `burst` at once and `rate` a second, by key."""

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, what: str) -> None:
        """Use one up. Raises RateLimited when none is left."""
        now = self._clock()
        level, last = self._levels.pop(key, (self._burst, now))
        level = min(self._burst, level + (now - last) * self._rate)
        allowed = level >= 1.0
        self._levels[key] = (level - 1.0 if allowed else level, now)
        while len(self._levels) > _MOST_KEYS:
            self._levels.popitem(last=False)
        if not allowed:
            raise RateLimited(f"too many {what}", retry_after=(1.0 - level) / self._rate)
