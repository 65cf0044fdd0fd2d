"""This host's GPUs: leased to one attempt each, looked after, and out of service while unwell.

A GPU is examined while its lock is held: after each attempt before anybody else may have it, and
every `recheck` seconds while nobody has it. Errors that the driver reports count at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from infra.gpu import GpuBusy, GpuCondition, GpuLibrary, GpuReading, HostGpu, Xid, lock
from infra.gpu.calls import GpuThread
from infra.sandbox.port import GpuUnavailable
from streams.agent.gpu_events import XidWatch
from streams.agent.gpu_health import XIDS_OF_PROGRAMS, Finding, examine, xid_reason
from streams.agent.gpu_meter import GpuMeter, GpuUse
from streams.agent.gpu_reports import Reports

log = logging.getLogger(__name__)

LOCK_PATIENCE = 10.0
"""Seconds that a lease waits for an earlier sandbox to let go of the GPU."""
_LOCK_LOOK = 0.02
_ASK = 5.0
_LOOK = 2.0
_LINGER = 5.0
"""Seconds in which the driver may still list a process that has died."""
_QUIET = 300.0
"""Seconds without an error that make up for a driver that cannot tell whether a GPU is well."""
_LONGEST_PAUSE = 3600.0


class _Kept:
    """One GPU. `reason` is why it is out of service; `not_before` is when to ask again. `adopted`:
    only the log says that reason. `restoring`: the log may still say one that is none any more."""

    def __init__(self, gpu: HostGpu) -> None:
        self.gpu = gpu
        self.uuid = gpu.gpu.uuid
        self.thread = GpuThread(f"gpu-{self.uuid}")
        self.reason: str | None = None
        self.adopted = False
        self.restoring = False
        self.leased = False
        self.uncorrected: int | None = None
        self.last_xid: float | None = None
        self.faults = 0
        self.not_before = 0.0

    def missing_node(self) -> str | None:
        """Why no program can open it, if so."""
        missing = [node for node in self.gpu.devices if not Path(node).exists()]
        return f"{missing[0]} is missing" if missing else None


class GpuLease:
    """Some GPUs, for one attempt alone. Call `close` in any case, when its sandbox is gone."""

    def __init__(self, keeper: GpuKeeper, gpus: Sequence[_Kept]) -> None:
        self._keeper = keeper
        self._gpus = tuple(gpus)
        self._locks: list[int] = []
        self._meter: GpuMeter | None = None
        self._has_failed = False

    @property
    def uuids(self) -> tuple[str, ...]:
        """In the order that was asked for."""
        return tuple(kept.uuid for kept in self._gpus)

    @property
    def locks(self) -> tuple[int, ...]:
        """Descriptors for the sandbox to hold: the GPUs stay taken until all copies are closed."""
        return tuple(self._locks)

    @property
    def devices(self) -> tuple[str, ...]:
        """The device nodes that a program needs for them."""
        return tuple(dict.fromkeys(node for kept in self._gpus for node in kept.gpu.devices))

    async def take(self) -> None:
        """Lock them. Raises GpuUnavailable."""
        for kept in self._gpus:
            self._locks.append(await self._keeper.lock(kept))
            kept.leased = True

    def start(self) -> None:
        """The program starts now."""
        self._meter = self._keeper.meter(self._gpus)
        self._meter.start()

    async def finish(self) -> GpuUse:
        """The program has ended and no process of it lives: what it used. A GPU that is unwell now
        is out of service before this returns."""
        if self._meter is None:
            return GpuUse()
        use = await self._meter.stop()
        if not self._has_failed:
            await asyncio.gather(*map(self._keeper.check, self._gpus))
        self._meter = None
        return use

    async def fail(self, reason: str) -> None:
        """The sandbox could not be given them, or cannot be rid of them: out of service."""
        if not self._has_failed:
            self._has_failed = True
            await asyncio.gather(*(self._keeper.fail(kept, reason) for kept in self._gpus))

    async def close(self) -> None:
        """Check what was not checked, and let go."""
        try:
            await self.finish()
        finally:
            for kept, descriptor in zip(self._gpus, self._locks, strict=False):
                kept.leased = False
                os.close(descriptor)
            self._locks.clear()


class GpuKeeper:
    """`recheck` in seconds. `watch` must run for as long as leases are given."""

    def __init__(
        self,
        library: GpuLibrary,
        gpus: Mapping[str, HostGpu],
        reports: Reports,
        recheck: float = 30.0,
    ) -> None:
        self.gpus = dict(gpus)
        self._library = library
        self._reports = reports
        self._recheck = recheck
        self._kept = {uuid: _Kept(gpu) for uuid, gpu in gpus.items()}

    @property
    def drained(self) -> dict[str, str]:
        """Those out of service, as known here: by UUID, why."""
        return {uuid: kept.reason for uuid, kept in self._kept.items() if kept.reason is not None}

    async def lease(self, uuids: Sequence[str]) -> GpuLease:
        """These GPUs, all or none. Raises GpuUnavailable, having taken out of service what should
        have been free and was not."""
        unknown = [uuid for uuid in uuids if uuid not in self._kept]
        if unknown:
            raise GpuUnavailable(f"this host has no GPU {', '.join(unknown)}")
        lease = GpuLease(self, [self._kept[uuid] for uuid in uuids])
        try:
            await lease.take()
        except BaseException:
            await lease.close()
            raise
        return lease

    def is_unused(self, uuid: str) -> bool:
        """Whether it is one of this host's, and no sandbox of any agent has it now."""
        if uuid not in self._kept:
            return False
        try:
            os.close(lock(uuid))
        except (GpuBusy, OSError):
            return False
        return True

    async def lock(self, kept: _Kept) -> int:
        """The descriptor that holds it. Raises GpuUnavailable."""
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            self._drop_adopted(kept)
            if (reason := kept.reason) is not None:
                if kept.uuid not in self._reports.drained():
                    # Another agent of this host has said that it is well. What the log takes for
                    # well is scheduled again and again, and each time an attempt is used up.
                    await self._reports.drain(kept.uuid, reason)
                raise GpuUnavailable(f"GPU {kept.uuid} is out of service: {reason}")
            try:
                descriptor = lock(kept.uuid)
            except GpuBusy:
                if time.monotonic() < deadline:
                    await asyncio.sleep(_LOCK_LOOK)
                    continue
                reason = "another sandbox of this host holds it"
            except OSError as error:
                reason = f"it cannot be locked: {error}"
            else:
                missing = kept.missing_node()
                if missing is None:
                    return descriptor
                os.close(descriptor)
                reason = missing
            await self._drain(kept, reason)
            raise GpuUnavailable(f"GPU {kept.uuid}: {reason}")

    def meter(self, gpus: Sequence[_Kept]) -> GpuMeter:
        """Measures these together."""
        return GpuMeter([partial(self._read, kept) for kept in gpus])

    async def check(self, kept: _Kept) -> None:
        """Its attempt is over, and its lock is still held."""
        finding = await self._examine(kept, linger=_LINGER)
        if finding.reason is not None:
            await self._drain(kept, finding.reason)
        elif kept.reason is None:
            kept.faults = 0

    async def fail(self, kept: _Kept, reason: str) -> None:
        """A sandbox could not use it, or keeps it, though the driver may find it well: each time
        it takes longer until it is tried again."""
        kept.faults += 1
        pause = min(self._recheck * 2 ** min(kept.faults, 7), _LONGEST_PAUSE)
        kept.not_before = time.monotonic() + pause
        await self._drain(kept, reason)

    async def watch(self) -> None:
        """Look after them, for ever."""
        await asyncio.gather(self._follow_xids(), self._recheck_for_ever())

    def close(self) -> None:
        """No lease is left, and `watch` has ended."""
        for kept in self._kept.values():
            kept.thread.close()

    async def _follow_xids(self) -> None:
        if not self._kept:
            await asyncio.Event().wait()
        async with XidWatch(self._library) as xids:
            while True:
                xid = await xids.next()
                if xid is None:
                    await self._recheck_all()
                else:
                    await self._reported(xid)

    async def _reported(self, xid: Xid) -> None:
        log.warning("the driver reports of GPU %s: %s", xid.uuid, xid_reason(xid.code))
        if xid.code in XIDS_OF_PROGRAMS:
            return
        for kept in self._kept.values():
            if xid.concerns(kept.gpu):
                kept.last_xid = time.monotonic()
                # The driver may take a moment until it says what the error calls for.
                kept.not_before = max(kept.not_before, kept.last_xid + self._recheck)
                await self._drain(kept, xid_reason(xid.code))

    async def _recheck_for_ever(self) -> None:
        while True:
            await self._recheck_all()
            await asyncio.sleep(self._recheck)

    async def _recheck_all(self) -> None:
        await asyncio.gather(*map(self._recheck_one, self._kept.values()))

    async def _recheck_one(self, kept: _Kept) -> None:
        said = self._reports.drained().get(kept.uuid)
        self._drop_adopted(kept)
        if kept.reason is None and said is not None and not kept.restoring:
            # By an earlier agent, or another one of this host: a restart heals no GPU.
            kept.reason, kept.adopted = said, True
            kept.last_xid = time.monotonic()
        is_unsaid = kept.reason is not None and said is None
        if not kept.leased and time.monotonic() >= kept.not_before:
            await self._examine_idle(kept)
        if is_unsaid and kept.reason is not None:
            await self._reports.drain(kept.uuid, kept.reason)

    def _drop_adopted(self, kept: _Kept) -> None:
        """What only the log said is over when the log says so: another agent has looked at it."""
        if kept.adopted and kept.uuid not in self._reports.drained():
            kept.reason, kept.adopted = None, False

    async def _examine_idle(self, kept: _Kept) -> None:
        try:
            descriptor = lock(kept.uuid)
        except (GpuBusy, OSError):
            return  # a sandbox has it, perhaps one that an earlier agent has left
        try:
            finding = await self._examine(kept, linger=0.0)
        finally:
            os.close(descriptor)
        if finding.reason is not None:
            await self._drain(kept, finding.reason)
        elif time.monotonic() < kept.not_before:
            return  # the driver has reported an error meanwhile, and may say more of it soon
        elif kept.reason is not None and self._is_quiet(kept, finding):
            log.warning("GPU %s is back in service, after: %s", kept.uuid, kept.reason)
            kept.reason, kept.adopted = None, False
            kept.uncorrected = finding.uncorrected
            kept.restoring = True
            try:
                await self._reports.restore(kept.uuid)
            finally:
                kept.restoring = False

    def _is_quiet(self, kept: _Kept, finding: Finding) -> bool:
        if finding.tells_needs or kept.last_xid is None:
            return True
        return time.monotonic() - kept.last_xid >= _QUIET

    async def _examine(self, kept: _Kept, linger: float) -> Finding:
        # What is out of service already is judged by what is wrong now, not by what was.
        before = kept.uncorrected if kept.reason is None else None
        finding = await examine(partial(self._ask, kept), before=before, linger=linger)
        if finding.reason is None and (missing := kept.missing_node()) is not None:
            return Finding(missing)
        if kept.uncorrected is None and finding.reason is None:
            kept.uncorrected = finding.uncorrected
        return finding

    async def _drain(self, kept: _Kept, reason: str) -> None:
        if kept.reason is not None:
            kept.adopted = False  # it has been found here too
            return
        kept.reason = reason
        log.error("GPU %s is out of service: %s", kept.uuid, reason)
        await self._reports.drain(kept.uuid, reason)

    async def _ask(self, kept: _Kept) -> GpuCondition:
        question = partial(self._library.condition, kept.uuid)
        return await kept.thread.ask(question, _ASK)

    async def _read(self, kept: _Kept) -> GpuReading:
        question = partial(self._library.sample, kept.uuid)
        return await kept.thread.ask(question, _LOOK)
