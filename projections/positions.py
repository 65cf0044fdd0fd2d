"""Waiting for the views to pass a position of the log, without polling the database."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg

from hermes.domain.resources import Position
from hermes.errors import PositionNotReached
from projections.checkpoints import CHECKPOINTS_CHANNEL
from projections.listening import keep_listening
from projections.queries import load_queries

_RECHECK = 0.5  # seconds; notifications do the work, this covers a lost connection
_CHECKPOINTS = load_queries()["checkpoints"]
# Agents are written before executions, so the latter's checkpoint speaks for both.
_SPEAKS = frozenset({"functions", "executions", "output"})


class Progress:
    """How far the views are, kept up to date by the projector's notifications."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._reached: dict[tuple[str, int], int] = {}
        self._errors: dict[tuple[str, int], str] = {}
        self._waiters: set[asyncio.Future[None]] = set()
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen; returns when the present state is known."""
        await self._read()
        self._listening = asyncio.create_task(
            keep_listening(self._pool, CHECKPOINTS_CHANNEL, self._hear, self._read)
        )

    async def stop(self) -> None:
        """Stop listening."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def wait_for(self, positions: Sequence[Position], timeout: float) -> None:
        """Wait until all of them are passed. Raises PositionNotReached."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while missing := [p for p in positions if not self._passed(p)]:
            left = deadline - loop.time()
            if left <= 0:
                raise PositionNotReached(f"{missing[0]} was not reached in {timeout:g} s")
            changed: asyncio.Future[None] = loop.create_future()
            self._waiters.add(changed)
            try:
                await asyncio.wait_for(changed, min(left, _RECHECK))
            except TimeoutError:
                await self._read()
                self._refuse_stopped(positions)
            finally:
                self._waiters.discard(changed)

    def _passed(self, position: Position) -> bool:
        return self._reached.get((position.topic, position.partition), 0) > position.offset

    def _refuse_stopped(self, positions: Sequence[Position]) -> None:
        for position in positions:
            error = self._errors.get((position.topic, position.partition))
            if error is not None and not self._passed(position):
                raise PositionNotReached(f"the view of {position.topic} has stopped: {error}")

    async def _read(self) -> None:
        rows = await self._pool.fetch(_CHECKPOINTS)
        self._errors = {}
        for row in rows:
            if row["projection"] in _SPEAKS:
                key = (row["topic"], row["partition"])
                self._reached[key] = row["next_offset"]
                if row["error"] is not None:
                    self._errors[key] = row["error"]
        self._wake()

    def _hear(self, payload: str) -> None:
        projection, topic, partition, next_offset = payload.split(" ")
        if projection in _SPEAKS:
            self._reached[(topic, int(partition))] = int(next_offset)
            self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
