"""What a tail shows, each with its place in the execution's one total order."""

from __future__ import annotations

import msgspec

from hermes.domain.shapes import Event
from streams.output import Chunk

EVENT, ATTEMPT, GAP, OUTPUT, END = range(5)


class Place(msgspec.Struct, frozen=True, order=True):
    """Where an item stands, comparable within one execution.

    `event` is the offset of the newest event at or before the item; output follows it by attempt
    and seq. Events themselves have attempt 0 and seq -1.
    """

    event: int
    attempt: int = 0
    seq: int = -1
    rank: int = EVENT


class EventItem(msgspec.Struct, frozen=True):
    """An event of the execution."""

    place: Place
    event: Event


class OutputItem(msgspec.Struct, frozen=True):
    """A chunk of stdout or stderr; `offset` is its record's."""

    place: Place
    chunk: Chunk
    offset: int


class AttemptItem(msgspec.Struct, frozen=True):
    """The output of another attempt follows."""

    place: Place
    attempt: int
    reason: str | None


class GapItem(msgspec.Struct, frozen=True):
    """Output that is missing for good: expired, attempt_lost or unavailable."""

    place: Place
    attempt: int
    from_seq: int
    to_seq: int
    reason: str


class EndItem(msgspec.Struct, frozen=True):
    """Nothing follows. `complete`: no output of the last attempt is missing."""

    place: Place
    status: str
    outcome: str | None
    exit_code: int | None
    signal: int | None
    last_seq: int | None
    complete: bool


Item = EventItem | OutputItem | AttemptItem | GapItem | EndItem
