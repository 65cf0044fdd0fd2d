"""Leases by the scheduler's clock; times are given, so no test waits."""

from __future__ import annotations

from hermes.domain import events as ev
from hermes.domain.pool import PoolState
from streams.heartbeats import Heartbeat
from streams.leases import PAUSE, Leases
from tests.unit.domain.making import (
    PoolPartition,
    attempt_lost,
    claimed,
    id_at,
    joined,
    left,
    requested,
    scheduled,
    started,
    took_over,
)

X = id_at(1)
LEASE, CLAIM = 10.0, 4.0
STEP = 0.5


def pool_of(*facts: ev.EventData) -> PoolPartition:
    pool = PoolPartition()
    pool.accept(took_over(), joined(), *facts)
    return pool


def running() -> PoolPartition:
    return pool_of(requested(X), scheduled(X), claimed(X), started(X))


def beat(incarnation: str = "i1", attempt: int | None = None) -> Heartbeat:
    running = {} if attempt is None else {X: attempt}
    return Heartbeat(agent="a1", incarnation=incarnation, running=running)


class Clock:
    """Looks at the leases every half second, as the scheduler's tick does."""

    def __init__(self, state: PoolState, start: float = 1000.0) -> None:
        self.leases = Leases(LEASE, CLAIM)
        self.state = state
        self.now = start
        self.leases.start_afresh(start)

    def until(self, seconds: float, heartbeat: Heartbeat | None = None) -> list[str]:
        """Reasons that were found in this time."""
        found: list[str] = []
        end = self.now + seconds
        while self.now < end:
            self.now += STEP
            if heartbeat is not None:
                self.leases.heard(heartbeat, self.now)
            found += [one.reason for one in self.leases.overdue(self.state, self.now)]
        return found


def test_an_attempt_that_is_renewed_is_never_overdue() -> None:
    clock = Clock(running().state)
    assert clock.until(100, beat(attempt=1)) == []


def test_an_attempt_that_nobody_renews_is_overdue_after_its_lease() -> None:
    clock = Clock(running().state)
    assert clock.until(LEASE) == []
    assert clock.until(2 * STEP)[0] == "lease_expired"


def test_a_heartbeat_without_the_attempt_does_not_renew_it() -> None:
    """The agent lives, but what it runs is not this."""
    clock = Clock(running().state)
    assert clock.until(LEASE, beat()) == []
    assert "lease_expired" in clock.until(2 * STEP, beat())


def test_a_heartbeat_of_an_earlier_attempt_does_not_renew_the_present_one() -> None:
    pool = running()
    pool.accept(attempt_lost(X), scheduled(X, 2), claimed(X, 2), started(X, 2))
    clock = Clock(pool.state)
    assert clock.until(LEASE, beat(attempt=1)) == []
    assert "lease_expired" in clock.until(2 * STEP, beat(attempt=1))


def test_an_attempt_that_is_not_claimed_in_time_is_overdue_sooner() -> None:
    clock = Clock(pool_of(requested(X), scheduled(X)).state)
    assert clock.until(CLAIM) == []
    (one,) = clock.leases.overdue(clock.state, clock.now + 2 * STEP)
    assert (one.attempt, one.reason, one.certain) == (1, "not_claimed", False)


def test_a_longer_lease_in_the_decision_holds() -> None:
    pool = pool_of(requested(X), scheduled(X, lease=30.0), claimed(X), started(X))
    clock = Clock(pool.state)
    assert clock.until(30.0) == []
    assert "lease_expired" in clock.until(2 * STEP)


def test_a_new_incarnation_ends_the_attempts_of_the_old_one_at_once() -> None:
    pool = running()
    pool.accept(joined("a1", "i2"))
    (one,) = Leases(LEASE, CLAIM).overdue(pool.state, 1000.0)
    assert (one.reason, one.certain) == ("agent_restarted", True)


def test_an_agent_that_left_loses_its_attempts_at_once() -> None:
    pool = running()
    pool.accept(left())
    (one,) = Leases(LEASE, CLAIM).overdue(pool.state, 1000.0)
    assert (one.reason, one.certain) == ("agent_left", True)


def test_what_nobody_holds_is_not_overdue() -> None:
    pool = running()
    pool.accept(attempt_lost(X), requested(id_at(2)))
    assert Clock(pool.state).until(50) == []


def test_after_a_pause_of_the_scheduler_every_lease_counts_afresh() -> None:
    """Its own silence proves nothing against the agents."""
    clock = Clock(running().state)
    clock.until(LEASE - 1)
    clock.now += 3600
    assert clock.until(LEASE) == []
    assert "lease_expired" in clock.until(2 * STEP)
    assert PAUSE < LEASE


def test_after_a_takeover_every_lease_counts_afresh() -> None:
    clock = Clock(running().state)
    clock.until(LEASE - 1)
    clock.leases.start_afresh(clock.now)
    assert clock.until(LEASE - 1) == []


def test_an_agent_is_alive_while_it_was_heard_of_within_a_lease() -> None:
    clock = Clock(pool_of().state)
    assert clock.leases.alive(clock.state, clock.now) == {"a1"}  # it has just joined
    assert clock.leases.alive(clock.state, clock.now + LEASE) == set()
    clock.leases.heard(beat(), clock.now + LEASE)
    assert clock.leases.alive(clock.state, clock.now + LEASE + 1) == {"a1"}


def test_a_heartbeat_of_an_earlier_incarnation_keeps_nobody_alive() -> None:
    clock = Clock(pool_of().state)
    assert clock.leases.alive(clock.state, clock.now) == {"a1"}
    clock.leases.heard(beat("i0"), clock.now + LEASE)
    assert clock.leases.alive(clock.state, clock.now + LEASE) == set()


def test_heartbeats_of_strangers_do_no_harm() -> None:
    clock = Clock(running().state)
    stranger = Heartbeat(agent="nobody", incarnation="?", running={"what": -7, X: 99})
    clock.until(1, stranger)
    assert clock.leases.alive(clock.state, clock.now) == {"a1"}
