"""Requests of one kind that wait for each other, so that many at once gain nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """At most `at_once` are under way per name; the others wait, first come, first served."""

    def __init__(self, at_once: int = 1) -> None:
        self._at_once = at_once
        self._busy: dict[tuple[str, ...], tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def of(self, name: tuple[str, ...]) -> AsyncIterator[None]:
        """Wait for a turn, and hold it while the block runs."""
        places, users = self._busy.get(name, (asyncio.Semaphore(self._at_once), 0))
        self._busy[name] = (places, users + 1)
        try:
            async with places:
                yield
        finally:
            places, users = self._busy[name]
            if users == 1:
                del self._busy[name]
            else:
                self._busy[name] = (places, users - 1)
