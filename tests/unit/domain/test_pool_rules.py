"""What only the whole pool can know: agents, GPUs, epochs, ids and time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hermes.domain import events as ev
from hermes.domain.ids import new_id
from hermes.domain.pool import REMEMBER_MS, REQUEST_WINDOW_MS
from tests.unit.domain.making import (
    HOUR_MS,
    NOW_MS,
    PoolPartition,
    attempt_lost,
    claimed,
    event,
    finished,
    gpu,
    gpu_drained,
    gpu_released,
    gpu_restored,
    handed_back,
    id_at,
    joined,
    left,
    registered,
    rejected,
    requested,
    scheduled,
    started,
    took_over,
    wants,
)

X = id_at(1)
Y = id_at(2)


def pool_with_gpu(*facts: ev.EventData) -> PoolPartition:
    pool = PoolPartition()
    pool.accept(took_over(), joined("a1", "i1", gpu("g1")), *facts)
    return pool


def running_on_gpu() -> PoolPartition:
    return pool_with_gpu(
        requested(X, gpu=wants()), scheduled(X, gpus=("g1",)), claimed(X), started(X)
    )


def test_a_gpu_that_is_held_is_not_given_twice() -> None:
    pool = running_on_gpu()
    pool.accept(requested(Y, gpu=wants()))
    refused = pool.append(scheduled(Y, gpus=("g1",)))
    assert refused.misfit == f"GPU g1 is held by execution {X}"
    pool.accept(finished(X), scheduled(Y, gpus=("g1",)))
    assert pool.state.gpus["g1"].execution_id == Y


def test_a_gpu_named_twice_in_one_decision_is_refused() -> None:
    pool = pool_with_gpu(requested(X, gpu=wants(2)))
    assert pool.append(scheduled(X, gpus=("g1", "g1"))).superseded
    assert not pool.state.gpus


def test_a_gpu_that_the_agent_never_offered_is_refused() -> None:
    pool = pool_with_gpu(requested(X, gpu=wants()))
    assert pool.append(scheduled(X, gpus=("g9",))).misfit == "agent a1 has no GPU g9"


def test_a_lost_attempts_gpu_stays_held_until_its_host_says_that_it_is_free() -> None:
    pool = running_on_gpu()
    pool.accept(attempt_lost(X), requested(Y, gpu=wants()))
    assert pool.append(scheduled(Y, gpus=("g1",))).superseded
    assert pool.append(gpu_released(X, 2, "g1")).superseded
    pool.accept(gpu_released(X, 1, "g1"), scheduled(Y, gpus=("g1",)))


def test_no_release_takes_a_gpu_from_an_attempt_that_has_it() -> None:
    pool = pool_with_gpu(requested(X, gpu=wants()), scheduled(X, gpus=("g1",)))
    pool.accept(requested(Y, gpu=wants()))
    for step in (None, claimed(X), started(X)):
        if step is not None:
            pool.accept(step)
        assert pool.append(gpu_released(X, 1, "g1")).superseded
        assert pool.state.gpus["g1"].execution_id == X
    assert pool.append(scheduled(Y, gpus=("g1",))).superseded


def test_a_gpu_released_twice_in_one_event_is_released_once() -> None:
    pool = running_on_gpu()
    pool.accept(attempt_lost(X), gpu_released(X, 1, "g1", "g1"))
    assert not pool.state.gpus


def test_a_lost_attempts_gpu_is_held_even_after_the_execution_has_ended() -> None:
    pool = running_on_gpu()
    pool.accept(attempt_lost(X), finished(X, outcome="lost", exit_code=None))
    assert pool.state.gpus["g1"].execution_id == X
    pool.accept(gpu_released(X, 1, "g1"))
    assert not pool.state.gpus
    assert pool.append(gpu_released(X, 1, "g1")).superseded


def test_an_agent_that_joins_anew_frees_the_gpus_of_its_lost_attempts() -> None:
    pool = running_on_gpu()
    pool.accept(attempt_lost(X), joined("a1", "i2", gpu("g1")))
    assert not pool.state.gpus


def test_an_agent_that_joins_anew_does_not_free_what_an_attempt_still_holds() -> None:
    pool = running_on_gpu()
    pool.accept(joined("a1", "i2", gpu("g1")), requested(Y, gpu=wants()))
    assert pool.append(scheduled(Y, gpus=("g1",), incarnation="i2")).superseded


def test_a_gpu_is_free_once_the_attempt_of_an_earlier_incarnation_is_called_lost() -> None:
    """The agent joined with it free before the scheduler called the attempt lost."""
    pool = running_on_gpu()
    pool.accept(joined("a1", "i2", gpu("g1")), attempt_lost(X, reason="agent_restarted"))
    assert not pool.state.gpus
    pool.accept(scheduled(X, 2, gpus=("g1",), incarnation="i2"))


def test_a_drained_gpu_is_not_given_until_it_is_restored() -> None:
    pool = pool_with_gpu(gpu_drained("g1"), requested(X, gpu=wants()))
    assert pool.append(scheduled(X, gpus=("g1",))).misfit == "GPU g1 is drained: Xid 79"
    pool.accept(gpu_restored("g1"), scheduled(X, gpus=("g1",)))


def test_a_gpu_stays_drained_when_its_agent_joins_anew() -> None:
    pool = pool_with_gpu(gpu_drained("g1"), requested(X, gpu=wants()))
    pool.accept(left(), joined("a1", "i2", gpu("g1")))
    assert pool.append(scheduled(X, gpus=("g1",), incarnation="i2")).superseded
    pool.accept(gpu_restored("g1", incarnation="i2"))
    pool.accept(scheduled(X, gpus=("g1",), incarnation="i2"))


def test_a_gpu_that_two_agents_offer_is_drained_for_both() -> None:
    pool = pool_with_gpu(joined("a2", "i1", gpu("g1")), gpu_drained("g1"), requested(X))
    assert pool.append(scheduled(X, gpus=("g1",), agent="a2")).superseded
    pool.accept(gpu_restored("g1", agent="a2"), scheduled(X, gpus=("g1",), agent="a1"))


def test_an_attempt_keeps_a_gpu_that_is_drained_under_it() -> None:
    pool = running_on_gpu()
    pool.accept(gpu_drained("g1"))
    assert pool.state.gpus["g1"].execution_id == X
    pool.accept(finished(X))
    assert not pool.state.gpus
    assert set(pool.state.drained) == {"g1"}


def test_a_gpu_is_drained_and_restored_once() -> None:
    pool = pool_with_gpu()
    assert pool.append(gpu_restored("g1")).misfit == "GPU g1 is not drained"
    pool.accept(gpu_drained("g1"))
    assert pool.append(gpu_drained("g1")).misfit == "GPU g1 is drained already"
    pool.accept(gpu_restored("g1"))
    assert pool.append(gpu_restored("g1")).superseded


@pytest.mark.parametrize("say", [gpu_drained, gpu_restored])
def test_only_an_online_agent_that_offers_a_gpu_speaks_of_it(
    say: Callable[..., ev.EventData],
) -> None:
    pool = pool_with_gpu(joined("a2", "i1", gpu("g2")), gpu_drained("g2", agent="a2"))
    assert pool.append(say("g2")).misfit == "agent a1 has no GPU g2"
    assert pool.append(say("g1", incarnation="i0")).superseded
    assert pool.append(say("g1", agent="nobody")).superseded
    assert pool.append(say("g1"), key="a2").superseded
    pool.accept(left())
    assert pool.append(say("g1")).misfit == "agent a1 is not online"
    assert set(pool.state.drained) == {"g2"}


@pytest.mark.parametrize(
    "before", [(), (claimed(X),), (claimed(X), started(X))], ids=["scheduled", "claimed", "running"]
)
@pytest.mark.parametrize("reason", ["gpu_unavailable", "host_fault: no engine answers"])
def test_an_agent_hands_its_own_attempt_back_in_any_epoch(
    before: tuple[ev.EventData, ...], reason: str
) -> None:
    pool = pool_with_gpu(requested(X, gpu=wants()), scheduled(X, gpus=("g1",)), *before)
    pool.accept(took_over(2, "s2"), handed_back(X, epoch=1, reason=reason))
    execution = pool.state.live[X]
    assert (execution.status, execution.attempts[-1].status) == ("queued", "lost")
    assert execution.reason == f"attempt 1 was lost: {reason}"
    assert pool.state.gpus["g1"].attempt == 1
    assert pool.append(handed_back(X, reason=reason)).superseded
    pool.accept(gpu_released(X, 1, "g1"), scheduled(X, 2, gpus=("g1",), epoch=2))


@pytest.mark.parametrize(
    "data",
    [
        handed_back(X, 2),
        handed_back(X, agent="a2"),
        handed_back(X, incarnation="i0"),
        handed_back(X, incarnation=None),
        handed_back(X, agent=None),
        handed_back(X, reason="lease_expired"),
        handed_back(X, reason="host_fault"),
        handed_back(Y),
    ],
)
def test_an_agent_hands_nothing_else_back(data: ev.ExecutionAttemptLost) -> None:
    pool = running_on_gpu()
    pool.accept(joined("a2", "i1", gpu("g2")))
    assert pool.append(data).superseded
    assert pool.state.live[X].status == "running"


def test_an_agent_that_was_replaced_or_left_hands_nothing_back() -> None:
    pool = running_on_gpu()
    pool.accept(joined("a1", "i2", gpu("g1")))
    assert pool.append(handed_back(X)).misfit == "agent a1 has another incarnation by now"
    assert pool.append(handed_back(X, incarnation="i2")).superseded
    pool.accept(left(incarnation="i2"))
    assert pool.append(handed_back(X, incarnation="i2")).misfit == "agent a1 is not online"


@pytest.mark.parametrize(
    "data",
    [scheduled(X, agent="nobody"), scheduled(X, incarnation="i0"), scheduled(X, epoch=0)],
)
def test_a_decision_for_somebody_else_or_of_another_time_is_superseded(
    data: ev.EventData,
) -> None:
    pool = pool_with_gpu(requested(X))
    assert pool.append(data).superseded


def test_nothing_is_scheduled_to_an_agent_that_left() -> None:
    pool = pool_with_gpu(requested(X), left())
    assert pool.append(scheduled(X)).misfit == "agent a1 is not online"


def test_only_the_present_incarnation_leaves_and_only_once() -> None:
    pool = pool_with_gpu()
    assert pool.append(left(incarnation="i0")).superseded
    assert not pool.append(left()).superseded
    assert pool.append(left()).superseded
    assert pool.append(joined("a1", "i1", gpu("g1"))).superseded
    pool.accept(joined("a1", "i2"))
    assert pool.state.agents["a1"].state == "online"


def test_a_scheduler_that_lost_its_epoch_changes_nothing() -> None:
    pool = pool_with_gpu(requested(X), scheduled(X), took_over(2, "s2"))
    assert pool.append(attempt_lost(X, epoch=1)).misfit == "epoch 1 is over, 2 decides"
    assert not pool.append(attempt_lost(X, epoch=2)).superseded


@pytest.mark.parametrize("epoch", [-1, 0, 1])
def test_an_epoch_only_rises(epoch: int) -> None:
    pool = pool_with_gpu()
    assert pool.append(took_over(epoch, "s2")).superseded
    assert pool.state.scheduler == "s1"


def test_an_epoch_cannot_be_used_up() -> None:
    """A huge one would leave no room for the next scheduler."""
    pool = pool_with_gpu()
    assert pool.append(took_over(2**63 - 1, "s2")).superseded
    assert not pool.append(took_over(2, "s2")).superseded


def test_an_id_older_than_a_day_is_not_requested() -> None:
    pool = PoolPartition()
    pool.accept(requested(id_at(1, NOW_MS - REQUEST_WINDOW_MS)))
    pool.accept(requested(id_at(1, NOW_MS + REQUEST_WINDOW_MS)))
    assert pool.append(requested(id_at(2, NOW_MS - REQUEST_WINDOW_MS - 1))).superseded
    assert pool.append(requested(id_at(2, NOW_MS + REQUEST_WINDOW_MS + 1))).superseded


def test_an_ended_id_is_not_requested_again_also_after_days() -> None:
    pool = PoolPartition()
    pool.accept(requested(X), rejected(X))
    for days in range(5):
        pool.log_time = NOW_MS + days * 24 * HOUR_MS
        assert pool.append(requested(X)).superseded
        other = id_at(10 + days, pool.log_time)
        pool.accept(requested(other), rejected(other))
    assert X not in pool.state.ended
    assert REMEMBER_MS >= 2 * REQUEST_WINDOW_MS


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (requested(X), Y),
        (requested("not-an-id"), "not-an-id"),
        (requested(X.upper()), X.upper()),
        (requested(X, pool="other"), X),
        (requested(X, execution_kind="neither"), X),
        (registered(), "ada/primes"),
        (ev.PoolCreated(pool="default"), "default"),
        (joined("a1"), "a2"),
    ],
)
def test_what_does_not_belong_under_its_key_or_in_this_pool_is_superseded(
    data: ev.EventData, key: str
) -> None:
    pool = PoolPartition()
    assert pool.append(data, key).superseded
    assert not pool.state.live
    assert not pool.state.agents


def test_an_event_under_another_executions_key_is_superseded() -> None:
    pool = pool_with_gpu(requested(X))
    assert pool.append(scheduled(X), Y).misfit == "the record's key is not the execution's id"


def test_a_malformed_record_counts_and_the_fold_goes_on() -> None:
    pool = PoolPartition()
    assert pool.append(ev.Malformed("no JSON")).misfit == "malformed: no JSON"
    pool.accept(requested(X))
    assert (pool.state.malformed, pool.state.superseded, pool.state.next_offset) == (1, 0, 2)


def test_logs_time_never_goes_back() -> None:
    pool = PoolPartition()
    pool.accept(requested(X))
    pool.log_time -= HOUR_MS
    pool.accept(requested(Y))
    assert pool.state.log_time == NOW_MS


def test_fresh_ids_are_ids_and_rise() -> None:
    made = [new_id() for _ in range(2000)]
    assert made == sorted(set(made))


def test_an_event_keeps_its_kind_beside_its_data() -> None:
    assert event(requested(X)).kind == "execution.requested/1"
