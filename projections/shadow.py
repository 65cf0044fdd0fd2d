"""A generation that is filled from the log while another one serves.

It never reads past the checkpoint of the one that serves, and meets it exactly while it holds that
checkpoint's lock; so both can be compared row by row, and exchanged without a gap.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg

from hermes.errors import AlreadyExists, ServerFault
from hermes.settings import Settings
from projections.comparison import Comparison, compare
from projections.database import open_writers
from projections.definitions import Definition, Source
from projections.filling import Filler
from projections.generations import (
    GENERATIONS_CHANNEL,
    active_generation,
    create_indexes,
    create_tables,
    leftover_schemas,
    put_views_over,
    schema_of,
)
from projections.rebuilds import REBUILD_LOCK
from projections.writer import RowWriter
from streams.topics import Topics

#: Hears the step (filling, verifying), and how many events of how many are read.
Report = Callable[[str, int, int], Awaitable[None]]

_REPORT_EVERY = 0.3
_CHECKPOINTS = """
SELECT topic, partition, next_offset FROM hermes.checkpoints
WHERE projection = $1
  AND generation = (SELECT generation FROM hermes.projections WHERE name = $1)
ORDER BY topic, partition
"""
_LOCK = {False: "", True: "FOR UPDATE"}


class RebuildFailed(ServerFault):
    """The new generation is not what the log says"""


class Shadow:
    """See the module. `database` has connections of its own."""

    def __init__(self, settings: Settings, definition: Definition, database: asyncpg.Pool) -> None:
        self.definition = definition
        self.generation = 0
        self.events = 0
        self._settings = settings
        self._topics = Topics(settings.topic_prefix)
        self._database = database
        self._fillers: dict[tuple[str, int], Filler] = {}
        self._writer: RowWriter | None = None

    @property
    def schema(self) -> str:
        """Where it is filled."""
        return schema_of(self.definition.name, self.generation)

    async def create(self) -> None:
        """Clean up after dead ones, and make the empty tables."""
        await self.drop_others()
        async with self._database.acquire() as connection, connection.transaction():
            self.generation = await connection.fetchval(
                "UPDATE hermes.projections SET last_generation = last_generation + 1 "
                "WHERE name = $1 RETURNING last_generation",
                self.definition.name,
            )
            await create_tables(connection, self.definition, self.schema)
            self._writer = await RowWriter.prepare(connection, self.definition, self.schema)

    async def fill(self, report: Report) -> None:
        """Read the log up to the checkpoints that serve now, then make the keys."""
        async with self._database.acquire() as connection:
            targets = await self._targets(connection, lock=False)
            total = sum(targets.values())
            reported_at = 0.0
            await report("filling", 0, total)
            for place, target in targets.items():
                filler = self._fillers[place]
                while filler.next_offset < target:
                    # In strides, so that progress is told now and then.
                    stride = min(target, filler.next_offset + 50_000)
                    await filler.fill(connection, stride, self._count)
                    if time.monotonic() - reported_at > _REPORT_EVERY:
                        reported_at = time.monotonic()
                        await report("filling", self.events, total)
                await filler.settle(connection)
            await create_indexes_and_statistics(connection, self.definition, self.schema)
            # What came meanwhile, before anybody has to wait for the lock.
            await self._follow(connection, await self._targets(connection, lock=False))
        await report("verifying", self.events, max(total, self.events))

    @contextlib.asynccontextmanager
    async def level(self) -> AsyncIterator[asyncpg.Connection]:
        """Both generations at the same position, for as long as the context lasts: the projector
        waits. Gives the connection whose transaction holds the lock."""
        async with self._database.acquire() as holder, holder.transaction():
            await holder.execute("SET LOCAL lock_timeout = '10s'")
            targets = await self._targets(holder, lock=True)
            async with self._database.acquire() as connection:
                await self._follow(connection, targets)
            yield holder

    async def compare_with_active(self) -> Comparison:
        """Compare with the generation that serves, in a snapshot in which both stand level."""
        async with self._database.acquire() as connection:
            old = schema_of(
                self.definition.name, await active_generation(connection, self.definition.name)
            )
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                async with self.level():
                    # The first statement takes the snapshot; the projector may then go on.
                    await connection.execute("SELECT 1 FROM hermes.projections")
                await self._check_is_whole(connection)
                return await compare(connection, self.definition, old, self.schema)

    async def activate(self) -> None:
        """Let the views show this generation from one moment to the next."""
        async with self.level() as holder:
            for filler in self._fillers.values():
                await holder.execute(
                    "INSERT INTO hermes.checkpoints "
                    "(projection, generation, topic, partition, next_offset, first_record) "
                    "VALUES ($1, $2, $3, $4, $5, $6)",
                    self.definition.name,
                    self.generation,
                    filler.source.topic,
                    filler.source.partition,
                    filler.next_offset,
                    filler.first_record,
                )
            await put_views_over(holder, self.definition, self.schema)
            await holder.execute(
                "UPDATE hermes.projections SET generation = $2 WHERE name = $1",
                self.definition.name,
                self.generation,
            )
            await holder.execute(
                "DELETE FROM hermes.checkpoints WHERE projection = $1 AND generation <> $2",
                self.definition.name,
                self.generation,
            )
            await holder.execute(
                "SELECT pg_notify($1, $2)", GENERATIONS_CHANNEL, self.definition.name
            )

    async def drop_others(self) -> None:
        """Drop every generation but the one that serves."""
        async with self._database.acquire() as connection:
            for schema in await leftover_schemas(connection, self.definition.name):
                await connection.execute(f"DROP SCHEMA {schema} CASCADE")

    async def close(self) -> None:
        """Disconnect from the log."""
        for filler in self._fillers.values():
            await filler.stop()

    def _count(self, events: int) -> None:
        self.events += events

    async def _targets(
        self, connection: asyncpg.Connection, *, lock: bool
    ) -> dict[tuple[str, int], int]:
        """How far to read each partition: to the checkpoint that serves, or to the log's end where
        that is before it (then the old view was made from another log)."""
        if lock:
            # In the projector's order: first the projection, then its checkpoints.
            await connection.execute(
                "SELECT 1 FROM hermes.projections WHERE name = $1 FOR UPDATE",
                self.definition.name,
            )
        rows = await connection.fetch(_CHECKPOINTS + _LOCK[lock], self.definition.name)
        targets = {}
        for row in rows:
            place = (row["topic"], row["partition"])
            if place not in self._fillers:
                self._fillers[place] = await self._new_filler(*place)
            filler = self._fillers[place]
            target = row["next_offset"]
            if target > filler.next_offset:
                target = min(target, await filler.end_offset())
            targets[place] = target
        return targets

    async def _new_filler(self, topic: str, partition: int) -> Filler:
        assert self._writer is not None
        kind = self.definition.source
        prefix = {"executions": self._topics.executions(""), "output": self._topics.output("")}
        source = Source(kind, topic, partition, topic.removeprefix(prefix.get(kind, topic)))
        filler = Filler(self._settings.bootstrap, source, self._writer)
        await filler.start()
        return filler

    async def _follow(
        self, connection: asyncpg.Connection, targets: dict[tuple[str, int], int]
    ) -> None:
        for place, target in targets.items():
            filler = self._fillers[place]
            before = filler.next_offset
            await filler.follow(connection, target)
            self._count(filler.next_offset - before)

    async def _check_is_whole(self, connection: asyncpg.Connection) -> None:
        """Every record of the log must have left exactly one row."""
        added = [table.name for table in self.definition.tables if not table.replaces]
        if not added:
            return
        counted = 0
        for name in added:
            counted += await connection.fetchval(
                f"SELECT count(*) FROM {self.schema}.{name}"  # noqa: S608 - constants
            )
        wanted = sum(f.next_offset - f.first_offset for f in self._fillers.values())
        if counted != wanted:
            raise RebuildFailed(f"{wanted} records were read, but {counted} have a row")


async def create_indexes_and_statistics(
    connection: asyncpg.Connection, definition: Definition, schema: str
) -> None:
    """Keys, indexes, and what the planner needs to know."""
    await create_indexes(connection, definition, schema)
    for table in definition.tables:
        await connection.execute(f"ANALYZE {schema}.{table.name}")


@contextlib.asynccontextmanager
async def shadow_of(settings: Settings, definition: Definition) -> AsyncIterator[Shadow]:
    """The only shadow of this projection. Raises AlreadyExists while there is another one."""
    database = await open_writers(settings.database_url, size=4, command_timeout=None)
    try:
        async with database.acquire() as guard:
            if not await guard.fetchval(
                "SELECT pg_try_advisory_lock($1, hashtext($2))", REBUILD_LOCK, definition.name
            ):
                raise AlreadyExists(f"a rebuild of {definition.name} is under way")
            shadow = Shadow(settings, definition, database)
            try:
                yield shadow
            finally:
                await shadow.close()
                await guard.execute(
                    "SELECT pg_advisory_unlock($1, hashtext($2))", REBUILD_LOCK, definition.name
                )
    finally:
        database.terminate()
