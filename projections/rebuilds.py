"""Rebuilds as rows of a table: asked for by the API, done and reported by the projector."""

from __future__ import annotations

import asyncpg

REBUILDS_CHANNEL = "hermes_rebuilds"

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
