"""Who runs what: capacity, order, GPUs, and what becomes of those that cannot run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.domain import events as ev
from hermes.domain.resources import GIB, Gpu, GpuRequest, Limits
from hermes.domain.scheduling import (
    MAX_ATTEMPTS,
    Decision,
    End,
    Place,
    Reject,
    Wait,
    gpu_fits,
    plan,
)
from tests.unit.domain.making import (
    PoolPartition,
    attempt_lost,
    cancel_requested,
    claimed,
    finished,
    gpu,
    gpu_drained,
    gpu_restored,
    handed_back,
    id_at,
    joined,
    left,
    queued,
    rejected,
    requested,
    scheduled,
    started,
    took_over,
    wants,
)

X, Y, Z = id_at(1), id_at(2), id_at(3)
EVERYBODY = {"a1", "a2", "a3"}


def pool_of(*facts: ev.EventData) -> PoolPartition:
    pool = PoolPartition()
    pool.accept(took_over(), *facts)
    return pool


def planned(
    pool: PoolPartition,
    alive: set[str] = EVERYBODY,
    pending: dict[str, Place | None] | None = None,
) -> list[Decision]:
    return plan(pool.state, alive, pending or {})


def append(pool: PoolPartition, decision: Decision) -> None:
    """The decision as the scheduler appends it; the fold must accept it."""
    execution = decision.execution
    match decision:
        case Place():
            data: ev.EventData = scheduled(
                execution.id,
                execution.attempt + 1,
                agent=decision.agent.agent,
                incarnation=decision.agent.incarnation,
                epoch=pool.state.epoch,
                gpus=decision.gpus,
            )
        case Wait():
            data = queued(execution.id, decision.reason)
        case Reject():
            data = rejected(execution.id, decision.reason)
        case End():
            data = finished(
                execution.id,
                execution.attempt,
                outcome=decision.outcome,
                exit_code=None,
                reason=decision.reason,
            )
    pool.accept(data)


def lose(execution_id: str, attempt: int, *, started_first: bool) -> list[ev.EventData]:
    facts: list[ev.EventData] = [scheduled(execution_id, attempt)]
    if started_first:
        facts += [claimed(execution_id, attempt), started(execution_id, attempt)]
    return [*facts, attempt_lost(execution_id, attempt)]


def test_nothing_waits_and_nothing_is_decided() -> None:
    assert planned(pool_of(joined())) == []


def test_the_first_in_the_log_runs_first() -> None:
    pool = pool_of(joined(slots=1), requested(Z), requested(X), requested(Y))
    first, *others = planned(pool)
    assert isinstance(first, Place)
    assert first.execution.id == Z
    assert [(type(one), one.execution.id) for one in others] == [(Wait, X), (Wait, Y)]


def test_a_lost_attempt_keeps_its_place_in_the_queue() -> None:
    pool = pool_of(joined(slots=1), requested(X), *lose(X, 1, started_first=False), requested(Y))
    assert [type(one) for one in planned(pool)] == [Place, Wait]
    assert planned(pool)[0].execution.id == X


def test_the_agent_with_the_most_room_is_taken() -> None:
    pool = pool_of(joined("a1", slots=2), joined("a2", slots=4), requested(X))
    (place,) = planned(pool)
    assert isinstance(place, Place)
    assert place.agent.agent == "a2"


def test_an_agent_that_is_not_alive_or_has_left_gets_nothing() -> None:
    pool = pool_of(joined("a1"), joined("a2"), left("a2"), requested(X))
    assert [type(one) for one in planned(pool, alive={"a2"})] == [Wait]
    assert [type(one) for one in planned(pool, alive={"a1"})] == [Place]


def test_without_an_agent_it_waits_and_says_so() -> None:
    (wait,) = planned(pool_of(requested(X)))
    assert isinstance(wait, Wait)
    assert wait.reason == "no agent is online in pool default"


def test_memory_is_not_given_twice() -> None:
    big = Limits(memory=40 * GIB)
    pool = pool_of(joined(), requested(X, limits=big), requested(Y, limits=big))
    assert [type(one) for one in planned(pool)] == [Place, Wait]


def test_a_smaller_one_may_pass_by_what_does_not_fit_now() -> None:
    big = Limits(memory=60 * GIB)
    pool = pool_of(joined(), requested(X, limits=big), requested(Y, limits=big), requested(Z))
    assert [type(one) for one in planned(pool)] == [Place, Wait, Place]


def test_a_decision_that_the_fold_has_not_seen_counts_already() -> None:
    pool = pool_of(joined("a1", "i1", gpu("g1"), slots=2), requested(X, gpu=wants()))
    (place,) = planned(pool)
    assert isinstance(place, Place)
    pool.accept(requested(Y, gpu=wants()), requested(Z))
    decisions = planned(pool, pending={X: place})
    assert [(type(one), one.execution.id) for one in decisions] == [(Wait, Y), (Place, Z)]


def test_what_is_pending_is_not_decided_again() -> None:
    pool = pool_of(joined(), requested(X))
    assert planned(pool, pending={X: None}) == []


def test_a_reason_is_written_once() -> None:
    pool = pool_of(requested(X))
    (wait,) = planned(pool)
    append(pool, wait)
    assert planned(pool) == []
    pool.accept(joined(slots=0))
    (again,) = planned(pool)
    assert isinstance(again, Wait)
    assert again.reason == "every agent is busy"


def test_what_no_agent_could_ever_run_is_rejected_with_its_reason() -> None:
    pool = pool_of(joined("a1", "i1", gpu("g1")))
    cases: list[tuple[str, dict[str, Any], str]] = [
        (X, {"limits": Limits(memory=65 * GIB)}, f"has {65 * GIB} bytes of memory"),
        (Y, {"gpu": wants(2)}, "has 2 GPUs"),
        (Z, {"gpu": wants(name="*A100*")}, "named *A100*"),
        (id_at(4), {"gpu": wants(memory=81 * GIB)}, f"at least {81 * GIB} bytes"),
        (id_at(5), {"gpu": wants(compute_capability="9.1")}, "compute capability 9.1"),
    ]
    for execution_id, changes, _ in cases:
        pool.accept(requested(execution_id, **changes))
    for decision, (execution_id, _, reason) in zip(planned(pool), cases, strict=True):
        assert isinstance(decision, Reject)
        assert decision.execution.id == execution_id
        assert reason in decision.reason
        append(pool, decision)


def test_an_agent_that_left_may_come_back_so_nothing_is_rejected_for_its_absence() -> None:
    pool = pool_of(
        joined("a1"), joined("a2", "i1", gpu("g1")), left("a2"), requested(X, gpu=wants())
    )
    (wait,) = planned(pool)
    assert isinstance(wait, Wait)
    assert wait.reason == "no agent of pool default has 1 GPU"


def test_a_gpu_that_is_busy_is_waited_for() -> None:
    pool = pool_of(
        joined("a1", "i1", gpu("g1")),
        requested(X, gpu=wants()),
        scheduled(X, gpus=("g1",)),
        requested(Y, gpu=wants()),
    )
    (wait,) = planned(pool)
    assert isinstance(wait, Wait)
    assert wait.reason == "every fitting GPU is busy"


def test_a_lost_attempt_that_fits_nowhere_any_more_waits_for_its_agent() -> None:
    """It was accepted once: `rejected` would not fit, and be decided again without end."""
    pool = pool_of(
        joined("a1", "i1", gpu("g1")),
        joined("a2"),
        requested(X, gpu=wants(), retries=1),
        scheduled(X, gpus=("g1",)),
        attempt_lost(X, reason="agent_left"),
        left("a1"),
    )
    assert planned(pool) == []
    pool.accept(joined("a1", "i2", gpu("g1")))
    assert [type(one) for one in planned(pool)] == [Place]


def test_a_lost_attempts_gpu_is_not_given_again_before_it_is_free() -> None:
    pool = pool_of(
        joined("a1", "i1", gpu("g1")),
        requested(X, gpu=wants()),
        scheduled(X, gpus=("g1",)),
        attempt_lost(X),
    )
    assert not any(isinstance(one, Place) for one in planned(pool))


def test_the_smallest_gpu_that_fits_is_given() -> None:
    gpus = (gpu("big"), gpu("small", memory=24 * GIB), gpu("middle", memory=48 * GIB))
    pool = pool_of(joined("a1", "i1", *gpus), requested(X, gpu=wants(memory=30 * GIB)))
    (place,) = planned(pool)
    assert isinstance(place, Place)
    assert place.gpus == ("middle",)
    pool.accept(requested(Y, gpu=wants(2)))
    assert [one.gpus for one in planned(pool) if isinstance(one, Place)] == [
        ("middle",),
        ("small", "big"),
    ]


def test_a_run_without_gpu_takes_none() -> None:
    pool = pool_of(joined("a1", "i1", gpu("g1")), requested(X))
    (place,) = planned(pool)
    assert isinstance(place, Place)
    assert place.gpus == ()


H100 = gpu("g1")


@pytest.mark.parametrize(
    ("request_", "fits"),
    [
        (GpuRequest(), True),
        (GpuRequest(memory=80 * GIB), True),
        (GpuRequest(memory=80 * GIB + 1), False),
        (GpuRequest(name="*h100*"), True),
        (GpuRequest(name="NVIDIA H100 80GB HBM3"), True),
        (GpuRequest(name="H100"), False),
        (GpuRequest(name="NVIDIA [HA]100*"), True),
        (GpuRequest(name="["), False),
        (GpuRequest(compute_capability="9.0"), True),
        (GpuRequest(compute_capability="8.9"), True),
        (GpuRequest(compute_capability="10.0"), False),
        (GpuRequest(compute_capability="9"), True),
        (GpuRequest(compute_capability="9" * 5000), True),
        (GpuRequest(compute_capability="x.y"), True),
    ],
)
def test_a_gpu_fits_what_is_asked_of_it_at_least(request_: GpuRequest, fits: bool) -> None:
    assert gpu_fits(H100, request_) == fits


def test_compute_capabilities_are_numbers_not_text() -> None:
    blackwell = gpu("g1", compute_capability="12.0")
    assert gpu_fits(blackwell, GpuRequest(compute_capability="9.0"))


def test_what_was_cancelled_before_it_ran_ends_cancelled() -> None:
    pool = pool_of(joined(), requested(X), cancel_requested(X))
    (end,) = planned(pool)
    assert isinstance(end, End)
    append(pool, end)
    assert pool.state.ended[X].outcome == "cancelled"


def test_a_lost_attempt_of_a_cancelled_execution_ends_cancelled() -> None:
    pool = pool_of(
        joined(), requested(X, retries=5), scheduled(X), claimed(X), cancel_requested(X),
        attempt_lost(X),
    )  # fmt: skip
    (end,) = planned(pool)
    assert isinstance(end, End)
    append(pool, end)
    assert pool.state.ended[X].outcome == "cancelled"


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_an_attempt_that_started_and_was_lost_uses_up_a_retry(retries: int) -> None:
    pool = pool_of(joined(), requested(X, retries=retries))
    for attempt in range(1, retries + 1):
        pool.accept(*lose(X, attempt, started_first=True))
        assert [type(one) for one in planned(pool)] == [Place]
    pool.accept(*lose(X, retries + 1, started_first=True))
    (end,) = planned(pool)
    assert isinstance(end, End)
    assert (end.outcome, end.reason) == ("lost", f"attempt {retries + 1} was lost: lease_expired")
    append(pool, end)


def test_an_attempt_that_never_started_uses_up_no_retry_but_there_is_an_end_to_it() -> None:
    pool = pool_of(joined(), requested(X, retries=0))
    for attempt in range(1, MAX_ATTEMPTS):
        pool.accept(*lose(X, attempt, started_first=False))
        assert [type(one) for one in planned(pool)] == [Place]
    pool.accept(*lose(X, MAX_ATTEMPTS, started_first=False))
    (end,) = planned(pool)
    assert isinstance(end, End)
    assert end.outcome == "lost"


def test_a_drained_gpu_is_not_given_and_waited_for() -> None:
    pool = pool_of(
        joined("a1", "i1", gpu("g1"), gpu("g2")), gpu_drained("g1"), requested(X, gpu=wants())
    )
    (place,) = planned(pool)
    assert isinstance(place, Place)
    assert place.gpus == ("g2",)
    pool.accept(gpu_drained("g2"))
    (wait,) = planned(pool)
    assert isinstance(wait, Wait)
    assert wait.reason == "every fitting GPU is out of service"
    append(pool, wait)
    assert planned(pool) == []
    pool.accept(gpu_restored("g1"))
    append(pool, planned(pool)[0])
    pool.accept(requested(Y, gpu=wants()))
    (busy,) = planned(pool)
    assert isinstance(busy, Wait)
    assert busy.reason == "every fitting GPU is busy"


def test_what_was_handed_back_goes_to_another_agent_if_one_has_room() -> None:
    pool = pool_of(
        joined("a1", slots=9), joined("a2", slots=1), requested(X), scheduled(X), handed_back(X)
    )
    (place,) = planned(pool)
    assert isinstance(place, Place)
    assert place.agent.agent == "a2"
    (place,) = planned(pool, alive={"a1"})
    assert isinstance(place, Place)
    assert place.agent.agent == "a1"


@pytest.mark.parametrize("is_said_to_have_started", [False, True])
def test_what_was_handed_back_uses_up_no_retry(is_said_to_have_started: bool) -> None:
    pool = pool_of(joined(), requested(X, retries=0))
    for attempt in range(1, MAX_ATTEMPTS + 1):
        (place,) = planned(pool)
        append(pool, place)
        pool.accept(claimed(X, attempt))
        if is_said_to_have_started:
            pool.accept(started(X, attempt))
        pool.accept(handed_back(X, attempt, reason="host_fault: no engine"))
    (end,) = planned(pool)
    assert isinstance(end, End)
    assert end.reason == f"attempt {MAX_ATTEMPTS} was lost: host_fault: no engine"


# --- whatever the pool looks like

gpus_of_agents = st.lists(
    st.builds(
        gpu,
        st.sampled_from(["g1", "g2", "g3", "g4", "g5"]),
        memory=st.sampled_from([24 * GIB, 80 * GIB]),
    ),
    max_size=3,
    unique_by=lambda one: one.uuid,
)
agents = st.fixed_dictionaries(
    {
        name: st.tuples(st.integers(0, 3), st.sampled_from([0, 4 * GIB, 64 * GIB]), gpus_of_agents)
        for name in ("a1", "a2")
    }
)
requests = st.lists(
    st.tuples(
        st.sampled_from([GIB, 3 * GIB, 70 * GIB]),
        st.none()
        | st.builds(GpuRequest, count=st.integers(1, 3), memory=st.none() | st.just(30 * GIB)),
        st.sampled_from(["stays", "ends", "is lost", "is cancelled"]),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(agents, requests, st.booleans())
def test_capacity_is_never_given_twice_and_every_decision_is_accepted(
    offered: dict[str, tuple[int, int, list[Gpu]]],
    wanted: list[tuple[int, GpuRequest | None, str]],
    in_a_pipeline: bool,
) -> None:
    """Also while decisions are on their way, and over several rounds."""
    pool = pool_of(
        *(joined(name, "i1", *gpus, slots=slots, memory=memory)
          for name, (slots, memory, gpus) in offered.items())
    )  # fmt: skip
    fates = {}
    for number, (memory, request, fate) in enumerate(wanted):
        fates[id_at(number)] = fate
        pool.accept(requested(id_at(number), limits=Limits(memory=memory), gpu=request))
    for _ in range(3):
        pending: dict[str, Place | None] = {}
        decisions = planned(pool)
        if in_a_pipeline:
            for decision in decisions:
                pending[decision.execution.id] = decision if isinstance(decision, Place) else None
            assert planned(pool, pending=pending) == []
        for decision in decisions:
            append(pool, decision)
        assert planned(pool) == []  # or the scheduler would never rest
        _check_capacity(pool, offered)
        for execution in list(pool.state.live.values()):
            if execution.current is None:
                continue
            attempt = execution.attempt
            match fates[execution.id]:
                case "ends":
                    pool.accept(
                        claimed(execution.id, attempt, execution.current.agent),
                        started(execution.id, attempt, execution.current.agent),
                        finished(execution.id, attempt),
                    )
                case "is lost":
                    pool.accept(attempt_lost(execution.id, attempt))
                case "is cancelled" if execution.cancel_requested_at is None:
                    pool.accept(cancel_requested(execution.id))


def _check_capacity(pool: PoolPartition, offered: dict[str, tuple[int, int, list[Gpu]]]) -> None:
    slots: Counter[str] = Counter()
    memory: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for execution in pool.state.live.values():
        current = execution.current
        if current is None:
            continue
        slots[current.agent] += 1
        memory[current.agent] += execution.limits.memory
        held.update(current.gpus)
        assert len(current.gpus) == (execution.gpu.count if execution.gpu else 0)
        own = {one.uuid: one for one in offered[current.agent][2]}
        for uuid in current.gpus:
            assert execution.gpu is not None
            assert gpu_fits(own[uuid], execution.gpu)
    for name, (most_slots, most_memory, _) in offered.items():
        assert slots[name] <= most_slots
        assert memory[name] <= most_memory
    assert all(count == 1 for count in held.values())
