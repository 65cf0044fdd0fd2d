"""One attempt's output while it is put in order: what came, what is missing, what can follow."""

from __future__ import annotations

import msgspec

from hermes.domain.shapes import Event
from streams.output import Chunk

# Chunks that may wait for an earlier seq. Beyond that the earlier one counts as missing; the rule
# looks at the partition's order alone, so every reader draws the same line.
MAX_AHEAD = 256
MAX_AHEAD_BYTES = 8 * 1024 * 1024


class Wanted(msgspec.Struct, frozen=True):
    """What to read next: this partition from `offset` on; nothing from `limit` on counts."""

    attempt: int
    partition: int
    offset: int
    limit: int | None


class Unit(msgspec.Struct, frozen=True):
    """The next chunk, and from which seq on output is missing before it (None: nothing is)."""

    chunk: Chunk
    offset: int
    missing_from: int | None


class Window:
    """Takes the chunks of one attempt in the partition's order and gives them out by seq."""

    def __init__(self, started: Event) -> None:
        self.attempt: int = started.data["attempt"]
        self.partition: int = started.data["output_partition"]
        self.read_to: int = started.data["output_offset"]
        self.first_offset = self.read_to
        self.after: int = started.position.offset
        self.next_seq = 0
        self.end: Event | None = None
        self.all_read = False
        self.expired = False
        self.held: dict[int, tuple[Chunk, int]] = {}
        self.held_bytes = 0
        self._frontier = 0  # every seq below is held, given out or known to be missing
        self._ahead_bytes = 0

    @property
    def last_seq(self) -> int | None:
        """The last seq that the finished attempt wrote; None while it is not finished."""
        if self.end is None or self.end.kind != "execution.finished":
            return None
        return int(self.end.data["last_seq"])

    @property
    def limit(self) -> int | None:
        """The offset from which on a lost attempt's output does not count."""
        if self.end is None or self.end.kind != "execution.attempt_lost":
            return None
        limit = self.end.data["output_end_offset"]
        return None if limit is None else int(limit)

    @property
    def exhausted(self) -> bool:
        """Whether no chunk of this attempt can come any more."""
        if self.end is None:
            return False
        last, limit = self.last_seq, self.limit
        if last is not None and self._frontier > last:
            return True
        return self.all_read or (limit is not None and self.read_to >= limit)

    def close_with(self, end: Event) -> None:
        """Take the event that ends the attempt; what does not count any more is dropped."""
        self.end = end
        for seq, (_, offset) in list(self.held.items()):
            if not self._counts(seq, offset):
                self._take(seq)

    def add(self, chunk: Chunk, offset: int) -> None:
        """The record at `offset`; repeated, stale and foreign ones change nothing."""
        if offset < self.read_to:
            return
        self.read_to = offset + 1
        seq = chunk.seq
        if chunk.attempt != self.attempt or chunk.stream == "stdin":
            return
        if seq < self._frontier or seq in self.held or not self._counts(seq, offset):
            return
        self.held[seq] = (chunk, offset)
        self.held_bytes += len(chunk.data)
        self._ahead_bytes += len(chunk.data)
        self._move_frontier()
        if len(self.held) > MAX_AHEAD or self._ahead_bytes > MAX_AHEAD_BYTES:
            self._give_up_on_missing()

    def next_unit(self) -> Unit | None:
        """The chunk to give out next, or None while it has not come or cannot come."""
        found = self.held.get(self.next_seq)
        if found is not None:
            return Unit(found[0], found[1], None)
        if not self.held or not (self.next_seq < self._frontier or self.exhausted):
            return None
        chunk, offset = self.held[min(self.held)]
        return Unit(chunk, offset, self.next_seq)

    def give_out(self, unit: Unit) -> None:
        """The unit was given out; the next one follows it."""
        self._take(unit.chunk.seq)
        self.after = max(self.after, unit.chunk.after)
        self.next_seq = unit.chunk.seq + 1
        self._frontier = max(self._frontier, self.next_seq)

    def _take(self, seq: int) -> None:
        chunk, _ = self.held.pop(seq)
        self.held_bytes -= len(chunk.data)
        if seq >= self._frontier:
            self._ahead_bytes -= len(chunk.data)

    def _counts(self, seq: int, offset: int) -> bool:
        last, limit = self.last_seq, self.limit
        return (last is None or seq <= last) and (limit is None or offset < limit)

    def _move_frontier(self) -> None:
        while self._frontier in self.held:
            self._ahead_bytes -= len(self.held[self._frontier][0].data)
            self._frontier += 1

    def _give_up_on_missing(self) -> None:
        ahead = [seq for seq in self.held if seq >= self._frontier]
        if len(ahead) > MAX_AHEAD or self._ahead_bytes > MAX_AHEAD_BYTES:
            self._frontier = min(ahead)
            self._move_frontier()
