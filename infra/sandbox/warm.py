"""Warm starts: started one-shot sandboxes that wait for their attempt, a few for each function.

Around any `Sandbox`. What waits is never handed out twice, nor when it has died. New ones are
started when nothing else is: they would compete with the starts that somebody waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from uuid import uuid4

import msgspec

from hermes.errors import NotFound
from infra.sandbox.port import LATER, Guarantee, Prepared, Sandbox, SandboxSpec
from infra.sandbox.starts import Starts
from infra.sandbox.warm_demand import Demand, fit, share_out

log = logging.getLogger(__name__)

QUIET = 0.1  # seconds without a start before one beforehand; and
IMPATIENCE = 1.0  # the longest wait for them
LOOK = 5.0  # seconds between looks for those that died waiting or are not needed any more
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds after failed starts, doubled each time

#: Keeps a built function's folder, by artifact, until what it returns is called. Raises NotFound.
Lease = Callable[[str], Callable[[], None]]


class _Waiting:
    def __init__(self, name: str, prepared: Prepared, release: Callable[[], None]) -> None:
        self.name = name
        self.prepared = prepared
        self.release = release


class _Function:
    """What waits for one function, and how it goes with that."""

    def __init__(self, spec: SandboxSpec) -> None:
        self.spec = spec
        self.demand = Demand()
        self.waiting: deque[_Waiting] = deque()
        self.started: asyncio.Future[None] | None = None  # done when the one that starts stands
        self.is_awaited = False
        self.failures = 0
        self.not_before = float("-inf")


class WarmSandboxes:
    """Implements `Sandbox`. At most `budget` sandboxes wait, all functions together."""

    def __init__(
        self,
        inner: Sandbox,
        budget: int,
        keep: Lease,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._budget = budget
        self._keep = keep
        self._clock = clock
        # The least recently used first.
        self._functions: dict[Hashable, _Function] = {}
        self._starts = Starts(clock)
        self._news = asyncio.Event()
        self._upkeep: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """See `Sandbox`."""
        await self._inner.open()
        self._upkeep = asyncio.get_running_loop().create_task(self._tend_for_ever())

    async def prepare(self, spec: SandboxSpec) -> Prepared:
        """See `Sandbox`. One that has waited if there is any, which takes no time."""
        kind = fit(spec) if self._budget > 0 else None
        with self._starts.one():
            if kind is not None:
                if (prepared := await self._warm(self._asked_for(kind, spec), spec)) is not None:
                    return prepared
            return await self._inner.prepare(spec)

    async def probe(self) -> str | None:
        """See `Sandbox`."""
        return await self._inner.probe()

    def guarantees(self) -> list[Guarantee]:
        """See `Sandbox`."""
        return self._inner.guarantees()

    async def reap(self, known_names: Iterable[str]) -> list[str]:
        """See `Sandbox`. What waits here is known."""
        ours = (each.name for one in self._functions.values() for each in one.waiting)
        return await self._inner.reap({*known_names, *ours})

    async def forget(self, function: str) -> None:
        """See `Sandbox`. What waits for it ends, and what is just being started."""
        kinds = [kind for kind, one in self._functions.items() if one.spec.function == function]
        gone = [self._functions.pop(kind) for kind in kinds]
        ending: list[asyncio.Future[None]] = [task for one in gone for task in self._end_all(one)]
        ending += [one.started for one in gone if one.started is not None]
        if ending:
            await asyncio.wait(ending)
        await self._inner.forget(function)

    async def close(self) -> None:
        """See `Sandbox`."""
        if self._upkeep is not None:
            self._upkeep.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._upkeep
        for function in self._functions.values():
            self._end_all(function)
        self._functions.clear()
        if self._ending:
            await asyncio.wait(self._ending)
        await self._inner.close()

    def _asked_for(self, kind: Hashable, spec: SandboxSpec) -> _Function:
        function = self._functions.pop(kind, None) or _Function(spec)
        self._functions[kind] = function
        function.demand.asked(self._starts.last)
        self._news.set()
        return function

    async def _warm(self, function: _Function, spec: SandboxSpec) -> Prepared | None:
        if (prepared := self._take(function, spec)) is not None:
            return prepared
        if function.started is None or function.is_awaited:
            return None
        # One is being started: it will be there sooner than another.
        function.is_awaited = True
        await asyncio.shield(function.started)
        return self._take(function, spec)

    def _take(self, function: _Function, spec: SandboxSpec) -> Prepared | None:
        while function.waiting:
            each = function.waiting.pop()
            try:
                each.prepared.assign(spec)
            except Exception as error:  # out of descriptors, say: nobody else knows of it now
                self._died(function, each, error)
                continue
            function.failures = 0
            log.info("%s runs in %s", spec.name, each.name)
            each.release()  # who asked keeps the folder for the run
            return each.prepared
        return None

    async def _tend_for_ever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), LOOK if self._functions else None)
            self._news.clear()
            more = True
            while more:
                await self._quiet()
                more = await self.tend()

    async def _quiet(self) -> None:
        """Wait until nothing starts, but not for ever."""
        give_up = self._clock() + IMPATIENCE
        while (now := self._clock()) < give_up:
            left = self._starts.quiet_in(QUIET)
            if left <= 0:
                return
            await asyncio.sleep(min(left, give_up - now))

    async def tend(self) -> bool:
        """One step of upkeep: end what is too much, or start one that is missing.

        Whether there may be more to do.
        """
        now = self._clock()
        recent = list(reversed(self._functions.items()))
        shares = share_out([one.demand.wanted(now) for _, one in recent], self._budget)
        for (kind, function), share in zip(recent, shares, strict=True):
            self._lessen(function, share)
            if share == 0:
                del self._functions[kind]
        if self._ending:
            await asyncio.wait(self._ending)
            return True
        for (kind, function), share in zip(recent, shares, strict=True):
            if len(function.waiting) < share and function.not_before <= now:
                await self._start_one(kind, function)
                return True
        return False

    def _lessen(self, function: _Function, share: int) -> None:
        for each in [each for each in function.waiting if not each.prepared.waits]:
            function.waiting.remove(each)
            self._died(function, each, "it waits no more")
        while len(function.waiting) > share:
            self._discard(function.waiting.popleft())

    async def _start_one(self, kind: Hashable, function: _Function) -> None:
        function.started = asyncio.get_running_loop().create_future()
        function.is_awaited = False
        name = f"warm-{uuid4()}"
        spec = msgspec.structs.replace(function.spec, name=name, stdin=LATER, held_fds=())
        try:
            each = await self._started(spec)
            if self._functions.get(kind) is function:
                function.waiting.append(each)
            else:  # its function was forgotten meanwhile
                await asyncio.wait({self._discard(each)})
        except NotFound:  # gone from this host; whoever asks next has it fetched
            if self._functions.get(kind) is function:
                del self._functions[kind]
            self._end_all(function)
        except Exception as error:  # whatever it is, it must not take the agent with it
            self._failed(function)
            log.warning("no sandbox waits for %s for now: %r", spec.function, error)
        finally:
            function.started.set_result(None)
            function.started = None

    async def _started(self, spec: SandboxSpec) -> _Waiting:
        release = self._keep(spec.artifact) if spec.artifact else _nothing
        try:
            return _Waiting(spec.name, await self._inner.prepare(spec), release)
        except BaseException:
            release()
            raise

    def _died(self, function: _Function, each: _Waiting, why: object) -> None:
        log.warning("%s, which waited for %s, is dead: %s", each.name, function.spec.function, why)
        self._failed(function)
        self._discard(each)

    def _failed(self, function: _Function) -> None:
        function.failures += 1
        pause = min(FIRST_PAUSE * 2 ** (function.failures - 1), LONGEST_PAUSE)
        function.not_before = self._clock() + pause

    def _end_all(self, function: _Function) -> list[asyncio.Task[None]]:
        gone, function.waiting = function.waiting, deque()
        return [self._discard(each) for each in gone]

    def _discard(self, each: _Waiting) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(_end(each))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task


async def _end(each: _Waiting) -> None:
    try:
        await each.prepared.close()
    except Exception as error:  # it may still show the folder, which therefore stays
        log.error("%s does not end: %r", each.name, error)
    else:
        each.release()


def _nothing() -> None:
    """No artifact, nothing to keep."""
