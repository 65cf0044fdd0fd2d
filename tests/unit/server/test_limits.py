"""Guessing and flooding are slowed down, and nobody else is."""

from __future__ import annotations

import pytest

from hermes.errors import RateLimited
from hermes.server.accounts.limiter import (
    FORGET_AFTER,
    FREE_FAILURES,
    LONGEST_DELAY,
    FailureLimiter,
    TokenBucket,
)


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_each_failure_beyond_the_free_ones_doubles_the_wait() -> None:
    clock = FakeClock()
    limiter = FailureLimiter(clock)
    for _ in range(FREE_FAILURES):
        limiter.check(("ana", "1.2.3.4"))
        limiter.failed(("ana", "1.2.3.4"))
    waits = []
    for _ in range(10):
        with pytest.raises(RateLimited) as caught:
            limiter.check(("ana", "1.2.3.4"))
        waits.append(caught.value.retry_after)
        clock.now += caught.value.retry_after
        limiter.check(("ana", "1.2.3.4"))
        limiter.failed(("ana", "1.2.3.4"))
    assert waits == [min(LONGEST_DELAY, 2.0**n) for n in range(10)]
    limiter.check(("bob", "1.2.3.4"))
    limiter.check(("ana", "5.6.7.8"))


def test_success_and_time_forgive() -> None:
    clock = FakeClock()
    limiter = FailureLimiter(clock)
    for _ in range(20):
        limiter.failed(("ana", "x"))
    clock.now += FORGET_AFTER + 1
    limiter.check(("ana", "x"))
    for _ in range(20):
        limiter.failed(("bob", "x"))
    limiter.succeeded(("bob", "x"))
    limiter.check(("bob", "x"))


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    clock = FakeClock()
    bucket = TokenBucket(rate=2.0, burst=3.0, clock=clock)
    for _ in range(3):
        bucket.take("x", "tries")
    with pytest.raises(RateLimited) as caught:
        bucket.take("x", "tries")
    assert caught.value.retry_after == pytest.approx(0.5)
    bucket.take("y", "tries")
    clock.now += 0.5
    bucket.take("x", "tries")
