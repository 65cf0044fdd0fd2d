"""The ledger of GPUs: it proves honest logs to the microsecond, and finds what is wrong."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given

from hermes.domain import events as ev
from hermes.domain.gpu_audit import GpuAudit, audit
from hermes.domain.gpu_ledger import MAX_FINDINGS, PoolLedger
from hermes.domain.pool import Applied, GpuHold, PoolState
from tests.unit.domain.making import (
    NOW_MS,
    POOL,
    TOPIC,
    attempt_lost,
    cancel_requested,
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
    key_of,
    left,
    requested,
    scheduled,
    started,
    took_over,
    wants,
)
from tests.unit.domain.test_pool_properties import QUICK, partitions

X, Y, Z = id_at(1), id_at(2), id_at(3)
Step = int | ev.EventData


class CredulousPool(PoolState):
    """A fake fold with a fault: it believes every decision of a scheduler's and every release."""

    def _refuse(self, data: ev.EventData) -> str | None:
        return None

    def _release(self, execution_id: str, attempt: int, gpus: tuple[str, ...]) -> bool:
        for uuid in gpus:
            self.gpus.pop(uuid, None)
        return True


class ForgetfulPool(PoolState):
    """A fake fold with a fault: a lost attempt's GPU is free at once."""

    def apply(self, record: ev.Recorded) -> Applied:
        applied = super().apply(record)
        if isinstance(record.event, ev.Event):
            data = record.event.data
            if isinstance(data, ev.ExecutionAttemptLost):
                self._release(data.execution_id, data.attempt, ("g1", "g2"))
        return applied


class PossessivePool(PoolState):
    """A fake fold with a fault: nothing that finishes gives its GPUs back."""

    def _keep_gpus(self, data: ev.EventData, after: object) -> None:
        if isinstance(data, ev.ExecutionScheduled):
            for uuid in data.gpus:
                hold = GpuHold(data.execution_id, data.attempt, data.agent, data.incarnation)
                self.gpus[uuid] = hold


def ledger_of(
    steps: Iterable[Step], state: PoolState | None = None, pool: str = POOL, first: int = 0
) -> PoolLedger:
    """The ledger after these facts; a number lets so many milliseconds pass."""
    state = state or PoolState(pool=pool, topic=TOPIC)
    ledger = PoolLedger(pool, TOPIC)
    offset, log_time = first, NOW_MS
    for step in steps:
        if isinstance(step, int):
            log_time += step
            continue
        record = ev.Recorded(TOPIC, 0, offset, log_time, key_of(step), event(step, offset))
        ledger.take(record, state.apply(record), state.gpus)
        offset += 1
    return ledger


def account(*steps: Step, state: PoolState | None = None) -> GpuAudit:
    return audit([ledger_of(steps, state)])


BEGINNING = (took_over(), joined("a1", "i1", gpu("g1"), gpu("g2")))


def run_on(
    execution_id: str, *gpus: str, ms: int, owner: str = "ada", attempt: int = 1, pool: str = POOL
) -> list[Step]:
    """From request to end, with the GPUs for so many milliseconds."""
    facts: list[Step] = []
    if attempt == 1:
        wanted = wants(len(gpus))
        facts.append(requested(execution_id, gpu=wanted, owner=owner, retries=5, pool=pool))
    return [
        *facts,
        5,
        scheduled(execution_id, attempt, gpus=gpus),
        claimed(execution_id, attempt),
        started(execution_id, attempt),
        ms,
        finished(execution_id, attempt),
    ]


def kinds(found: GpuAudit) -> list[str]:
    return [finding.kind for finding in found.findings]


def test_an_empty_log_is_proved() -> None:
    found = account()
    assert (found.proved, found.user_time_us, found.device_time_us) == (True, 0, 0)
    assert audit([]).proved


def test_time_is_counted_by_user_by_function_and_by_device() -> None:
    found = account(
        *BEGINNING,
        *run_on(X, "g1", ms=1_500),
        *run_on(Y, "g1", "g2", ms=250, owner="bob"),
        *run_on(Z, "g2", ms=0),
    )
    assert found.proved
    assert found.user_time_us == found.device_time_us == 2_000_000
    assert {(one.user, one.leases, one.time_us) for one in found.users} == {
        ("ada", 2, 1_500_000),
        ("bob", 2, 500_000),
    }
    assert {(one.gpu, one.leases, one.time_us) for one in found.devices} == {
        ("g1", 2, 1_750_000),
        ("g2", 2, 250_000),
    }
    assert [(one.function, one.leases, one.time_us) for one in found.functions] == [
        ("ada/primes:1.0.0", 4, 2_000_000)
    ]
    (pool,) = found.pools
    assert (pool.pool, pool.leases, pool.time_us, pool.records) == (POOL, 4, 2_000_000, 17)
    assert found.open_leases == ()


def test_a_lease_that_has_not_ended_is_told_and_counts_in_no_sum() -> None:
    found = account(
        *BEGINNING,
        *run_on(X, "g1", ms=10),
        requested(Y, gpu=wants()),
        scheduled(Y, gpus=("g1",)),
        99,
    )
    assert found.proved
    assert found.user_time_us == found.device_time_us == 10_000
    (lease,) = found.open_leases
    assert (lease.gpu, lease.execution, lease.user, lease.lost) == ("g1", Y, "ada", False)


@pytest.mark.parametrize(
    "loss", [attempt_lost(X), handed_back(X)], ids=["called lost", "handed back"]
)
def test_a_lost_attempt_has_its_gpu_until_its_host_says_that_it_is_free(
    loss: ev.EventData,
) -> None:
    story = (
        *BEGINNING,
        requested(X, gpu=wants(), retries=5),
        scheduled(X, gpus=("g1",)),
        100,
        loss,
    )
    assert account(*story, 7).open_leases[0].lost
    freed = account(*story, 20, gpu_released(X, 1, "g1"))
    assert (freed.proved, freed.user_time_us, freed.device_time_us) == (True, 120_000, 120_000)
    again = account(*story, 20, gpu_released(X, 1, "g1"), *run_on(X, "g1", ms=30, attempt=2))
    assert (again.proved, again.device_time_us) == (True, 150_000)
    ended = account(*story, finished(X, outcome="lost", exit_code=None), 5)
    assert (ended.proved, len(ended.open_leases), ended.device_time_us) == (True, 1, 0)
    rejoined = account(*story, 20, joined("a1", "i2", gpu("g1")))
    assert (rejoined.proved, rejoined.open_leases, rejoined.user_time_us) == (True, (), 120_000)


def test_an_attempt_called_lost_after_its_agent_joined_anew_ends_its_lease_at_once() -> None:
    found = account(
        *BEGINNING,
        requested(X, gpu=wants(), retries=5),
        scheduled(X, gpus=("g1",)),
        50,
        joined("a1", "i2", gpu("g1")),
        50,
        attempt_lost(X),
        *run_on(Y, "g2", ms=9)[:1],
    )
    assert (found.proved, found.user_time_us, found.open_leases) == (True, 100_000, ())


def test_what_the_fold_refused_is_no_lease() -> None:
    found = account(
        *BEGINNING,
        requested(X, gpu=wants()),
        requested(Y, gpu=wants()),
        scheduled(X, gpus=("g1",)),
        10,
        scheduled(Y, gpus=("g1",)),
        gpu_released(Y, 1, "g1"),
        10,
        cancel_requested(X),
        claimed(X),
        finished(X, outcome="cancelled"),
        gpu_drained("g1"),
        scheduled(Y, gpus=("g1",)),
        gpu_restored("g1"),
        left(),
    )
    assert (found.proved, found.user_time_us, found.device_time_us) == (True, 20_000, 20_000)


def test_logs_time_that_goes_back_takes_nothing_away() -> None:
    found = account(*BEGINNING, 1_000, *run_on(X, "g1", ms=-500), *run_on(Y, "g1", ms=800))
    assert (found.proved, found.user_time_us) == (True, found.device_time_us)
    assert found.device_time_us == 305_000


# --- what must be found


def test_two_leases_of_one_gpu_are_found() -> None:
    story = (
        *BEGINNING,
        requested(X, gpu=wants()),
        requested(Y, gpu=wants()),
        scheduled(X, gpus=("g1",)),
        10,
        scheduled(Y, gpus=("g1",)),
        10,
    )
    found = account(*story, state=CredulousPool(pool=POOL, topic=TOPIC))
    assert not found.proved
    (overlap,) = [finding for finding in found.findings if finding.kind == "overlap"]
    assert overlap.gpu == "g1"
    assert overlap.position is not None
    assert overlap.position.offset == 5
    assert X in overlap.message
    assert Y in overlap.message
    assert account(*story).proved


def test_a_gpu_named_twice_in_one_lease_is_found() -> None:
    story = (*BEGINNING, requested(X, gpu=wants(2)), scheduled(X, gpus=("g1", "g1")))
    assert "overlap" in kinds(account(*story, state=CredulousPool(pool=POOL, topic=TOPIC)))


@pytest.mark.parametrize(
    ("before", "choice", "kind"),
    [
        ((), scheduled(Y, gpus=("g9",)), "not_offered"),
        ((), scheduled(Y, gpus=("g1",), agent="a2"), "not_offered"),
        ((joined("a1", "i2", gpu("g1")),), scheduled(Y, gpus=("g1",)), "not_offered"),
        ((joined("a1", "i2"),), scheduled(Y, gpus=("g1",), incarnation="i2"), "not_offered"),
        ((gpu_drained("g1"),), scheduled(Y, gpus=("g1",)), "drained"),
    ],
)
def test_a_gpu_that_was_not_to_be_had_is_found(
    before: tuple[ev.EventData, ...], choice: ev.EventData, kind: str
) -> None:
    story = (*BEGINNING, *before, requested(Y, gpu=wants()), choice)
    assert kinds(account(*story, state=CredulousPool(pool=POOL, topic=TOPIC))) == [kind]
    assert account(*story).proved


def test_a_release_of_what_another_has_is_found() -> None:
    story = (
        *BEGINNING,
        requested(X, gpu=wants()),
        requested(Y, gpu=wants()),
        scheduled(X, gpus=("g1",)),
        10,
        gpu_released(Y, 1, "g1"),
    )
    found = account(*story, state=CredulousPool(pool=POOL, topic=TOPIC))
    assert kinds(found) == ["not_held", "holds_differ", "sums_differ"]
    assert account(*story).proved
    more = account(
        *story, 5, scheduled(Y, gpus=("g1",)), state=CredulousPool(pool=POOL, topic=TOPIC)
    )
    assert "overlap" in kinds(more)


def test_a_gpu_taken_from_an_attempt_that_runs_is_found() -> None:
    class TakingPool(PoolState):
        """A fake fold with a fault: it believes every release."""

        def _gpu_released(self, data: ev.ExecutionGpuReleased, state: object) -> Applied:
            self._release(data.execution_id, data.attempt, data.gpus)
            return Applied(None)

    running = (claimed(X), started(X), 10)
    for steps in ((), running):
        story = (
            *BEGINNING,
            requested(X, gpu=wants()),
            scheduled(X, gpus=("g1",)),
            *steps,
            gpu_released(X, 1, "g1"),
        )
        assert kinds(account(*story, state=TakingPool(pool=POOL, topic=TOPIC))) == ["not_lost"]
        assert account(*story).proved


def test_a_gpu_that_changes_hands_without_an_event_of_its_own_is_found() -> None:
    class CarelessPool(PoolState):
        """A fake fold with a fault: a request for no GPU frees those of others."""

        def apply(self, record: ev.Recorded) -> Applied:
            applied = super().apply(record)
            if record.key == Y:
                self.gpus.clear()
            return applied

    story = (
        *BEGINNING,
        requested(X, gpu=wants()),
        scheduled(X, gpus=("g1",)),
        claimed(X),
        10,
        requested(Y),
    )
    assert "holds_differ" in kinds(account(*story, state=CarelessPool(pool=POOL, topic=TOPIC)))
    assert account(*story).proved


def test_a_gpu_that_is_free_too_early_is_found() -> None:
    story = (
        *BEGINNING,
        requested(X, gpu=wants(), retries=5),
        scheduled(X, gpus=("g1",)),
        10,
        attempt_lost(X),
        10,
        *run_on(Y, "g1", ms=30),
    )
    found = account(*story, state=ForgetfulPool(pool=POOL, topic=TOPIC))
    assert not found.proved
    assert kinds(found)[:2] == ["holds_differ", "overlap"]
    assert account(*story).proved


def test_sums_that_differ_are_found_even_when_nothing_else_is() -> None:
    ledger = ledger_of((*BEGINNING, *run_on(X, "g1", ms=10)))
    ledger.users["ada"].add(1, leases=0)
    found = audit([ledger])
    assert (found.proved, found.failures, kinds(found)) == (False, 1, ["sums_differ"])
    assert found.user_time_us == found.device_time_us + 1


def test_a_gpu_that_is_never_given_back_is_found() -> None:
    found = account(
        *BEGINNING, *run_on(X, "g1", ms=10), state=PossessivePool(pool=POOL, topic=TOPIC)
    )
    assert kinds(found) == ["holds_differ", "sums_differ"]


def test_a_log_whose_start_is_gone_proves_nothing() -> None:
    found = audit([ledger_of(BEGINNING, first=3)])
    assert (found.proved, kinds(found)) == (False, ["begins_late"])
    empty = PoolLedger(POOL, TOPIC)
    empty.begin_at(0)
    assert audit([empty]).proved
    empty.begin_at(7)
    assert kinds(audit([empty])) == ["begins_late"]


def test_two_pools_may_not_lease_one_gpu_at_a_time() -> None:
    mine = [*BEGINNING, *run_on(X, "g1", ms=100)]
    yours = [*BEGINNING, 50, *run_on(Y, "g1", ms=100, pool="other")]
    later = [*BEGINNING, 100, *run_on(Y, "g1", ms=100, pool="other")]
    found = audit([ledger_of(mine), ledger_of(yours, pool="other")])
    assert (found.proved, found.failures, kinds(found)) == (False, 1, ["overlap"])
    still = audit([ledger_of(mine[:-1]), ledger_of(yours, pool="other")])
    assert kinds(still) == ["overlap"]
    apart = audit([ledger_of(mine), ledger_of(later, pool="other")])
    assert apart.proved
    (device,) = apart.devices
    assert (device.leases, device.time_us) == (2, 200_000)


@pytest.mark.parametrize("is_released", [False, True], ids=["not yet free", "free"])
def test_a_lease_that_the_hosts_lock_refused_overlaps_with_nothing(is_released: bool) -> None:
    mine = [*BEGINNING, *run_on(X, "g1", ms=1_000)]
    yours: list[Step] = [
        *BEGINNING,
        requested(Y, gpu=wants(), pool="other", retries=5),
        50,
        scheduled(Y, gpus=("g1",)),
    ]
    waiting = audit([ledger_of(mine), ledger_of(yours, pool="other")])
    assert (waiting.proved, len(waiting.open_leases)) == (True, 1)
    yours += [claimed(Y), 100, handed_back(Y)]
    if is_released:
        yours += [100, gpu_released(Y, 1, "g1")]
    refused = audit([ledger_of(mine), ledger_of(yours, pool="other")])
    assert (refused.proved, refused.failures) == (True, 0)
    assert refused.user_time_us == 1_000_000 + 200_000 * is_released


def test_a_run_that_waited_for_the_hosts_lock_overlaps_with_nothing() -> None:
    mine = [*BEGINNING, *run_on(X, "g1", ms=1_000)]
    yours = [
        *BEGINNING,
        requested(Y, gpu=wants(), pool="other"),
        scheduled(Y, gpus=("g1",)),
        claimed(Y),
        1_005,
        started(Y),
        100,
        finished(Y),
    ]
    assert audit([ledger_of(mine), ledger_of(yours, pool="other")]).proved
    early = [*yours[:5], 1_004, *yours[6:]]
    assert kinds(audit([ledger_of(mine), ledger_of(early, pool="other")])) == ["overlap"]


@pytest.mark.parametrize(
    "end", [[], [attempt_lost(Y)], [attempt_lost(Y), gpu_released(Y, 1, "g1")]]
)
def test_a_lost_run_that_began_during_another_pools_overlaps_with_it(end: list[Step]) -> None:
    mine = [*BEGINNING, *run_on(X, "g1", ms=1_000)]
    yours = [*BEGINNING, 500, *run_on(Y, "g1", ms=5_000, pool="other")[:-1], *end]
    found = audit([ledger_of(mine), ledger_of(yours, pool="other")])
    assert (found.proved, kinds(found)) == (False, ["overlap"])
    (overlap,) = found.findings
    assert (overlap.pool, overlap.gpu) == ("other", "g1")
    later = [*BEGINNING, 1_000, *run_on(Y, "g1", ms=5_000, pool="other")[:-1], *end]
    assert audit([ledger_of(mine), ledger_of(later, pool="other")]).proved


@pytest.mark.parametrize("reason", ["agent_restarted", "lease_expired"])
def test_the_log_does_not_say_when_a_lost_run_ended(reason: str) -> None:
    mine = [*BEGINNING, *run_on(X, "g1", ms=50)[:-1], 5_000, attempt_lost(X, reason=reason)]
    yours = [*BEGINNING, 500, *run_on(Y, "g1", ms=100, pool="other")]
    for steps in (mine, [*mine, gpu_released(X, 1, "g1")]):
        assert audit([ledger_of(steps), ledger_of(yours, pool="other")]).proved


def test_every_failure_is_counted_and_some_are_told() -> None:
    ids = [id_at(number) for number in range(1, MAX_FINDINGS + 30)]
    story: list[Step] = [*BEGINNING]
    for execution_id in ids:
        story += [requested(execution_id, gpu=wants()), scheduled(execution_id, gpus=("g9",))]
    found = account(*story, state=CredulousPool(pool=POOL, topic=TOPIC))
    assert len(found.findings) == MAX_FINDINGS
    assert found.failures > len(ids)


# --- whatever the log holds


@QUICK
@given(partitions())
def test_whatever_stands_in_a_log_the_fold_and_the_ledger_agree(
    records: list[ev.Recorded],
) -> None:
    state = PoolState(pool=POOL, topic=TOPIC)
    ledger = PoolLedger(POOL, TOPIC)
    for record in records:
        ledger.take(record, state.apply(record), state.gpus)
    found = audit([ledger])
    assert found.findings == ()
    assert found.proved
    assert found.user_time_us == found.device_time_us
    held = {uuid: (hold.execution_id, hold.attempt) for uuid, hold in state.gpus.items()}
    assert {one.gpu: (one.execution, one.attempt) for one in found.open_leases} == held
