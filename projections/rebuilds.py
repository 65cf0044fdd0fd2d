"""Rebuilds as rows of a table: asked for by the API, done and reported by the projector."""

from __future__ import annotations

import asyncpg

REBUILDS_CHANNEL = "hermes_rebuilds"
REBUILD_LOCK = 0x4845  # with the projection's hash: one rebuild of it at a time

_REQUEST = f"""
WITH asked AS (
    INSERT INTO hermes.rebuilds AS known (projection, status) VALUES ($1, 'requested')
    ON CONFLICT (projection) DO UPDATE SET
        status = 'requested', events_done = 0, events_total = 0, rows_compared = 0,
        differences = 0, examples = NULL, verified = false, error = NULL
    WHERE known.status IN ('done', 'failed')
    RETURNING projection
)
SELECT pg_notify('{REBUILDS_CHANNEL}', projection)::text FROM asked
"""  # noqa: S608 - a constant


async def request_rebuild(pool: asyncpg.Pool, projection: str) -> bool:
    """Ask for a rebuild; False if one is under way."""
    return await pool.fetchval(_REQUEST, projection) is not None


async def report_rebuild(pool: asyncpg.Pool, projection: str, **values: object) -> None:
    """Set columns of the rebuild's row."""
    columns = ["projection", *values]
    places = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
    changes = ", ".join(f"{name} = excluded.{name}" for name in values)
    await pool.execute(
        f"INSERT INTO hermes.rebuilds ({', '.join(columns)}) VALUES ({places}) "  # noqa: S608
        f"ON CONFLICT (projection) DO UPDATE SET {changes}",
        projection,
        *values.values(),
    )


async def requested_rebuilds(pool: asyncpg.Pool) -> list[str]:
    """Projections whose rebuild nobody has begun."""
    rows = await pool.fetch(
        "SELECT projection FROM hermes.rebuilds WHERE status = 'requested' ORDER BY projection"
    )
    return [row["projection"] for row in rows]


async def fail_dead_rebuilds(pool: asyncpg.Pool) -> None:
    """Mark rebuilds as failed that were begun and that no process works on any more."""
    async with pool.acquire() as connection:
        rows = await connection.fetch(
            "SELECT projection FROM hermes.rebuilds WHERE status IN ('filling', 'verifying')"
        )
        for row in rows:
            async with connection.transaction():
                # Whoever rebuilds holds this lock, and loses it when it dies.
                if await connection.fetchval(
                    "SELECT pg_try_advisory_xact_lock($1, hashtext($2))",
                    REBUILD_LOCK,
                    row["projection"],
                ):
                    await connection.execute(
                        "UPDATE hermes.rebuilds SET status = 'failed', error = $2 "
                        "WHERE projection = $1 AND status IN ('filling', 'verifying')",
                        row["projection"],
                        "the rebuild was interrupted; the old view serves on, start it again",
                    )
