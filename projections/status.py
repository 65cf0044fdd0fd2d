"""How the projections are: running or stopped, how far behind the log, and being rebuilt or not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import asyncpg
import msgspec

from projections.queries import load_queries

Partition = tuple[str, int]
EndOffsets = Callable[[Sequence[Partition]], Awaitable[Mapping[Partition, int]]]

_QUERIES = load_queries()


class RebuildProgress(msgspec.Struct, frozen=True, kw_only=True):
    """`status`: requested, filling, verifying, done or failed. `differences` counts rows in which
    the old generation differed from the log; `verified`: the new one was checked and serves."""

    status: str
    events_done: int
    events_total: int
    rows_compared: int
    differences: int
    verified: bool
    error: str | None


class ProjectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`status`: running or stopped (an event could not be applied, see `error`). `lag` counts
    records that are not applied yet."""

    name: str
    status: str
    lag: int
    error: str | None
    rebuild: RebuildProgress | None


async def projection_status(pool: asyncpg.Pool, end_offsets: EndOffsets) -> list[ProjectionStatus]:
    """Every projection, by name. `end_offsets` says where partitions end."""
    checkpoints = await pool.fetch(_QUERIES["checkpoints"])
    projections = await pool.fetch(_QUERIES["projections"])
    # Ends are asked for after the checkpoints: a lag is never less than none.
    ends = await end_offsets(sorted({(row["topic"], row["partition"]) for row in checkpoints}))
    found = []
    for projection in projections:
        mine = [row for row in checkpoints if row["projection"] == projection["name"]]
        errors = [row["error"] for row in mine if row["error"] is not None]
        lag = sum(
            max(0, ends.get((row["topic"], row["partition"]), 0) - row["next_offset"])
            for row in mine
        )
        found.append(
            ProjectionStatus(
                name=projection["name"],
                status="stopped" if errors else "running",
                lag=lag,
                error="; ".join(errors) or None,
                rebuild=_progress(projection),
            )
        )
    return found


def _progress(row: asyncpg.Record) -> RebuildProgress | None:
    if row["status"] is None:
        return None
    return RebuildProgress(**{name: row[name] for name in RebuildProgress.__struct_fields__})
