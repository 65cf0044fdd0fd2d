"""Puts an execution's events and output into the one order that every reader sees. No IO.

Fed with the events by offset and with each attempt's chunks in the partition's order, however the
two interleave, it gives out the same items in the same order. The rules:

- events by offset; superseded ones are left out;
- a chunk stands behind every event up to its `after`, and before every later one;
- chunks of an attempt by seq, between its `started` and the event that ends it; the first record
  of a seq counts; a lost attempt's chunks count up to `output_end_offset`;
- so an event waits until no chunk that stands before it can come any more.
"""

from __future__ import annotations

from collections import deque

from hermes.domain.shapes import Event
from hermes.server.tails.items import (
    ATTEMPT,
    END,
    GAP,
    OUTPUT,
    AttemptItem,
    EndItem,
    EventItem,
    GapItem,
    Item,
    OutputItem,
    Place,
)
from hermes.server.tails.window import Unit, Wanted, Window
from streams.output import Chunk

ALL = 1 << 63
_ENDS = ("execution.finished", "execution.attempt_lost")
_LAST_ATTEMPT = (1 << 31) - 1


class Merger:
    """Feed it with `event`, `chunk` and how far each was read; `drain` gives what is in order."""

    def __init__(self) -> None:
        self.done = False
        self._events: deque[Event] = deque()
        self._pool_read_to = 0
        self._window: Window | None = None
        self._ready: list[Item] = []
        self._last_event = 0
        self._shown_attempt: int | None = None
        self._lost_reason: str | None = None
        self._gap_in_attempt = False

    def event(self, event: Event) -> None:
        """The execution's next event."""
        if event.superseded:
            return
        self._events.append(event)
        window = self._window
        if window is not None and _ends(event, window):
            window.close_with(event)

    def events_read_to(self, offset: int) -> None:
        """Every event below `offset` was given (`ALL` once the terminal one was)."""
        self._pool_read_to = max(self._pool_read_to, offset)

    def chunk(self, chunk: Chunk, offset: int) -> None:
        """A record of the wanted partition, in its order."""
        if self._window is not None:
            self._window.add(chunk, offset)

    def output_read_to(self, wanted: Wanted, offset: int) -> None:
        """Every record of that window's partition below `offset` was given."""
        window = self._window
        if window is not None and window.attempt == wanted.attempt:
            window.read_to = max(window.read_to, offset)

    def output_all_read(self, wanted: Wanted) -> None:
        """The partition was read to an end that was fetched after the attempt's end was known."""
        window = self._window
        if window is not None and window.attempt == wanted.attempt and window.end is not None:
            window.all_read = True

    def output_expired(self, wanted: Wanted) -> None:
        """Retention has removed the start of the attempt's output."""
        window = self._window
        if window is not None and window.attempt == wanted.attempt:
            window.expired = True

    @property
    def wanted(self) -> Wanted | None:
        """The output to read next; None while no attempt writes, or nothing more is needed."""
        window = self._window
        if self.done or window is None or window.exhausted:
            return None
        return Wanted(window.attempt, window.partition, window.read_to, window.limit)

    @property
    def needs_output_end(self) -> bool:
        """Whether only the partition's end can tell if the ended attempt's output is missing."""
        window = self._window
        return window is not None and window.end is not None and not window.exhausted

    @property
    def held_bytes(self) -> int:
        """Output that waits for its turn, in bytes."""
        return self._window.held_bytes if self._window is not None else 0

    @property
    def waits_for_event(self) -> int | None:
        """The offset that the pool's topic must be read past before the next chunk can follow."""
        window = self._window
        unit = window.next_unit() if window is not None else None
        if window is None or unit is None or self._events:
            return None
        after = max(window.after, unit.chunk.after)
        return after if after >= self._pool_read_to else None

    def drain(self) -> list[Item]:
        """What stands in order by now and was not given out yet."""
        while not self.done and self._step():
            pass
        ready, self._ready = self._ready, []
        return ready

    def _step(self) -> bool:
        window = self._window
        event = self._events[0] if self._events else None
        if window is None:
            return event is not None and self._give_event()
        unit = window.next_unit()
        if unit is not None:
            if self._precedes(unit, event, window):
                self._give_chunk(unit, window)
                return True
            return event is not None and self._give_event()
        # Without a chunk at hand, only the end of the attempt proves that none stands before.
        return event is not None and window.exhausted and self._give_event()

    def _precedes(self, unit: Unit, event: Event | None, window: Window) -> bool:
        after = max(window.after, unit.chunk.after)
        if event is None:
            return after < self._pool_read_to
        return event is window.end or after < event.position.offset

    def _give_chunk(self, unit: Unit, window: Window) -> None:
        chunk = unit.chunk
        first = chunk.seq if unit.missing_from is None else unit.missing_from
        if self._shown_attempt not in (None, window.attempt):
            place = Place(self._last_event, window.attempt, first, ATTEMPT)
            self._ready.append(AttemptItem(place, window.attempt, self._lost_reason))
        self._shown_attempt = window.attempt
        if unit.missing_from is not None:
            self._give_gap(window, unit.missing_from, chunk.seq - 1)
        place = Place(self._last_event, window.attempt, chunk.seq, OUTPUT)
        self._ready.append(OutputItem(place, chunk, unit.offset))
        window.give_out(unit)

    def _give_gap(self, window: Window, from_seq: int, to_seq: int) -> None:
        reason = "unavailable"
        if window.expired:
            reason = "expired"
        elif window.end is not None and window.end.kind == "execution.attempt_lost":
            reason = "attempt_lost"
        place = Place(self._last_event, window.attempt, from_seq, GAP)
        self._ready.append(GapItem(place, window.attempt, from_seq, to_seq, reason))
        self._gap_in_attempt = True

    def _give_event(self) -> bool:
        event = self._events.popleft()
        window = self._window
        if window is not None and event is window.end:
            last = window.last_seq
            if last is not None and window.next_seq <= last:
                self._give_gap(window, window.next_seq, last)
            self._window = None
        self._last_event = event.position.offset
        self._ready.append(EventItem(Place(self._last_event), event))
        match event.kind:
            case "execution.started":
                self._open(event)
            case "execution.attempt_lost":
                self._lost_reason = event.data["reason"]
            case "execution.finished" | "execution.rejected":
                self._finish(event)
        return True

    def _open(self, started: Event) -> None:
        window = Window(started)
        self._window = window
        self._gap_in_attempt = False
        for event in self._events:
            if _ends(event, window):
                window.close_with(event)
                return

    def _finish(self, event: Event) -> None:
        data = event.data
        place = Place(event.position.offset, _LAST_ATTEMPT, 0, END)
        lost = data.get("outcome") == "lost"
        self._ready.append(
            EndItem(
                place,
                status=event.kind.removeprefix("execution."),
                outcome=data.get("outcome"),
                exit_code=data.get("exit_code"),
                signal=data.get("signal"),
                last_seq=data.get("last_seq"),
                complete=not self._gap_in_attempt and not lost,
            )
        )
        self.done = True


def _ends(event: Event, window: Window) -> bool:
    return event.kind in _ENDS and event.data["attempt"] == window.attempt
