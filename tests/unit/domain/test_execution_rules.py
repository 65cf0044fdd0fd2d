"""One execution: which events fit where, and what they leave."""

from __future__ import annotations

import pytest

from hermes.domain import events as ev
from hermes.domain.execution import OUTCOMES
from hermes.domain.resources import StreamDigest, Usage
from tests.unit.domain.making import (
    PoolPartition,
    attempt_lost,
    cancel_requested,
    claimed,
    finished,
    id_at,
    joined,
    occurred,
    queued,
    rejected,
    requested,
    scheduled,
    started,
    took_over,
)

X = id_at(1)
STEPS: dict[str, tuple[ev.EventData, ...]] = {
    "requested": (requested(X),),
    "queued": (requested(X), queued(X)),
    "scheduled": (requested(X), scheduled(X)),
    "claimed": (requested(X), scheduled(X), claimed(X)),
    "running": (requested(X), scheduled(X), claimed(X), started(X)),
    "lost": (requested(X), scheduled(X), claimed(X), started(X), attempt_lost(X)),
    "finished": (requested(X), scheduled(X), claimed(X), started(X), finished(X)),
    "rejected": (requested(X), rejected(X)),
}


def pool_with(*facts: ev.EventData) -> PoolPartition:
    pool = PoolPartition()
    pool.accept(took_over(), joined("a1", "i1"), joined("a2", "i1"), *facts)
    return pool


def test_a_run_goes_through_its_life() -> None:
    pool = pool_with()
    states = []
    for data in STEPS["finished"]:
        execution = pool.append(data).execution
        assert execution is not None
        states.append(execution.status)
    assert states == ["requested", "scheduled", "claimed", "running", "finished"]
    assert execution.outcome == "succeeded"
    assert [attempt.status for attempt in execution.attempts] == ["finished"]
    assert execution.requested.offset == 3
    assert execution.attempts[0].scheduled_offset == 4
    assert execution.attempts[0].started_offset == 6
    assert execution.finished_offset == 7
    assert execution.created_at == occurred(3)
    assert execution.attempts[0].claimed_at == occurred(5)
    assert execution.finished_at == execution.attempts[0].ended_at == occurred(7)


FITS = {
    "queued": {"requested", "queued", "lost"},
    "rejected": {"requested", "queued"},
    "scheduled 1": {"requested", "queued"},
    "scheduled 2": {"lost"},
    "claimed 1": {"scheduled"},
    "started 1": {"claimed"},
    "finished 1": {"claimed", "running"},
    "attempt_lost 1": {"scheduled", "claimed", "running"},
    "cancel_requested": {"requested", "queued", "scheduled", "claimed", "running", "lost"},
    "requested": set(),
}
EVENTS: dict[str, ev.EventData] = {
    "queued": queued(X, "another reason"),
    "rejected": rejected(X),
    "scheduled 1": scheduled(X, 1),
    "scheduled 2": scheduled(X, 2),
    "claimed 1": claimed(X, 1),
    "started 1": started(X, 1),
    "finished 1": finished(X, 1),
    "attempt_lost 1": attempt_lost(X, 1),
    "cancel_requested": cancel_requested(X),
    "requested": requested(X),
}


@pytest.mark.parametrize("stage", STEPS)
@pytest.mark.parametrize("name", EVENTS)
def test_an_event_fits_only_where_the_life_of_an_execution_allows(stage: str, name: str) -> None:
    pool = pool_with(*STEPS[stage])
    assert pool.append(EVENTS[name]).superseded == (stage not in FITS[name])


def test_a_lost_attempt_returns_to_the_queue_and_says_why() -> None:
    pool = pool_with(*STEPS["running"])
    execution = pool.append(attempt_lost(X, output_end_offset=77)).execution
    assert execution is not None
    assert execution.status == "queued"
    assert execution.reason == "attempt 1 was lost: lease_expired"
    assert execution.current is None
    assert execution.attempts[0].status == "lost"
    assert execution.attempts[0].output_end_offset == 77


def test_a_second_attempt_follows_a_lost_one_on_another_agent() -> None:
    pool = pool_with(*STEPS["lost"])
    pool.accept(
        scheduled(X, 2, agent="a2"), claimed(X, 2, "a2"), started(X, 2, "a2"), finished(X, 2)
    )
    assert pool.state.ended[X].outcome == "succeeded"


@pytest.mark.parametrize("outcome", sorted(OUTCOMES - {"cancelled", "lost"}))
def test_an_attempt_that_was_lost_can_no_longer_finish(outcome: str) -> None:
    """`finished` against `attempt_lost`: whichever stands first in the partition holds."""
    pool = pool_with(*STEPS["lost"])
    assert pool.append(finished(X, 1, outcome=outcome)).superseded
    assert X in pool.state.live


@pytest.mark.parametrize("outcome", sorted(OUTCOMES - {"cancelled", "lost"}))
def test_what_no_agent_ever_held_cannot_have_an_outcome_of_a_run(outcome: str) -> None:
    pool = pool_with(requested(X))
    assert pool.append(finished(X, 0, outcome=outcome)).superseded


def test_a_lost_attempt_cannot_bring_its_output_in_afterwards() -> None:
    """The late end of a cancelled program whose attempt is lost: its output no longer counts."""
    pool = pool_with(*STEPS["running"], cancel_requested(X), attempt_lost(X))
    late = finished(
        X,
        outcome="cancelled",
        last_seq=3,
        output={"stdout": StreamDigest(bytes=9, sha256="c" * 64)},
        usage=Usage(wall_time=1.0, cpu_time=1.0, peak_memory=1, output_bytes=9),
    )
    assert pool.append(late).superseded


@pytest.mark.parametrize(("stage", "attempt"), [("requested", 0), ("queued", 0), ("lost", 1)])
@pytest.mark.parametrize("outcome", ["cancelled", "lost"])
def test_the_scheduler_may_end_what_nobody_holds(stage: str, attempt: int, outcome: str) -> None:
    pool = pool_with(*STEPS[stage])
    end = finished(X, attempt, outcome=outcome, exit_code=None, reason="why")
    execution = pool.append(end).execution
    assert execution is not None
    assert (execution.status, execution.outcome) == ("finished", outcome)
    assert [a.status for a in execution.attempts] == ["lost"] * attempt


@pytest.mark.parametrize("attempt", [0, 2, 3, -1])
def test_an_attempt_that_is_not_the_present_one_cannot_finish(attempt: int) -> None:
    pool = pool_with(*STEPS["running"])
    assert pool.append(finished(X, attempt)).superseded


def test_an_unknown_outcome_does_not_end_an_execution() -> None:
    pool = pool_with(*STEPS["running"])
    assert pool.append(finished(X, outcome="exploded")).misfit == "unknown outcome 'exploded'"
    assert X in pool.state.live


def test_another_incarnation_of_the_agent_cannot_claim() -> None:
    pool = pool_with(*STEPS["scheduled"])
    assert pool.append(claimed(X, incarnation="i2")).superseded
    assert pool.append(claimed(X, agent="a2")).superseded
    assert not pool.append(claimed(X)).superseded


def test_another_agent_cannot_start_a_claimed_attempt() -> None:
    pool = pool_with(*STEPS["claimed"])
    assert pool.append(started(X, agent="a2")).superseded


def test_a_claim_after_a_cancellation_still_counts() -> None:
    """The agent holds it then, and ends it as cancelled."""
    pool = pool_with(*STEPS["scheduled"], cancel_requested(X))
    pool.accept(claimed(X), finished(X, outcome="cancelled", exit_code=None))
    assert pool.state.ended[X].outcome == "cancelled"


def test_nothing_is_scheduled_after_a_cancellation() -> None:
    pool = pool_with(requested(X), cancel_requested(X))
    assert pool.append(scheduled(X)).misfit == "cancellation was requested"


def test_a_second_cancellation_is_superseded_and_keeps_the_first_ones_time() -> None:
    pool = pool_with(requested(X), cancel_requested(X))
    first = pool.state.live[X].cancel_requested_at
    assert pool.append(cancel_requested(X)).superseded
    assert pool.state.live[X].cancel_requested_at == first


@pytest.mark.parametrize("attempt", [0, 2, -1, 10**12])
def test_an_attempt_out_of_turn_is_not_scheduled(attempt: int) -> None:
    pool = pool_with(requested(X))
    assert pool.append(scheduled(X, attempt)).superseded


def test_a_build_keeps_what_it_made() -> None:
    pool = pool_with(requested(X, execution_kind="build"), scheduled(X), claimed(X), started(X))
    pool.accept(finished(X, artifact_sha256="d" * 64, toolchain="gcc-12"))
    ended = pool.state.ended[X]
    assert (ended.artifact_sha256, ended.toolchain) == ("d" * 64, "gcc-12")
