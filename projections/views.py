"""What the API reads: the stable views, always within what the asking user may see.

Shapes come as JSON bytes, exactly as REST shows them, so a read passes them on without decoding.
Every query is scoped by the user's immutable id; others' private things do not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from hermes.domain.ids import is_id_prefix
from hermes.domain.resources import Position
from hermes.errors import AlreadyExists, AmbiguousId, InvalidRequest, NotFound
from projections.cursors import read_cursor, write_cursor
from projections.definitions import DEFINITIONS
from projections.positions import Progress
from projections.queries import load_queries
from projections.rebuilds import request_rebuild
from projections.rows import clean, short
from projections.status import EndOffsets, ProjectionStatus, projection_status

__all__ = [
    "EndOffsets",
    "ExecutionRow",
    "OutputChunk",
    "Page",
    "ProjectionStatus",
    "Views",
]

_QUERIES = load_queries()


class Page(msgspec.Struct, frozen=True):
    """One page: `items` are JSON objects, `next_cursor` is None on the last page.

    `msgspec.json.encode(page)` is the body that REST returns.
    """

    items: list[msgspec.Raw]
    next_cursor: str | None


class ExecutionRow(msgspec.Struct, frozen=True, kw_only=True):
    """What routes need beside the JSON."""

    id: str
    topic: str
    pool: str
    kind: str
    body: bytes


class OutputChunk(msgspec.Struct, frozen=True, kw_only=True):
    """Where a chunk stands: `offset` in the partition, `stream_offset` and `length` in bytes."""

    seq: int
    stream: str
    stream_offset: int
    length: int
    partition: int
    offset: int


class _ExecutionPlace(msgspec.Struct, frozen=True):
    created_at: datetime
    id: str


class _FunctionPlace(msgspec.Struct, frozen=True):
    created_at: datetime
    key: str
    version: str


class _EventPlace(msgspec.Struct, frozen=True):
    offset: int


class Views:
    """The queries. Start it before use: it keeps one connection of its own that listens."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._progress = Progress(pool)

    async def start(self) -> None:
        """Begin to listen for what the projector commits."""
        await self._progress.start()

    async def stop(self) -> None:
        """Stop listening."""
        await self._progress.stop()

    async def wait_for(self, positions: Sequence[Position], timeout: float = 5.0) -> None:
        """Wait until the views have passed these positions. Raises PositionNotReached."""
        await self._progress.wait_for(positions, timeout)

    async def get_execution(self, owner_id: str, id_or_prefix: str) -> bytes:
        """The user's execution, by id or unique prefix, as JSON. Raises NotFound, AmbiguousId."""
        return (await self.get_execution_row(owner_id, id_or_prefix)).body

    async def get_execution_row(self, owner_id: str, id_or_prefix: str) -> ExecutionRow:
        """Id, topic, pool and kind of the execution (for routes that act on it), with its JSON.

        Raises NotFound, AmbiguousId.
        """
        prefix = id_or_prefix.lower()
        found = []
        if is_id_prefix(prefix):
            found = await self._fetch("find_executions", short(owner_id), prefix)
        if not found:
            raise NotFound(f"no execution {clean(id_or_prefix)[:80]}")
        if len(found) > 1:
            raise AmbiguousId(f"more than one execution has an id that starts with {prefix}")
        row = found[0]
        return ExecutionRow(
            id=row["id"],
            topic=row["topic"],
            pool=row["pool"],
            kind=row["kind"],
            body=row["body"].encode(),
        )

    async def list_executions(
        self,
        owner_id: str,
        *,
        statuses: Sequence[str] = (),
        function: str | None = None,
        kind: str = "run",
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """The user's executions, newest first. `statuses` are statuses or outcomes, any of them;
        `function` is `owner/name` or `owner/name:version`; since <= created_at < until.
        Raises InvalidCursor."""
        scope = ("executions", owner_id, sorted(statuses), function, kind, since, until)
        place = read_cursor(cursor, _ExecutionPlace, *scope) if cursor else None
        name, _, version = function.partition(":") if function else ("", "", "")
        rows = await self._fetch(
            "list_executions",
            short(owner_id),
            clean(kind),
            [clean(status) for status in statuses] or None,
            short(name) if function else None,
            short(version) if version else None,
            since,
            until,
            place.created_at if place else None,
            place.id if place else None,
            limit + 1,
        )
        return _page(rows, limit, lambda row: _ExecutionPlace(row["created_at"], row["id"]), *scope)

    async def list_events(
        self, owner_id: str, id_or_prefix: str, *, limit: int = 50, cursor: str | None = None
    ) -> Page:
        """The execution's events, superseded ones too, oldest first.

        Raises NotFound, AmbiguousId, InvalidCursor.
        """
        execution = await self.get_execution_row(owner_id, id_or_prefix)
        scope = ("events", execution.topic, execution.id)
        first = read_cursor(cursor, _EventPlace, *scope).offset if cursor else 0
        rows = await self._fetch("list_events", execution.topic, execution.id, first, limit + 1)
        return _page(rows, limit, lambda row: _EventPlace(row["offset"] + 1), *scope)

    async def list_functions(
        self,
        viewer_id: str,
        *,
        owner: str | None = None,
        name: str | None = None,
        status: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Everybody's public versions and the viewer's own, newest first. Deleted ones only with
        `status="deleted"`. Raises InvalidCursor."""
        scope = ("functions", viewer_id, owner, name, status)
        place = read_cursor(cursor, _FunctionPlace, *scope) if cursor else None
        rows = await self._fetch(
            "list_functions",
            short(viewer_id),
            None if owner is None else short(owner),
            None if name is None else short(name),
            None if status is None else clean(status),
            place.created_at if place else None,
            place.key if place else None,
            place.version if place else None,
            limit + 1,
        )
        return _page(
            rows,
            limit,
            lambda row: _FunctionPlace(row["created_at"], row["key"], row["version"]),
            *scope,
        )

    async def get_function(
        self, viewer_id: str, owner: str, name: str, version: str | None = None
    ) -> bytes:
        """One version as JSON; without `version` the highest built one, and if none is built, the
        highest. Raises NotFound, for deleted versions and others' private ones too."""
        key = f"{owner}/{name}"
        rows = await self._fetch(
            "get_function",
            short(viewer_id),
            short(key),
            None if version is None else short(version),
        )
        if not rows:
            raise NotFound(f"no function {clean(key if version is None else f'{key}:{version}')}")
        body: str = rows[0]["body"]
        return body.encode()

    async def list_agents(self, pool: str | None = None) -> list[dict[str, Any]]:
        """Agents in the shape `Agent`, as the log knows them: `state` is online or left, `running`
        is empty and `seen_at` null (heartbeats know those); each GPU has state, execution, agent.
        """
        rows = await self._fetch("list_agents", None if pool is None else short(pool))
        return [msgspec.json.decode(row["body"]) for row in rows]

    async def output_chunks(self, execution_id: str, attempt: int) -> list[OutputChunk]:
        """The index of an attempt's output by seq, repeated chunks left out; no authorisation."""
        rows = await self._fetch("output_chunks", execution_id, attempt)
        return [OutputChunk(**dict(row)) for row in rows]

    async def projection_status(self, end_offsets: EndOffsets) -> list[ProjectionStatus]:
        """Every projection: running or stopped, its lag in events, its error, its rebuild."""
        return await projection_status(self._pool, end_offsets)

    async def request_rebuild(self, name: str) -> None:
        """Ask the projector to rebuild a projection; progress is in `projection_status`.

        Raises NotFound for an unknown name, AlreadyExists while one is under way.
        """
        if name not in DEFINITIONS:
            raise NotFound(f"no projection {clean(name)[:80]}; there are {', '.join(DEFINITIONS)}")
        if not await request_rebuild(self._pool, name):
            raise AlreadyExists(f"a rebuild of {name} is under way")

    async def _fetch(self, query: str, *values: object) -> list[asyncpg.Record]:
        try:
            rows: list[asyncpg.Record] = await self._pool.fetch(_QUERIES[query], *values)
        except asyncpg.DataError:
            # A time beyond the calendar, or a cursor that somebody made up.
            raise InvalidRequest("a value is beyond what can be looked for") from None
        return rows


def _page(
    rows: Sequence[asyncpg.Record],
    limit: int,
    place: Callable[[asyncpg.Record], msgspec.Struct],
    *scope: object,
) -> Page:
    items = [msgspec.Raw(row["body"].encode()) for row in rows[:limit]]
    more = len(rows) > limit
    return Page(items, write_cursor(place(rows[limit - 1]), *scope) if more else None)
