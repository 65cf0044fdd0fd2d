"""What an attempt uses of its GPUs, by looking at them every half second while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from hermes.domain.resources import MAX_GPU_SAMPLES, GpuSample
from infra.gpu import GpuFault, GpuReading

log = logging.getLogger(__name__)

Look = Callable[[], Awaitable[GpuReading]]

INTERVAL = 0.5
"""Seconds between two looks; the first few follow each other faster, for short runs."""
_FIRST = 0.05


class GpuUse(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes and joules of all GPUs together, their mean utilisation from 0 to 1; None: unknown."""

    peak_memory: int | None = None
    utilisation: float | None = None
    energy: float | None = None
    samples: tuple[GpuSample, ...] | None = None


class _Span(msgspec.Struct, frozen=True):
    """Means over `seconds` that end at `end`, seconds after the start."""

    end: float
    seconds: float
    utilisation: float
    memory: float
    power: float | None

    def joined(self, later: _Span) -> _Span:
        """Both as one."""
        seconds = self.seconds + later.seconds

        def mean(one: float, other: float) -> float:
            return (one * self.seconds + other * later.seconds) / seconds

        known = self.power is not None and later.power is not None
        return _Span(
            later.end,
            seconds,
            mean(self.utilisation, later.utilisation),
            mean(self.memory, later.memory),
            mean(self.power or 0.0, later.power or 0.0) if known else None,
        )


class _Seen(msgspec.Struct, frozen=True):
    """All GPUs at one time."""

    time: float
    readings: tuple[GpuReading, ...]

    @property
    def memory(self) -> int:
        return sum(one.memory for one in self.readings)

    @property
    def utilisation(self) -> float | None:
        known = [one.utilisation for one in self.readings if one.utilisation is not None]
        return sum(known) / len(known) if len(known) == len(self.readings) else None

    @property
    def power(self) -> float | None:
        known = [one.power for one in self.readings if one.power is not None]
        return sum(known) if len(known) == len(self.readings) else None

    @property
    def energy(self) -> float | None:
        known = [one.energy for one in self.readings if one.energy is not None]
        return sum(known) if len(known) == len(self.readings) else None


class GpuMeter:
    """`looks` has one question for each GPU. A look that fails is left out."""

    def __init__(self, looks: Sequence[Look], clock: Callable[[], float] = time.monotonic) -> None:
        self._looks = looks
        self._clock = clock
        self._began = 0.0
        self._first: _Seen | None = None
        self._last: _Seen | None = None
        self._peak: int | None = None
        self._integrated: float | None = 0.0
        self._spans: list[_Span] = []
        self._failed = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """The program starts now."""
        self._began = self._clock()
        if self._looks:
            self._task = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> GpuUse:
        """The program has ended: what it used."""
        if self._task is None:
            return GpuUse()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        before = self._last
        end = await self._see()
        if end is None:
            end = before
        elif before is not None:
            # Its memory is given back by now; how busy the GPU was and what it took are not.
            self._count(end, before, before.memory)
        return self._use(end)

    async def _watch(self) -> None:
        pause = _FIRST
        while True:
            seen = await self._see()
            if seen is not None:
                self._peak = max(self._peak or 0, seen.memory)
                if self._last is None:
                    self._first = seen
                else:
                    self._count(seen, self._last, seen.memory)
                self._last = seen
            await asyncio.sleep(pause)
            pause = min(INTERVAL, 2 * pause)

    async def _see(self) -> _Seen | None:
        try:
            readings = await asyncio.gather(*(look() for look in self._looks))
        except GpuFault as error:
            if not self._failed:
                log.warning("a GPU cannot be measured now: %s", error)
            self._failed = True
            return None
        return _Seen(self._clock() - self._began, tuple(readings))

    def _count(self, seen: _Seen, before: _Seen, memory: int) -> None:
        seconds = seen.time - before.time
        if seconds <= 0:
            return
        power = seen.power
        if power is None or before.power is None or self._integrated is None:
            self._integrated = None
        else:
            self._integrated += (power + before.power) / 2 * seconds
        if seen.utilisation is None:
            return
        self._spans.append(_Span(seen.time, seconds, seen.utilisation, memory, power))
        if len(self._spans) > 2 * MAX_GPU_SAMPLES:
            self._spans = _halved(self._spans)

    def _use(self, end: _Seen | None) -> GpuUse:
        spans = self._spans
        total = sum(span.seconds for span in spans)
        busy = sum(span.utilisation * span.seconds for span in spans)
        while len(spans) > MAX_GPU_SAMPLES:
            spans = _halved(spans)
        return GpuUse(
            peak_memory=self._peak,
            utilisation=min(1.0, busy / total) if total else None,
            energy=self._energy(end),
            samples=tuple(map(_sample, spans)) or None,
        )

    def _energy(self, end: _Seen | None) -> float | None:
        if self._first is None or end is None or end is self._first:
            return None
        first, last = self._first.energy, end.energy
        if first is not None and last is not None and last >= first:
            return last - first
        return self._integrated


def _halved(spans: list[_Span]) -> list[_Span]:
    pairs = [one.joined(other) for one, other in zip(spans[::2], spans[1::2], strict=False)]
    return pairs + spans[len(pairs) * 2 :]


def _sample(span: _Span) -> GpuSample:
    return GpuSample(
        time=round(span.end, 3),
        utilisation=round(span.utilisation, 3),
        memory=round(span.memory),
        power=None if span.power is None else round(span.power, 1),
    )
