"""LISTEN on a connection of its own, again and again, whatever happens to the database."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import asyncpg

from projections.faults import end_if_cancelled, is_passing

log = logging.getLogger(__name__)

_PAUSE = 0.5


async def keep_listening(
    pool: asyncpg.Pool,
    channel: str,
    hear: Callable[[str], None],
    connected: Callable[[], Awaitable[None]],
) -> None:
    """Call `hear` with every notification's payload, until cancelled; `connected` each time that
    listening begins (again), for what was missed."""
    while True:
        try:
            async with pool.acquire() as connection:
                await _listen(connection, channel, hear, connected)
        except Exception as error:
            end_if_cancelled()
            if not is_passing(error):
                raise
            log.warning("not listening on %s: %r", channel, error)
        await asyncio.sleep(_PAUSE)


async def _listen(
    connection: asyncpg.Connection,
    channel: str,
    hear: Callable[[str], None],
    connected: Callable[[], Awaitable[None]],
) -> None:
    lost = asyncio.Event()

    def ended(_: object) -> None:
        lost.set()

    def heard(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        hear(str(payload))

    connection.add_termination_listener(ended)
    await connection.add_listener(channel, heard)
    try:
        await connected()
        await lost.wait()
    finally:
        connection.remove_termination_listener(ended)
        # On a connection that just broke this fails, or hangs; it is gone with it anyway.
        with contextlib.suppress(Exception):
            await asyncio.wait_for(connection.remove_listener(channel, heard), _PAUSE)
