"""One attempt, from `scheduled` to `finished`: prepare beside the claim, go, pump, judge, report.

The sandbox is set up while the claim is on its way, unless one has waited for it; the program
starts only when the fold has accepted the claim. Every way out closes the sandbox, and everything
but a fencing ends in an event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import AsyncExitStack
from typing import Any, Literal

from aiokafka.errors import KafkaError

from hermes.domain import events as ev
from hermes.domain.execution import AttemptState, ExecutionState
from hermes.domain.resources import Usage
from hermes.errors import HermesError, LogUnavailable, NotFound, UserError
from infra.sandbox.port import GpuUnavailable, KillReason, Prepared, SandboxExit, Undying
from infra.toolchain.model import Toolchain, ToolchainMissing
from streams.agent.build import keep_artifact
from streams.agent.gpu_keeper import GpuLease
from streams.agent.gpu_meter import GpuUse
from streams.agent.host import Host
from streams.agent.pump import OutputPump
from streams.agent.specs import build_spec, run_spec
from streams.agent.verdict import outcome_of
from streams.log import new_event
from streams.output import partition_of

log = logging.getLogger(__name__)

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for a cancelled program."""
LONGEST_PAUSE = 10.0
"""Seconds between a fault of this host and the return of the attempt that met it."""
_STOPPED = f"{ev.HOST_FAULT}the agent stopped before the program started"
_UNDYING = "a process of a run does not die"
Stop = Literal["cancelled", "fenced", "shutdown"]


class Attempt:
    """See the module. The role calls `claim_accepted`, `cancel`, `fence`; `run` is its task."""

    def __init__(self, host: Host, execution: ExecutionState, attempt: AttemptState) -> None:
        self._host = host
        self._execution = execution
        self.number = attempt.attempt
        self._gpus = attempt.gpus
        self._claimed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._preparing: asyncio.Future[Prepared] | None = None
        self._prepared: Prepared | None = None
        self._running = False
        self._start_is_told = False
        self._stop: Stop | None = None
        self._halted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._kills: set[asyncio.Future[None]] = set()
        self._toolchain: Toolchain | None = None
        self._lease: GpuLease | None = None
        self._use = GpuUse()

    @property
    def is_claimed(self) -> bool:
        """Whether the fold has accepted our claim."""
        return self._claimed.done() and self._claimed.result()

    def claim_accepted(self) -> None:
        """The fold has our claim."""
        if not self._claimed.done():
            self._claimed.set_result(True)

    def cancel(self) -> None:
        """Its owner wants it to end."""
        self._halt("cancelled")

    def fence(self) -> None:
        """The log no longer gives us this attempt: end it and say nothing."""
        self._halt("fenced")

    def shut_down(self) -> None:
        """The agent stops; the scheduler will call the attempt lost, if its program ran."""
        self._halt("shutdown")

    def _halt(self, stop: Stop) -> None:
        # The role repeats itself on every tick; a program gets one SIGTERM, and a harder end only.
        if self._stop is not None and (stop == "cancelled" or self._stop != "cancelled"):
            return
        self._stop = stop
        if not self._halted.done():
            self._halted.set_result(None)
        if stop != "cancelled" and not self._claimed.done():
            self._claimed.set_result(False)
        if self._preparing is not None:
            self._preparing.cancel()
        if self._running and self._prepared is not None:
            if stop == "cancelled":
                self._kill(self._prepared, "cancelled", GRACE)
            else:
                self._kill(self._prepared, "shutdown")

    def _kill(self, prepared: Prepared, reason: KillReason, grace: float = 0.0) -> None:
        # The loop itself keeps no hold of its tasks.
        task = asyncio.ensure_future(prepared.kill(reason, grace))
        self._kills.add(task)
        task.add_done_callback(self._kills.discard)

    async def run(self) -> None:
        """Claim, run, report."""
        async with AsyncExitStack() as stack:
            preparing = self._preparing = asyncio.ensure_future(self._prepare(stack))
            if self._stop is not None:
                preparing.cancel()
            try:
                await self._claim_and_run(preparing)
                if self._stop == "shutdown" and self._start_is_told and not self._running:
                    # The log has it as started, or will: no retry is used up by what never ran.
                    await self._give_back(_STOPPED)
            finally:
                # What it opened is on the stack only once it has ended.
                await _settle(preparing)

    async def _claim_and_run(self, preparing: asyncio.Future[Prepared]) -> None:
        await asyncio.sleep(0)  # by then a sandbox that has waited is ready
        is_ready = self._stop is None and _is_ready(preparing)
        await self._append(
            ev.ExecutionClaimed(
                execution_id=self._execution.id,
                attempt=self.number,
                agent=self._host.settings.agent,
                incarnation=self._host.incarnation,
            )
        )
        if is_ready:
            # In the claim's own request; where that is not accepted, neither is this.
            await self._tell_start()
        if not await self._claimed:
            return
        await asyncio.wait({preparing})
        if self._stop == "cancelled":
            await self._report_unprepared(None)
        elif self._stop is None:
            try:
                prepared = preparing.result()
            except HermesError as error:
                await self._report_unprepared(error)
            else:
                await self._execute(prepared)

    async def _prepare(self, stack: AsyncExitStack) -> Prepared:
        if self._execution.kind == "build":
            ready = await build_spec(self._host, self._execution, self.number, stack)
        else:
            ready = await run_spec(self._host, self._execution, self.number, self._gpus, stack)
        self._toolchain, self._lease = ready.toolchain, ready.lease
        try:
            prepared = await self._host.sandbox.prepare(ready.spec)
        except GpuUnavailable as error:
            await self._fail_gpus(_sentence(error))
            raise
        stack.push_async_callback(self._close, prepared)
        self._prepared = prepared
        if ready.input is not None:
            await ready.input.arrived()
        return prepared

    async def _close(self, prepared: Prepared) -> None:
        try:
            await prepared.close()
        except Undying:
            await self._fail_gpus(_UNDYING)
            raise

    async def _fail_gpus(self, reason: str) -> None:
        if self._lease is not None:
            await self._lease.fail(reason)

    async def _tell_start(self) -> None:
        if self._start_is_told:
            return
        self._start_is_told = True
        partition = self._output_partition
        await self._append(
            ev.ExecutionStarted(
                execution_id=self._execution.id,
                attempt=self.number,
                agent=self._host.settings.agent,
                output_partition=partition,
                output_offset=self._output_start(partition),
            )
        )

    @property
    def _output_partition(self) -> int:
        return partition_of(self._execution.id, len(self._host.output_ends))

    async def _execute(self, prepared: Prepared) -> None:
        execution, host = self._execution, self._host
        partition = self._output_partition
        await self._tell_start()
        pump = OutputPump(
            execution_id=execution.id,
            attempt=self.number,
            writer=host.output,
            topic=host.output_topic,
            partition=partition,
            limit=execution.limits.output,
            after=lambda: host.fold.state.next_offset - 1,
            on_limit=lambda _: self._limit_reached(prepared),
            on_stored=lambda end: host.output_reached(partition, end),
        )
        if self._stop is not None:
            # While `started` was handed over; from here to `go` nothing can come between.
            if self._stop == "cancelled":
                await self._report_unprepared(None)
            return
        self._running = True
        prepared.go()
        if self._lease is not None:
            self._lease.start()
        pumping = asyncio.ensure_future(pump.run(prepared.stdout, prepared.stderr))
        waiting = asyncio.ensure_future(self._end(prepared))
        try:
            # A pump that fails ends the run: nobody would read what it still writes.
            await asyncio.wait({pumping, waiting}, return_when=asyncio.FIRST_EXCEPTION)
            if pumping.done():
                pumping.result()
            ended = waiting.result()
        except KafkaError as error:
            log.error("output of %s could not be appended: %r", execution.id, error)
            return
        finally:
            await _settle(pumping)
            await _settle(waiting)
        if self._stop in ("fenced", "shutdown"):
            return
        await self._append(await self._verdict(prepared, ended, pump))

    async def _end(self, prepared: Prepared) -> SandboxExit:
        """How it ended. Its GPUs are looked at before anybody hears that they are free."""
        try:
            ended = await prepared.wait()
        except Undying:
            await self._fail_gpus(_UNDYING)
            raise
        if self._lease is not None:
            self._use = await self._lease.finish()
        return ended

    def _output_start(self, partition: int) -> int:
        """An offset at or before the first chunk: behind the input, or where we saw the end."""
        known = self._host.output_ends[partition]
        position = self._execution.input.position
        if position is not None and position.partition == partition:
            known = max(known, position.offset + 1)
        return known

    def _limit_reached(self, prepared: Prepared) -> None:
        self._kill(prepared, "output_limit")

    async def _verdict(
        self, prepared: Prepared, ended: SandboxExit, pump: OutputPump
    ) -> ev.ExecutionFinished:
        outcome, reason = outcome_of(self._execution, ended, pump.limited)
        artifact = None
        if self._execution.kind == "build" and outcome == "succeeded":
            try:
                if prepared.work is None:
                    raise NotFound("the build left no folder")
                artifact = await keep_artifact(
                    self._execution, prepared.work, self._host.blobs, self._host.spool
                )
            except UserError as error:
                outcome, reason = "failed", _sentence(error)
        toolchain = self._toolchain
        return ev.ExecutionFinished(
            execution_id=self._execution.id,
            attempt=self.number,
            outcome=outcome,
            exit_code=ended.exit_code,
            signal=ended.signal,
            usage=Usage(
                wall_time=ended.wall_time,
                cpu_time=ended.cpu_time,
                peak_memory=ended.peak_memory,
                output_bytes=pump.total,
                gpu_time=ended.wall_time * len(self._gpus) if self._gpus else None,
                gpu_peak_memory=self._use.peak_memory,
                gpu_utilisation=self._use.utilisation,
                gpu_energy=self._use.energy,
                gpu_samples=self._use.samples,
            ),
            last_seq=pump.last_seq,
            output=pump.digests(),
            reason=reason,
            artifact_sha256=artifact,
            toolchain=toolchain.identity if toolchain else None,
        )

    async def _report_unprepared(self, error: HermesError | None) -> None:
        """It never started: cancelled in time, or something that it needs is missing or wrong.

        A fault of ours is no verdict on the run: the attempt is handed back, and the next one
        follows elsewhere or here. Raises that fault.
        """
        if error is None:
            outcome, reason = "cancelled", "cancelled before it ran"
        elif isinstance(error, NotFound):
            outcome, reason = "build_missing", _sentence(error)
        elif isinstance(error, UserError | ToolchainMissing):
            outcome, reason = "failed", _sentence(error)
        else:
            await self._hand_back(error)
            raise error
        if error is not None:
            log.warning("%s could not be prepared: %s", self._execution.id, reason)
        await self._append(
            ev.ExecutionFinished(
                execution_id=self._execution.id,
                attempt=self.number,
                outcome=outcome,
                exit_code=None,
                signal=None,
                usage=None,
                last_seq=-1,
                output={},
                reason=reason,
            )
        )

    async def _hand_back(self, error: HermesError) -> None:
        """Say at once that the attempt is lost: its lease need not run out."""
        if isinstance(error, GpuUnavailable):
            reason = ev.GPU_UNAVAILABLE
            # It is out of service now, so another is chosen; should each be refused, then slowly.
            pause = 2.0 ** (self.number - 2) if self.number > 1 else 0.0
        else:
            reason = f"{ev.HOST_FAULT}{_sentence(error)}"
            # Nothing keeps it from coming back here: a fault that passes gets the time to.
            pause = 2.0 ** (self.number - 1)
        await asyncio.wait({self._halted}, timeout=min(pause, LONGEST_PAUSE))
        if self._stop not in ("fenced", "shutdown"):
            await self._give_back(reason)

    async def _give_back(self, reason: str) -> None:
        await self._append(
            ev.ExecutionAttemptLost(
                execution_id=self._execution.id,
                attempt=self.number,
                epoch=self._host.fold.state.epoch,
                reason=reason,
                output_end_offset=None,
                agent=self._host.settings.agent,
                incarnation=self._host.incarnation,
            )
        )

    async def _append(self, data: ev.EventData) -> None:
        """Hand an event over, in order; whoever must act on it waits for the fold."""
        event = new_event(data, self._host.actor, correlation_id=self._execution.id)
        while True:
            try:
                future = await self._host.fold.send(self._host.events, self._execution.id, event)
                future.add_done_callback(_log_failure)
                return
            except LogUnavailable as error:
                log.warning("%s waits for the log: %s", self._execution.id, error)
                await asyncio.sleep(0.5)


def _sentence(error: HermesError) -> str:
    problems = "; ".join(f"{one.field}: {one.message}" for one in error.errors)
    return f"{error.detail or error.title()}" + (f" ({problems})" if problems else "")


def _log_failure(sent: asyncio.Future[object]) -> None:
    if not sent.cancelled() and sent.exception() is not None:
        log.error("an event was not appended: %r", sent.exception())


def _is_ready(preparing: asyncio.Future[Prepared]) -> bool:
    return preparing.done() and not preparing.cancelled() and preparing.exception() is None


async def _settle(task: asyncio.Future[Any]) -> None:
    """End a task that may still run, and take its exception: its own waiter has seen it."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task
