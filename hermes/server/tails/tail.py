"""Reads one execution from any point of its order on, live or as it stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack
from typing import Self

from hermes.domain.shapes import Event, event_shape
from hermes.server.closing import Closing
from hermes.server.pool_tap import PoolTap
from hermes.server.tails.feed import OutputFeed
from hermes.server.tails.hub import OutputQueue
from hermes.server.tails.items import Item
from hermes.server.tails.journal import Entry
from hermes.server.tails.merger import ALL, Merger
from hermes.server.tails.window import Wanted

HEARTBEAT = 10.0


class Tail:
    """A context manager: from entering on nothing is missed, so enter before appending.

    `items` yields what is in order, and an empty list when nothing came for a while.
    """

    def __init__(
        self,
        execution_id: str,
        tap: PoolTap,
        *,
        follow: bool = True,
        past: Sequence[Event] | None = None,
        closing: Closing | None = None,
        fresh: bool = False,
    ) -> None:
        """`past`: all events of an execution that ended too long ago for the journal. `fresh`:
        the execution is not requested yet, so nothing of it stands in the log."""
        self._id = execution_id
        self._tap = tap
        self._follow = follow
        self._past = past
        self._closing = closing
        self._fresh = fresh
        self._merger = Merger()
        self._wake = asyncio.Event()
        self._entry: Entry | None = None
        self._given = 0
        self._stack = ExitStack()
        self._queue: OutputQueue | None = None
        self._nothing_below: list[int] | None = None

    def __enter__(self) -> Self:
        wake = self._wake.set
        self._stack.enter_context(self._tap.journal.watched(self._id, wake))
        self._queue = self._stack.enter_context(self._tap.hub.listening(self._id, wake))
        if self._closing is not None:
            self._stack.enter_context(self._closing.watched(wake))
        if self._fresh:
            self._nothing_below = list(self._queue.starts)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    async def items(self) -> AsyncGenerator[list[Item], None]:
        """Ends behind the execution's end, when the server closes, or, without `follow`, when
        everything that stands in the log at this moment was given."""
        if self._queue is None:
            raise RuntimeError("enter the tail before reading it")
        feed = OutputFeed(self._id, self._tap.hub, self._queue, self._merger, self._nothing_below)
        try:
            if not self._follow:
                await self._tap.catch_up()
            async for ready in self._read(feed):
                yield ready
        finally:
            await feed.stop()

    async def _read(self, feed: OutputFeed) -> AsyncGenerator[list[Item], None]:
        merger = self._merger
        snapshot: dict[tuple[int, int], int] = {}
        while True:
            self._wake.clear()
            self._take_events()
            ready = merger.drain()
            if ready:
                yield ready
            if merger.done or self._is_closing():
                return
            wanted = merger.wanted
            if wanted is not None and not self._follow:
                if await self._is_past(snapshot, wanted):
                    return
            if await feed.pull() or ready:
                continue
            if not self._follow and (wanted is None or await self._is_past(snapshot, wanted)):
                return
            if not await self._something_came():
                yield []

    async def _is_past(self, snapshot: dict[tuple[int, int], int], wanted: Wanted) -> bool:
        """Whether the output that stood in the log when we came was read."""
        window = (wanted.attempt, wanted.partition)
        if window not in snapshot:
            snapshot[window] = await self._tap.hub.end_offset(wanted.partition)
            await self._tap.hub.reached(wanted.partition, snapshot[window], timeout=5.0)
        return wanted.offset >= snapshot[window] and not self._merger.needs_output_end

    def _take_events(self) -> None:
        if self._past is not None:
            for event in self._past[self._given :]:
                self._merger.event(event)
            self._given = len(self._past)
            self._merger.events_read_to(ALL)
            return
        # Kept: the journal may forget an ended execution before a slow client has read it.
        self._entry = self._entry or self._tap.journal.get(self._id)
        if self._entry is not None:
            for record, superseded in self._entry.records[self._given :]:
                self._given += 1
                self._merger.event(event_shape(record, superseded))
        self._merger.events_read_to(self._tap.fold.state.next_offset)

    async def _something_came(self) -> bool:
        behind = self._merger.waits_for_event
        if behind is not None:
            # Briefly: the end of the attempt also lets a chunk pass that names no event of ours.
            return await self._tap.fold.reached(behind, timeout=1.0)
        try:
            await asyncio.wait_for(self._wake.wait(), HEARTBEAT)
        except TimeoutError:
            return False
        return True

    def _is_closing(self) -> bool:
        return self._closing is not None and self._closing.is_set()
