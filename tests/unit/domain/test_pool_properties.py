"""Whatever stands in a pool's topic, in whatever order: the fold holds its promises."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hermes.domain import codec
from hermes.domain import events as ev
from hermes.domain.execution import TERMINAL, is_handed_back
from hermes.domain.ids import id_time_ms
from hermes.domain.pool import REMEMBER_MS, REQUEST_WINDOW_MS, PoolState
from hermes.domain.resources import Inventory, StreamDigest, Usage
from tests.unit.domain.making import (
    HOUR_MS,
    NOW_MS,
    POOL,
    TOPIC,
    content,
    event,
    gpu,
    id_at,
    inventory,
    key_of,
    requested,
    wants,
)

# Shrinking these takes minutes; a failure is read well enough without.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
QUICK = settings(max_examples=150, deadline=None, phases=PHASES)

EXECUTIONS = [id_at(1), id_at(2), id_at(3), id_at(4, NOW_MS - 30 * HOUR_MS)]
ids = st.sampled_from(EXECUTIONS)
agents = st.sampled_from(["a1", "a2"])
incarnations = st.sampled_from(["i1", "i2", "i3"])
epochs = st.integers(0, 3)
attempts = st.integers(0, 3)
gpus = st.sampled_from(["g1", "g2", "g3"])
uuids = st.lists(gpus, max_size=2).map(tuple)
words = st.sampled_from(["", "lost", "é\n"])
losses = words | st.sampled_from(["gpu_unavailable", "host_fault: é\n"])
outcomes = st.sampled_from(
    ["succeeded", "failed", "cancelled", "lost", "build_missing", "nonsense", ""]
)
usages = st.none() | st.builds(
    Usage,
    wall_time=st.floats(0, 1e6),
    cpu_time=st.just(0.5),
    peak_memory=st.none() | st.just(1),
    output_bytes=st.just(3),
)
# "g3" is offered by both agents: also a GPU seen from two agents may be held once only.
inventories: st.SearchStrategy[Inventory] = st.sampled_from(
    [inventory(), inventory(gpu("g1"), gpu("g3")), inventory(gpu("g2"), gpu("g3"))]
)

facts: st.SearchStrategy[ev.EventData] = st.one_of(
    st.builds(
        requested,
        ids,
        execution_kind=st.sampled_from(["run", "run", "run", "build", "nonsense"]),
        pool=st.sampled_from([POOL, POOL, POOL, "other"]),
        retries=st.integers(0, 2),
        gpu=st.none() | st.just(wants()),
    ),
    st.builds(ev.ExecutionQueued, execution_id=ids, reason=words),
    st.builds(ev.ExecutionRejected, execution_id=ids, reason=words),
    st.builds(
        ev.ExecutionScheduled,
        execution_id=ids,
        attempt=attempts,
        agent=agents,
        incarnation=incarnations,
        epoch=epochs,
        gpus=uuids,
        lease=st.just(10.0),
    ),
    st.builds(
        ev.ExecutionClaimed,
        execution_id=ids,
        attempt=attempts,
        agent=agents,
        incarnation=incarnations,
    ),
    st.builds(
        ev.ExecutionStarted,
        execution_id=ids,
        attempt=attempts,
        agent=agents,
        output_partition=st.just(0),
        output_offset=st.just(7),
    ),
    st.builds(
        ev.ExecutionFinished,
        execution_id=ids,
        attempt=attempts,
        outcome=outcomes,
        exit_code=st.none() | st.integers(0, 255),
        signal=st.none() | st.just(9),
        usage=usages,
        last_seq=st.integers(-1, 3),
        output=st.just({}) | st.just({"stdout": StreamDigest(bytes=1, sha256="c" * 64)}),
        reason=st.none() | words,
    ),
    st.builds(ev.ExecutionCancelRequested, execution_id=ids),
    st.builds(
        ev.ExecutionAttemptLost,
        execution_id=ids,
        attempt=attempts,
        epoch=epochs,
        reason=losses,
        output_end_offset=st.none() | st.just(9),
        agent=st.none() | agents,
        incarnation=st.none() | incarnations,
    ),
    st.builds(ev.AgentGpuDrained, agent=agents, incarnation=incarnations, gpu=gpus, reason=words),
    st.builds(ev.AgentGpuRestored, agent=agents, incarnation=incarnations, gpu=gpus),
    st.builds(ev.ExecutionGpuReleased, execution_id=ids, attempt=attempts, gpus=uuids),
    st.builds(ev.AgentJoined, agent=agents, incarnation=incarnations, inventory=inventories),
    st.builds(ev.AgentLeft, agent=agents, incarnation=incarnations, reason=words),
    st.builds(ev.SchedulerTookOver, scheduler=st.sampled_from(["s1", "s2"]), epoch=epochs),
    st.just(ev.PoolCreated(pool=POOL)),
    st.just(ev.FunctionDeleted(version="1.0.0")),
)


@st.composite
def honest_lives(draw: st.DrawFn) -> list[ev.EventData]:
    """A history in which much fits, so that shuffles of it come deep into the rules."""
    story: list[ev.EventData] = [
        ev.SchedulerTookOver(scheduler="s1", epoch=1),
        ev.AgentJoined(agent="a1", incarnation="i1", inventory=inventory(gpu("g1"), gpu("g3"))),
        ev.AgentJoined(agent="a2", incarnation="i1", inventory=inventory(gpu("g2"), gpu("g3"))),
    ]
    for execution_id in EXECUTIONS[: draw(st.integers(1, 3))]:
        story.append(requested(execution_id, gpu=wants()))
        for attempt in range(1, draw(st.integers(1, 3)) + 1):
            agent, own = draw(st.sampled_from([("a1", "g1"), ("a2", "g2")]))
            story.append(
                ev.ExecutionScheduled(
                    execution_id=execution_id,
                    attempt=attempt,
                    agent=agent,
                    incarnation="i1",
                    epoch=1,
                    gpus=(draw(st.sampled_from([own, "g3"])),),
                    lease=10.0,
                )
            )
            story.append(
                ev.ExecutionClaimed(
                    execution_id=execution_id, attempt=attempt, agent=agent, incarnation="i1"
                )
            )
            story.append(
                ev.ExecutionStarted(
                    execution_id=execution_id,
                    attempt=attempt,
                    agent=agent,
                    output_partition=0,
                    output_offset=0,
                )
            )
            story.append(draw(facts))
            if draw(st.booleans()):
                story.append(
                    ev.ExecutionAttemptLost(
                        execution_id=execution_id,
                        attempt=attempt,
                        epoch=0,
                        reason="gpu_unavailable",
                        output_end_offset=None,
                        agent=agent,
                        incarnation="i1",
                    )
                )
                story.append(
                    ev.AgentGpuDrained(agent=agent, incarnation="i1", gpu=own, reason="Xid 79")
                )
            story.append(
                ev.ExecutionAttemptLost(
                    execution_id=execution_id,
                    attempt=attempt,
                    epoch=1,
                    reason="lease_expired",
                    output_end_offset=3,
                )
            )
            story.append(
                ev.ExecutionFinished(
                    execution_id=execution_id,
                    attempt=attempt,
                    outcome=draw(outcomes),
                    exit_code=0,
                    signal=None,
                    usage=None,
                    last_seq=-1,
                    output={},
                )
            )
    return story


@st.composite
def partitions(draw: st.DrawFn) -> list[ev.Recorded]:
    """Records as strangers may have left them: shuffled, doubled, malformed, wrongly keyed."""
    shape = draw(st.sampled_from(["honest", "swapped", "shuffled", "wild"]))
    if shape == "wild":
        story = draw(st.lists(facts, max_size=40))
    else:
        story = draw(honest_lives())
        story += draw(st.lists(facts, max_size=6))
        if shape == "shuffled":
            story = draw(st.permutations(story))
        elif shape == "swapped":
            at = draw(st.integers(0, len(story) - 2))
            story[at], story[at + 1] = story[at + 1], story[at]
        for at in draw(st.lists(st.integers(0, len(story) - 1), max_size=4)):
            story.insert(draw(st.integers(0, len(story))), story[at])
    records = []
    log_time = NOW_MS
    for offset, data in enumerate(story):
        log_time += draw(st.sampled_from([0, 1, 1, 1, 250, -250, HOUR_MS, 25 * HOUR_MS]))
        key = key_of(data) if draw(st.integers(0, 19)) else draw(st.sampled_from(["", "a1", "x"]))
        fact: ev.Event | ev.Malformed = event(data, offset)
        if not draw(st.integers(0, 19)):
            fact = ev.Malformed("made up")
        records.append(ev.Recorded(TOPIC, 0, offset, log_time, key, fact))
    return records


def fold(records: Sequence[ev.Recorded], state: PoolState | None = None) -> PoolState:
    state = state or PoolState(pool=POOL, topic=TOPIC)
    for record in records:
        state.apply(record)
    return state


@QUICK
@given(partitions())
def test_an_execution_ends_once_and_nothing_changes_it_afterwards(
    records: list[ev.Recorded],
) -> None:
    state = PoolState(pool=POOL, topic=TOPIC)
    ended: dict[str, object] = {}
    for record in records:
        applied = state.apply(record)
        after = applied.execution
        if after is not None and not applied.superseded:
            assert after.id not in ended
            if after.status in TERMINAL:
                ended[after.id] = state.ended[after.id]
                assert (after.outcome is not None) == (after.status == "finished")
                assert after.finished_offset == record.offset
        for execution_id, remembered in ended.items():
            assert execution_id not in state.live
            assert state.ended.get(execution_id, remembered) == remembered


@QUICK
@given(partitions())
def test_a_superseded_record_leaves_everything_else_as_it_was(records: list[ev.Recorded]) -> None:
    state = PoolState(pool=POOL, topic=TOPIC)
    for record in records:
        before = content(state)
        counted = (state.superseded, state.malformed)
        if state.apply(record).superseded:
            assert content(state) == before
            assert state.superseded + state.malformed == sum(counted) + 1
        else:
            assert (state.superseded, state.malformed) == counted
        assert state.next_offset == record.offset + 1


@QUICK
@given(partitions())
def test_a_gpu_is_held_by_one_attempt_and_attempts_rise_by_one(records: list[ev.Recorded]) -> None:
    state = PoolState(pool=POOL, topic=TOPIC)
    seen: dict[str, int] = {}
    for record in records:
        state.apply(record)
        holders: dict[str, str] = {}
        for execution in state.live.values():
            numbers = [attempt.attempt for attempt in execution.attempts]
            assert numbers == list(range(1, len(numbers) + 1))
            assert len(numbers) - seen.get(execution.id, 0) in (0, 1)
            seen[execution.id] = len(numbers)
            active = [a for a in execution.attempts if a.status not in ("lost", "finished")]
            assert active == ([execution.current] if execution.current else [])
            for attempt in active:
                for uuid in attempt.gpus:
                    assert holders.setdefault(uuid, execution.id) == execution.id
                    hold = state.gpus[uuid]
                    assert (hold.execution_id, hold.attempt, hold.agent) == (
                        execution.id,
                        attempt.attempt,
                        attempt.agent,
                    )


@QUICK
@given(partitions())
def test_a_decision_of_another_epoch_changes_nothing(records: list[ev.Recorded]) -> None:
    state = PoolState(pool=POOL, topic=TOPIC)
    for record in records:
        epoch = state.epoch
        applied = state.apply(record)
        data = record.event.data if isinstance(record.event, ev.Event) else None
        if isinstance(data, ev.ExecutionScheduled) or (
            isinstance(data, ev.ExecutionAttemptLost) and not is_handed_back(data)
        ):
            assert applied.superseded or data.epoch == epoch
        if isinstance(data, ev.SchedulerTookOver):
            assert applied.superseded == (data.epoch <= epoch)
        assert state.epoch >= epoch


@QUICK
@given(partitions())
def test_a_drained_gpu_is_given_to_nobody(records: list[ev.Recorded]) -> None:
    state = PoolState(pool=POOL, topic=TOPIC)
    drained: set[str] = set()
    for record in records:
        applied = state.apply(record)
        if applied.superseded or not isinstance(record.event, ev.Event):
            continue
        match record.event.data:
            case ev.AgentGpuDrained(gpu=uuid):
                assert uuid not in drained
                drained.add(uuid)
            case ev.AgentGpuRestored(gpu=uuid):
                drained.remove(uuid)
            case ev.ExecutionScheduled(gpus=given_out):
                assert not drained & set(given_out)
    assert set(state.drained) == drained


@QUICK
@given(partitions())
def test_an_agent_hands_back_only_what_it_holds(records: list[ev.Recorded]) -> None:
    state = PoolState(pool=POOL, topic=TOPIC)
    for record in records:
        before = dict(state.live)
        present = {name: agent.incarnation for name, agent in state.agents.items()}
        applied = state.apply(record)
        data = record.event.data if isinstance(record.event, ev.Event) else None
        if not isinstance(data, ev.ExecutionAttemptLost) or applied.superseded:
            continue
        if is_handed_back(data):
            current = before[data.execution_id].current
            assert current is not None
            assert (current.attempt, current.agent) == (data.attempt, data.agent)
            assert current.incarnation == data.incarnation == present[current.agent]
            assert data.reason.startswith(("gpu_unavailable", "host_fault: "))


@QUICK
@given(partitions())
def test_nothing_is_scheduled_after_a_cancellation(records: list[ev.Recorded]) -> None:
    state = PoolState(pool=POOL, topic=TOPIC)
    cancelled: set[str] = set()
    for record in records:
        applied = state.apply(record)
        if applied.superseded or not isinstance(record.event, ev.Event):
            continue
        data = record.event.data
        if isinstance(data, ev.ExecutionCancelRequested):
            cancelled.add(data.execution_id)
        if isinstance(data, ev.ExecutionScheduled):
            assert data.execution_id not in cancelled


@QUICK
@given(partitions())
def test_only_ids_of_a_day_are_requested_and_each_once(records: list[ev.Recorded]) -> None:
    state = PoolState(pool=POOL, topic=TOPIC)
    seen: set[str] = set()
    for record in records:
        applied = state.apply(record)
        data = record.event.data if isinstance(record.event, ev.Event) else None
        if isinstance(data, ev.ExecutionRequested) and not applied.superseded:
            assert abs(record.log_time - id_time_ms(data.execution_id)) <= REQUEST_WINDOW_MS
            assert data.execution_id not in seen
            seen.add(data.execution_id)


@QUICK
@given(partitions(), st.integers(0, 60), st.integers(0, 60))
def test_every_reader_has_the_same_state(
    records: list[ev.Recorded], first: int, second: int
) -> None:
    expected = fold(records)
    reread = [
        record
        if isinstance(record.event, ev.Malformed)
        else msgspec.structs.replace(record, event=codec.decode(codec.encode(record.event)))
        for record in records
    ]
    assert fold(reread) == expected
    cuts = sorted({min(first, len(records)), min(second, len(records))})
    state = None
    for start, end in zip([0, *cuts], [*cuts, len(records)], strict=True):
        state = fold(reread[start:end], state)
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=PoolState)
    assert state == expected


@QUICK
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 20)), min_size=1, max_size=30))
def test_what_is_forgotten_follows_from_the_logs_time(steps: list[tuple[int, int]]) -> None:
    """Only ids that can never be requested again, whatever is asked in between."""
    state = PoolState(pool=POOL, topic=TOPIC)
    log_time = NOW_MS
    ended: list[tuple[int, str]] = []
    for number, (hours, back) in enumerate(steps):
        log_time += hours * HOUR_MS // 4
        execution_id = id_at(number, log_time - back * HOUR_MS)
        for data in (
            requested(execution_id),
            ev.ExecutionRejected(execution_id=execution_id, reason=""),
        ):
            record = ev.Recorded(
                TOPIC, 0, state.next_offset, log_time, execution_id, event(data, number)
            )
            assert not state.apply(record).superseded
        ended.append((log_time, execution_id))
    assert list(state.ended) == [one for at, one in ended if at >= log_time - REMEMBER_MS]
    for at, one in ended:
        if at < log_time - REMEMBER_MS:
            again = ev.Recorded(
                TOPIC, 0, state.next_offset, log_time, one, event(requested(one), 0)
            )
            assert state.apply(again).superseded
