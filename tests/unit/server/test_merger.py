"""The one order: however events and output interleave on their way, every reader gets the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.domain.resources import Position
from hermes.domain.shapes import Event
from hermes.server.tails.items import (
    AttemptItem,
    EndItem,
    EventItem,
    GapItem,
    Item,
    OutputItem,
)
from hermes.server.tails.merger import ALL, Merger
from hermes.server.tails.window import MAX_AHEAD
from streams.output import Chunk

TIME = datetime(2026, 1, 1, tzinfo=UTC)


def event(kind: str, offset: int, *, superseded: bool = False, **data: Any) -> Event:
    return Event(
        id=str(offset),
        kind=f"execution.{kind}",
        version=1,
        occurred_at=TIME,
        actor="",
        causation_id=None,
        correlation_id=None,
        data=data,
        position=Position("pool", 0, offset),
        superseded=superseded,
    )


def started(attempt: int, offset: int, output_offset: int = 0, partition: int = 0) -> Event:
    return event(
        "started",
        offset,
        attempt=attempt,
        output_partition=partition,
        output_offset=output_offset,
    )


def finished(attempt: int, offset: int, last_seq: int, outcome: str = "succeeded") -> Event:
    return event(
        "finished",
        offset,
        attempt=attempt,
        outcome=outcome,
        exit_code=0,
        signal=None,
        last_seq=last_seq,
    )


def lost(attempt: int, offset: int, end: int | None) -> Event:
    return event(
        "attempt_lost", offset, attempt=attempt, reason="lease_over", output_end_offset=end
    )


def chunk(attempt: int, seq: int, after: int, stream: Any = "stdout") -> Chunk:
    return Chunk(
        execution_id="x",
        attempt=attempt,
        seq=seq,
        stream=stream,
        offset=seq,
        time="2026-01-01T00:00:00Z",
        after=after,
        data=b"%d.%d" % (attempt, seq),
    )


def names(items: list[Item]) -> list[str]:
    """Items in short: events by offset, `n.seq` for chunks."""
    found = []
    for item in items:
        match item:
            case EventItem():
                found.append(f"@{item.event.position.offset}")
            case OutputItem():
                found.append(f"{item.chunk.attempt}.{item.chunk.seq}")
            case AttemptItem():
                found.append(f"attempt {item.attempt}")
            case GapItem():
                found.append(f"gap {item.attempt}.{item.from_seq}-{item.to_seq} {item.reason}")
            case EndItem():
                found.append("end" if item.complete else "end incomplete")
    return found


def read(events: list[Event], records: list[Chunk]) -> list[Item]:
    """Everything at once, as a reader that comes when all is over."""
    merger = Merger()
    for one in events:
        merger.event(one)
    merger.events_read_to(ALL)
    items = merger.drain()
    for _ in range(20):
        wanted = merger.wanted
        if wanted is None:
            break
        for offset, record in enumerate(records):
            merger.chunk(record, offset)
        merger.output_read_to(wanted, len(records))
        items += merger.drain()
        if merger.needs_output_end:
            merger.output_all_read(wanted)
            items += merger.drain()
    assert merger.done
    return items


def test_output_stands_between_started_and_finished() -> None:
    events = [event("requested", 0), started(1, 3), finished(1, 4, last_seq=1)]
    assert names(read(events, [chunk(1, 0, 3), chunk(1, 1, 3)])) == [
        "@0",
        "@3",
        "1.0",
        "1.1",
        "@4",
        "end",
    ]


def test_a_chunk_stands_behind_the_events_that_its_agent_had_folded() -> None:
    events = [started(1, 3), event("cancel_requested", 5), finished(1, 9, last_seq=1)]
    assert names(read(events, [chunk(1, 0, 4), chunk(1, 1, 5)])) == [
        "@3",
        "1.0",
        "@5",
        "1.1",
        "@9",
        "end",
    ]


def test_an_event_waits_while_a_chunk_may_stand_before_it() -> None:
    merger = Merger()
    merger.event(started(1, 3))
    merger.event(event("cancel_requested", 5))
    merger.events_read_to(8)
    assert names(merger.drain()) == ["@3"]
    merger.chunk(chunk(1, 0, 4), 0)
    assert names(merger.drain()) == ["1.0"]
    merger.chunk(chunk(1, 1, 6), 1)
    assert names(merger.drain()) == ["@5", "1.1"]


def test_a_chunk_waits_until_the_events_before_it_were_read() -> None:
    merger = Merger()
    merger.event(started(1, 3))
    merger.events_read_to(4)
    merger.drain()
    merger.chunk(chunk(1, 0, 6), 0)
    assert merger.drain() == []
    assert merger.waits_for_event == 6
    merger.event(event("cancel_requested", 5))
    merger.events_read_to(7)
    assert names(merger.drain()) == ["@5", "1.0"]


def test_repeated_chunks_and_those_of_other_attempts_are_left_out() -> None:
    records = [
        chunk(7, 0, 3),
        chunk(1, 0, 3),
        msgspec.structs.replace(chunk(1, 0, 3), data=b"second"),
        chunk(0, 1, 3, stream="stdin"),
        chunk(1, 1, 3),
    ]
    items = read([started(1, 3), finished(1, 4, last_seq=1)], records)
    assert names(items) == ["@3", "1.0", "1.1", "@4", "end"]
    assert [i.chunk.data for i in items if isinstance(i, OutputItem)] == [b"1.0", b"1.1"]


def test_output_of_a_lost_attempt_counts_up_to_its_end_only() -> None:
    events = [started(1, 3), lost(1, 5, end=1), started(2, 8, 1), finished(2, 9, last_seq=0)]
    records = [chunk(1, 0, 3), chunk(1, 1, 3), chunk(2, 0, 8)]
    assert names(read(events, records)) == [
        "@3",
        "1.0",
        "@5",
        "@8",
        "attempt 2",
        "2.0",
        "@9",
        "end",
    ]


def test_missing_output_is_a_gap() -> None:
    events = [started(1, 3), finished(1, 4, last_seq=4)]
    assert names(read(events, [chunk(1, 1, 3), chunk(1, 2, 3)])) == [
        "@3",
        "gap 1.0-0 unavailable",
        "1.1",
        "1.2",
        "gap 1.3-4 unavailable",
        "@4",
        "end incomplete",
    ]


def test_superseded_events_are_left_out() -> None:
    late = event("finished", 5, superseded=True, attempt=1)
    assert names(read([event("requested", 0), late, event("rejected", 6)], [])) == [
        "@0",
        "@6",
        "end",
    ]


def test_an_endless_reorder_gives_up_on_the_missing_chunk() -> None:
    merger = Merger()
    merger.event(started(1, 3))
    merger.events_read_to(10)
    merger.drain()
    for offset, seq in enumerate(range(1, MAX_AHEAD + 3)):
        merger.chunk(chunk(1, seq, 3), offset)
    shown = names(merger.drain())
    assert shown[0] == "gap 1.0-0 unavailable"
    assert len(shown) > MAX_AHEAD
    merger.chunk(chunk(1, 0, 3), MAX_AHEAD + 5)
    assert merger.drain() == []


class Story(msgspec.Struct):
    """An execution that is over: its events, and the records of its output partition."""

    events: list[Event]
    records: list[Chunk]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """One to three attempts, with repeats, disorder, losses and stale chunks among the output."""
    offsets = iter(sorted(draw(st.sets(st.integers(1, 400), min_size=30, max_size=40))))
    events = [event("requested", 0)]
    records: list[Chunk] = []
    attempts = draw(st.integers(1, 3))
    for attempt in range(1, attempts + 1):
        begins = next(offsets)
        events.append(started(attempt, begins, output_offset=len(records)))
        count = draw(st.integers(0, 6))
        seqs = draw(st.permutations(range(count))) if draw(st.booleans()) else list(range(count))
        if count and draw(st.booleans()):
            seqs = [*seqs, draw(st.sampled_from(seqs))]
        dropped = draw(st.sets(st.integers(0, 5), max_size=2)) if draw(st.booleans()) else set()
        for _ in range(draw(st.integers(0, 2))):
            events.append(event("cancel_requested", next(offsets)))
        after = begins
        for seq in seqs:
            if draw(st.integers(0, 9)) == 0:
                records.append(chunk(max(1, attempt - 1), seq, 1))
            after = min(after + draw(st.integers(0, 40)), 390)
            if seq not in dropped:
                records.append(chunk(attempt, seq, draw(st.sampled_from([after, after, begins]))))
        ends = next(offsets)
        if attempt == attempts:
            events.append(finished(attempt, ends, last_seq=count - 1))
        else:
            end = draw(st.integers(max(0, len(records) - 2), len(records)))
            events.append(lost(attempt, ends, end))
    return Story(events, records)


@given(stories(), st.data())
@settings(max_examples=300, deadline=None)
def test_every_interleaving_gives_the_same_order(story: Story, data: st.DataObject) -> None:
    whole = read(story.events, story.records)
    assert isinstance(whole[-1], EndItem)
    assert [item.place for item in whole] == sorted(item.place for item in whole)
    assert len({item.place for item in whole}) == len(whole)
    assert names(live(story, data)) == names(whole)


def live(story: Story, data: st.DataObject) -> list[Item]:
    """Read while it happens: now an event, now a record, in any interleaving."""
    merger, items = Merger(), []
    # A scheduler names a lost attempt's end after what counts was written: a reader that is ahead
    # of it by records that do not count is not tried here.
    limits = {
        e.data["attempt"]: e.data["output_end_offset"]
        for e in story.events
        if e.kind == "execution.attempt_lost"
    }
    events = list(story.events)
    for _ in range(10_000):
        if merger.done:
            return items
        wanted = merger.wanted
        takes_record = wanted is not None and wanted.offset < len(story.records)
        if wanted is not None and wanted.limit is None:
            takes_record = takes_record and wanted.offset < limits.get(wanted.attempt, 1 << 60)
        if takes_record and wanted is not None and (not events or data.draw(st.booleans())):
            merger.chunk(story.records[wanted.offset], wanted.offset)
            merger.output_read_to(wanted, wanted.offset + 1)
        elif events:
            one = events.pop(0)
            merger.event(one)
            merger.events_read_to(ALL if not events else one.position.offset + 1)
        elif merger.needs_output_end and wanted is not None:
            merger.output_all_read(wanted)
        if data.draw(st.booleans()) or not events:
            items += merger.drain()
    raise AssertionError("the merger never ended")


@given(stories(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_reader_resumes_behind_any_item_without_loss_or_repeat(
    story: Story, data: st.DataObject
) -> None:
    whole = read(story.events, story.records)
    seen = data.draw(st.integers(0, len(whole) - 1))
    rest = [item for item in read(story.events, story.records) if item.place > whole[seen].place]
    assert whole[: seen + 1] + rest == whole
