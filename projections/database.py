"""Connections to PostgreSQL as projections use them."""

from __future__ import annotations

import asyncpg

# Times go in and out as UTC whatever the server's default; a hung server must not hang us.
_SESSION = {"timezone": "UTC", "application_name": "hermes-projector"}


async def open_writers(
    database_url: str, size: int = 8, command_timeout: float | None = 60.0
) -> asyncpg.Pool:
    """A pool for who writes views; a command ends with TimeoutError after `command_timeout`.

    Commits need not reach the disk at once: the checkpoint is in the same transaction, so what a
    crash takes back is read from the log again.
    """
    return await asyncpg.create_pool(
        database_url,
        min_size=1,
        max_size=size,
        timeout=5,
        command_timeout=command_timeout,
        reset=_leave,
        server_settings={**_SESSION, "synchronous_commit": "off"},
    )


async def _leave(_connection: asyncpg.Connection) -> None:
    """Nothing to reset: what sets session state here undoes it, and the usual reset would cost
    each write a second round trip."""
