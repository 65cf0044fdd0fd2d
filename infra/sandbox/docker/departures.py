"""Containers whose program has ended leave when the engine has nothing better to do.

Removing a container takes the engine a third of the work of starting one, so a removal right at the
end of a run holds up the runs that follow. What stays is process 1, idle, and a few pages.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator

from infra.sandbox.port import Undying

log = logging.getLogger(__name__)

QUIET = 0.1  # seconds in which nothing was started
LONGEST = 5.0  # seconds that one stays at most
MOST = 64  # that stay; beyond it the oldest leaves

#: Ends one and gives back what it held. Raises Undying, and may be asked again then.
Leave = Callable[[], Awaitable[None]]


class Departures:
    """Those that have ended and not left yet."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._staying: deque[tuple[float, Leave]] = deque()
        self._starting = 0
        self._last_start = float("-inf")
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def started(self) -> None:
        """A program was let go: others may be about to."""
        self._last_start = self._clock()

    @contextlib.contextmanager
    def start(self) -> Iterator[None]:
        """While the engine is starting a container."""
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1
            self.started()

    def add(self, leave: Leave) -> None:
        """One has ended."""
        self._staying.append((self._clock(), leave))
        self._news.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._see_them_off())

    async def flush(self) -> None:
        """Have all of them leave now, but for those that do not die."""
        while self._staying:
            await _see_off(self._staying.popleft()[1])
        if self._task is not None:
            self._news.set()
            await self._task

    async def _see_them_off(self) -> None:
        while self._staying:
            self._news.clear()
            if (pause := self._pause()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), pause)
                continue
            _, leave = self._staying.popleft()
            if not await _see_off(leave):
                self._staying.append((self._clock(), leave))
            self.started()  # the engine is busy with it for as long as with a start

    def _pause(self) -> float:
        """Seconds until another look; 0: the oldest leaves now."""
        if len(self._staying) > MOST:
            return 0.0
        now = self._clock()
        quiet = QUIET if self._starting else self._last_start + QUIET - now
        return max(0.0, min(quiet, self._staying[0][0] + LONGEST - now))


async def _see_off(leave: Leave) -> bool:
    """Whether that is over and done with. What does not die keeps what it holds until it does."""
    try:
        await leave()
    except Undying as error:
        log.error("%s", error)
        return False
    except Exception as error:
        log.error("a container does not leave: %r", error)
    return True
