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
from collections.abc import Awaitable, Callable

from infra.sandbox.starts import Starts

log = logging.getLogger(__name__)

QUIET = 0.1  # seconds in which nothing was started
LONGEST = 5.0  # seconds that one stays at most
MOST = 64  # that stay; beyond it the oldest leaves
TURN = 1.0  # seconds that one may take before the next begins
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds after a failed end, doubled each time


class Staying:
    """One that has ended: how to end what is left of it, again if that fails, and then, once, to
    give back what it held."""

    def __init__(
        self, since: float, end: Callable[[], Awaitable[None]], give_back: Callable[[], None]
    ) -> None:
        self.since = since
        self._end = end
        self._give_back = give_back

    async def leave(self) -> None:
        """Until it is gone. What does not die keeps what it holds."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._end()
                break
            except Exception as error:
                log.error("a container does not leave: %s", error or repr(error))
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        self._give_back()


class Departures:
    """Those that have ended and not left yet."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._staying: deque[Staying] = deque()
        self._leaving: set[asyncio.Task[None]] = set()
        #: The engine's, and those of programs: others may be about to follow.
        self.starts = Starts(clock)
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, end: Callable[[], Awaitable[None]], give_back: Callable[[], None]) -> None:
        """One has ended."""
        self._staying.append(Staying(self._clock(), end, give_back))
        self._news.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._see_them_off())

    async def flush(self, patience: float) -> None:
        """Have all of them leave now. Returns after `patience` seconds at the latest."""
        while self._staying:
            self._see_off()
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=patience)

    async def close(self, patience: float) -> None:
        """As `flush`; what has not left then is not waited for any more."""
        await self.flush(patience)
        for task in self._leaving:
            task.cancel()
        if self._leaving:
            await asyncio.wait(self._leaving)

    async def _see_them_off(self) -> None:
        while self._staying:
            self._news.clear()
            if (pause := self._pause()) > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), pause)
                continue
            await asyncio.wait({self._see_off()}, timeout=TURN)
            self.starts.note()  # the engine is busy with it for as long as with a start

    def _see_off(self) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._staying.popleft().leave())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

    def _pause(self) -> float:
        """Seconds until another look; 0: the oldest leaves now."""
        if len(self._staying) > MOST:
            return 0.0
        longest = self._staying[0].since + LONGEST - self._clock()
        return max(0.0, min(self.starts.quiet_in(QUIET), longest))
