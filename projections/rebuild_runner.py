"""Starts the rebuilds that were asked for, one at a time, each as a process of its own: folding a
long log must not slow down the projector that serves meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys

import asyncpg

from projections.faults import end_if_cancelled, is_passing
from projections.listening import keep_listening
from projections.rebuilds import (
    REBUILDS_CHANNEL,
    fail_dead_rebuilds,
    report_rebuild,
    requested_rebuilds,
)

log = logging.getLogger(__name__)

_PATIENCE = 3.0
_PAUSE = 1.0


class RebuildRunner:
    """Runs until cancelled."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._asked = asyncio.Event()

    async def run(self) -> None:
        """Serve requests, those that nobody heard too."""
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_listening(self._pool, REBUILDS_CHANNEL, self._hear, self._look))
            group.create_task(self._serve())

    def _hear(self, _payload: str) -> None:
        self._asked.set()

    async def _look(self) -> None:
        self._asked.set()

    async def _serve(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await fail_dead_rebuilds(self._pool)
                for name in await requested_rebuilds(self._pool):
                    await self._run(name)
            except Exception as error:
                end_if_cancelled()
                if not is_passing(error):
                    raise
                log.warning("rebuilds: %r", error)
                await asyncio.sleep(_PAUSE)
                self._asked.set()

    async def _run(self, name: str) -> None:
        log.info("rebuilding %s", name)
        await report_rebuild(self._pool, name, status="filling")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "projections.rebuild", name, stdin=asyncio.subprocess.DEVNULL
        )
        try:
            await process.wait()
        finally:
            if process.returncode is None:
                await _end(process)
        await fail_dead_rebuilds(self._pool)
        log.info("the rebuild of %s ended with status %s", name, process.returncode)


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _PATIENCE)
    except TimeoutError:
        process.kill()
        await process.wait()
