"""Fills a new generation from the log: fast while it has no keys, then as the projector does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import asyncpg
from aiokafka.structs import ConsumerRecord

from hermes.domain.pool import PoolState
from hermes.errors import LogUnavailable
from projections.definitions import Source, Table
from projections.interpreters import (
    Interpreter,
    PoolInterpreter,
    RegistryInterpreter,
)
from projections.output_index import OutputInterpreter
from projections.partition_log import PartitionLog
from projections.writer import Rows, RowWriter

_MOST = 8000
_PATIENCE = 30.0


class Filler:
    """One partition of the log, for one projection. `first_offset` is where the log begins."""

    def __init__(self, bootstrap: str, source: Source, writer: RowWriter) -> None:
        self.source = source
        self.first_offset = 0
        self._writer = writer
        self._log = PartitionLog(bootstrap, source.topic, source.partition, most=_MOST)
        self._interpreter: Interpreter | None = None
        # Rows that a later record may still replace, by table and key.
        self._open: dict[str, dict[tuple[Any, ...], tuple[Any, ...]]] = {
            table.name: {} for table in writer.definition.tables if table.replaces
        }

    async def start(self) -> None:
        """Connect, and stand at the start of the log."""
        await self._log.start()
        self.first_offset = await self._log.beginning_offset()
        if self.source.kind == "registry":
            self._interpreter = RegistryInterpreter(self.source.topic)
        elif self.source.kind == "executions":
            state = PoolState(pool=self.source.pool, topic=self.source.topic)
            self._interpreter = PoolInterpreter(state)
        else:
            self._interpreter = OutputInterpreter(self.first_offset)
        self._log.seek(self.next_offset)

    async def stop(self) -> None:
        """Disconnect."""
        await self._log.stop()

    @property
    def next_offset(self) -> int:
        """The offset to read next."""
        assert self._interpreter is not None
        return self._interpreter.next_offset

    @property
    def first_record(self) -> str | None:
        """The fingerprint of the partition's first record."""
        return self._log.first_record

    async def end_offset(self) -> int:
        """Where the log ends now."""
        return await self._log.end_offset()

    async def fill(
        self, connection: asyncpg.Connection, target: int, report: Callable[[int], None]
    ) -> None:
        """Copy the rows of all records before `target`; `report` hears how many were read.

        What a later record may still replace is kept back, see `settle`.
        """
        copying: asyncio.Task[None] | None = None
        try:
            while self.next_offset < target:
                before = self.next_offset
                rows = self._keep_back(await self._next_rows(target))
                # PostgreSQL takes the last batch in while this process folds the next one.
                if copying is not None:
                    await copying
                copying = asyncio.create_task(self._writer.copy(connection, rows))
                await asyncio.sleep(0)
                report(self.next_offset - before)
        finally:
            if copying is not None:
                await copying

    async def settle(self, connection: asyncpg.Connection) -> None:
        """Copy what was kept back."""
        rows: dict[str, list[tuple[Any, ...]]] = {
            table.name: list(self._open.get(table.name, {}).values())
            for table in self._writer.definition.tables
        }
        await self._writer.copy(connection, rows)
        self._open.clear()

    async def follow(self, connection: asyncpg.Connection, target: int) -> None:
        """Write the rows of all records before `target` into tables that have their keys."""
        while self.next_offset < target:
            rows = await self._next_rows(target)
            async with connection.transaction():
                await self._writer.write(connection, rows)

    async def _next_rows(self, target: int) -> Rows:
        assert self._interpreter is not None
        raws = await self._records()
        folded = [self._interpreter.take(raw) for raw in raws if raw.offset < target]
        if raws and raws[-1].offset >= target:
            self._log.seek(target)
        return self._interpreter.rows(self._writer.definition.name, folded)

    async def _records(self) -> list[ConsumerRecord]:
        # Whoever waits for these may hold the projector's lock, so not for ever.
        deadline = time.monotonic() + _PATIENCE
        while not (records := await self._log.batch()):
            if time.monotonic() > deadline:
                raise LogUnavailable(f"{self.source} gave no record for {_PATIENCE:.0f} s")
        return records

    def _keep_back(self, rows: Rows) -> Rows:
        return {table.name: self._closed(table, rows) for table in self._writer.definition.tables}

    def _closed(self, table: Table, rows: Rows) -> list[tuple[Any, ...]]:
        batch = list(rows[table.name])
        if not table.replaces:
            return batch
        places = [table.columns.index(column) for column in table.key]
        open_rows = self._open[table.name]
        closed = []
        for row in batch:
            key = tuple(row[place] for place in places)
            if getattr(row, "is_final", False):
                open_rows.pop(key, None)
                closed.append(row)
            else:
                open_rows[key] = row
        return closed
