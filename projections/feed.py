"""Feeds the projections of one partition: read, fold once, and hand each projection its rows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
from aiokafka.structs import ConsumerRecord

from hermes.domain.pool import PoolState
from hermes.errors import LogError
from projections.checkpoints import CheckpointLost, LogMismatch
from projections.definitions import Source, feeding
from projections.generations import active_generation
from projections.interpreters import (
    Folded,
    Interpreter,
    PoolInterpreter,
    RegistryInterpreter,
)
from projections.output_index import OutputInterpreter
from projections.partition_log import PartitionLog
from projections.sink import Sink
from projections.snapshots import newest_snapshot, save_snapshot

log = logging.getLogger(__name__)

_SNAPSHOT_RECORDS = 20_000
_SNAPSHOT_SECONDS = 30.0
# What comes in the moment after a batch goes into one transaction. The first record after a quiet
# time does not wait, and nobody who asks sees a view this much older.
_GATHER = 0.02
_FEW = 200


class Reload(Exception):
    """A generation was replaced: load the checkpoints anew and go on."""


class Feed:
    """One partition's. It holds no truth: after any failure a new one starts from PostgreSQL."""

    def __init__(self, pool: asyncpg.Pool, bootstrap: str, source: Source) -> None:
        #: Whether it got anywhere, so that a failure after that counts as a first one.
        self.advanced = False
        self._pool = pool
        self._source = source
        self._log = PartitionLog(bootstrap, source.topic, source.partition)
        self._sinks: list[Sink] = []
        self._snapshot_offset = 0
        self._snapshot_time = time.monotonic()

    async def run(
        self,
        reload_wanted: asyncio.Event,
        caught_up: Callable[[Interpreter], None],
    ) -> None:
        """Feed for ever; `caught_up` hears of the fold whenever it moved. Raises Reload,
        CheckpointLost, and errors that may pass; returns when every projection has stopped."""
        await self._log.start()
        try:
            interpreter = await self._load()
            if interpreter is None:
                return
            caught_up(interpreter)
            while any(not sink.stopped for sink in self._sinks):
                if reload_wanted.is_set():
                    raise Reload
                records = await self._log.batch()
                if records:
                    await self._apply(interpreter, records)
                    self.advanced = True
                    caught_up(interpreter)
                    if len(records) < _FEW:
                        await asyncio.sleep(_GATHER)
                for sink in self._sinks:
                    await self._guarded(sink, sink.settle(self._log.first_record))
                await self._snapshot(interpreter)
        finally:
            await self._log.stop()

    async def _load(self) -> Interpreter | None:
        source = self._source
        self._sinks = [
            await Sink.load(self._pool, name, source.topic, source.partition)
            for name in feeding(source.kind)
        ]
        for sink in self._sinks:
            try:
                await self._log.check(sink.checkpoint)
                await sink.run_again()
            except LogMismatch as error:
                await sink.stop(sink.checkpoint.next_offset, error)
        running = [sink for sink in self._sinks if not sink.stopped]
        if not running:
            return None
        start = min(sink.checkpoint.next_offset for sink in running)
        interpreter = await self._fold_up_to(start)
        self._snapshot_offset = interpreter.next_offset
        return interpreter

    async def _fold_up_to(self, start: int) -> Interpreter:
        interpreter: Interpreter
        if self._source.kind == "output":
            self._log.seek(start)
            return OutputInterpreter(start)
        if self._source.kind == "registry":
            interpreter = RegistryInterpreter(self._source.topic)
        else:
            interpreter = PoolInterpreter(await self._newest_state(start))
        self._log.seek(interpreter.next_offset)
        while interpreter.next_offset < start:
            for raw in await self._log.batch():
                if raw.offset >= start:
                    self._log.seek(start)
                    break
                interpreter.take(raw)
            await asyncio.sleep(0)
        return interpreter

    async def _newest_state(self, start: int) -> PoolState:
        topic, first_record = self._source.topic, self._log.first_record
        if first_record is not None:
            async with self._pool.acquire() as connection:
                found = await newest_snapshot(connection, topic, first_record, start)
            if found is not None:
                return found
        return PoolState(pool=self._source.pool, topic=topic)

    async def _apply(self, interpreter: Interpreter, records: Sequence[ConsumerRecord]) -> None:
        folded: list[Folded] = []
        refused: tuple[int, LogError] | None = None
        for raw in records:
            try:
                folded.append(interpreter.take(raw))
            except LogError as error:
                refused = (raw.offset, error)
                break
        for sink in self._sinks:
            await self._guarded(sink, sink.apply(interpreter, folded, self._log.first_record))
        if refused is not None:
            for sink in self._sinks:
                if not sink.stopped:
                    await sink.stop(*refused)

    async def _guarded(self, sink: Sink, work: Awaitable[None]) -> None:
        try:
            await work
        except CheckpointLost:
            checkpoint = sink.checkpoint
            async with self._pool.acquire() as connection:
                active = await active_generation(connection, checkpoint.projection)
            if active != checkpoint.generation:
                raise Reload from None
            raise

    async def _snapshot(self, interpreter: Interpreter) -> None:
        if not isinstance(interpreter, PoolInterpreter) or self._log.first_record is None:
            return
        records = interpreter.next_offset - self._snapshot_offset
        late = time.monotonic() - self._snapshot_time > _SNAPSHOT_SECONDS
        # A share of what a snapshot holds, or its writing would soon be most of the work.
        size = len(interpreter.state.ended)
        if records >= max(_SNAPSHOT_RECORDS, size) or (late and records >= max(1000, size // 4)):
            async with self._pool.acquire() as connection:
                await save_snapshot(connection, interpreter.state, self._log.first_record)
            self._snapshot_offset = interpreter.next_offset
            self._snapshot_time = time.monotonic()
