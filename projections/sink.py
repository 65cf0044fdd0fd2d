"""One projection's end of a feed: its checkpoint in one partition, and the rows it is owed."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import asyncpg

from projections.checkpoints import (
    Checkpoint,
    CheckpointLost,
    describe,
    load_checkpoint,
    move,
    record_error,
)
from projections.definitions import DEFINITIONS
from projections.faults import is_passing
from projections.generations import schema_of
from projections.interpreters import Folded, Interpreter
from projections.writer import RowWriter

log = logging.getLogger(__name__)

_IDLE_MOVE = 1.0  # seconds that a checkpoint may lag while there are no rows to write


class Sink:
    """Applies folded records to one projection, exactly once."""

    def __init__(self, pool: asyncpg.Pool, checkpoint: Checkpoint, writer: RowWriter) -> None:
        self.checkpoint = checkpoint
        self.stopped = False
        self._pool = pool
        self._writer = writer
        self._read_up_to = checkpoint.next_offset
        self._moved_at = time.monotonic()

    @classmethod
    async def load(cls, pool: asyncpg.Pool, projection: str, topic: str, partition: int) -> Sink:
        """At the checkpoint of the active generation."""
        async with pool.acquire() as connection:
            checkpoint = await load_checkpoint(connection, projection, topic, partition)
            schema = schema_of(projection, checkpoint.generation)
            writer = await RowWriter.prepare(connection, DEFINITIONS[projection], schema)
        return cls(pool, checkpoint, writer)

    async def apply(
        self, interpreter: Interpreter, folded: Sequence[Folded], first_record: str | None
    ) -> None:
        """Write what these records bring, and move the checkpoint with it.

        Raises CheckpointLost, and errors that may pass. An event that cannot be applied stops the
        sink where it stands; the records before it are applied.
        """
        owed = [item for item in folded if item.offset >= self._read_up_to]
        if self.stopped or not owed:
            return
        try:
            await self._write(interpreter, owed, first_record)
            return
        except Exception as error:
            if is_passing(error) or isinstance(error, CheckpointLost):
                raise
        # One of them cannot be applied: find out which, and apply those before it.
        for item in owed:
            try:
                await self._write(interpreter, [item], first_record)
            except Exception as error:
                if is_passing(error) or isinstance(error, CheckpointLost):
                    raise
                await self.stop(item.offset, error)
                return

    async def stop(self, offset: int, error: Exception) -> None:
        """Stand still before `offset`, loudly."""
        self.stopped = True
        checkpoint = self.checkpoint
        text = f"{checkpoint.topic}/{checkpoint.partition}/{offset}: {describe(error)}"
        log.error("projection %s stops: %s", checkpoint.projection, text, exc_info=error)
        async with self._pool.acquire() as connection:
            await record_error(connection, checkpoint, text)

    async def run_again(self) -> None:
        """Forget an error of former times: this start tries again."""
        if self.checkpoint.error is not None:
            async with self._pool.acquire() as connection:
                await record_error(connection, self.checkpoint, None)

    async def settle(self, first_record: str | None) -> None:
        """Move the checkpoint over records that brought no rows, once in a while."""
        due = self._read_up_to > self.checkpoint.next_offset
        if due and not self.stopped and time.monotonic() - self._moved_at >= _IDLE_MOVE:
            async with self._pool.acquire() as connection:
                moved = await move(connection, self.checkpoint, self._read_up_to, first_record)
            self._have(moved)

    async def _write(
        self, interpreter: Interpreter, owed: Sequence[Folded], first_record: str | None
    ) -> None:
        rows = interpreter.rows(self.checkpoint.projection, owed)
        read_up_to = owed[-1].offset + 1
        if any(rows.values()):
            async with self._pool.acquire() as connection:
                moved = await move(
                    connection,
                    self.checkpoint,
                    read_up_to,
                    first_record,
                    self._writer.moving,
                    *self._writer.values(rows),
                )
            self._have(moved)
        self._read_up_to = read_up_to

    def _have(self, moved: Checkpoint) -> None:
        self.checkpoint = moved
        self._read_up_to = max(self._read_up_to, moved.next_offset)
        self._moved_at = time.monotonic()
