"""One attempt, from `scheduled` to `finished`: prepare beside the claim, go, pump, judge, report.

The sandbox is set up while the claim is on its way; the program starts only when the fold has
accepted the claim. Every way out closes the sandbox, and everything but a fencing ends in an event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

from aiokafka.errors import KafkaError

from hermes.domain import events as ev
from hermes.domain.codec import encode
from hermes.domain.execution import AttemptState, ExecutionState
from hermes.domain.resources import MIB, Usage
from hermes.errors import HermesError, LogUnavailable, NotFound, UserError
from infra import gpu
from infra.sandbox.port import KillReason, Prepared, SandboxExit, SandboxLimits, SandboxSpec
from infra.toolchain.find import require_toolchain
from infra.toolchain.model import Toolchain, ToolchainMissing
from streams.agent.build import BUILD_ARGV, fetch_source, keep_artifact
from streams.agent.host import Host
from streams.agent.pump import OutputPump
from streams.agent.stdin import ArrivingInput
from streams.log import new_event
from streams.output import partition_of

log = logging.getLogger(__name__)

# Bytes of the writable folder; at most a quarter of the memory, to which it is charged.
RUN_FOLDER = 256 * MIB
BUILD_FOLDER = 1024 * MIB
GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for a cancelled program."""
Stop = Literal["cancelled", "fenced", "shutdown"]


class Attempt:
    """See the module. The role calls `claim_accepted`, `cancel`, `fence`; `run` is its task."""

    def __init__(self, host: Host, execution: ExecutionState, attempt: AttemptState) -> None:
        self._host = host
        self._execution = execution
        self.number = attempt.attempt
        self._gpus = attempt.gpus
        self._gpu_locks: list[int] = []
        self._input: ArrivingInput | None = None
        self._claimed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._preparing: asyncio.Future[Prepared] | None = None
        self._prepared: Prepared | None = None
        self._running = False
        self._stop: Stop | None = None
        self._kills: set[asyncio.Future[None]] = set()
        self._toolchain: Toolchain | None = None
        self._build_folder: Path | None = None

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
        """The agent stops; the scheduler will call the attempt lost."""
        self._halt("shutdown")

    def _halt(self, stop: Stop) -> None:
        # The role repeats itself on every tick; a program gets one SIGTERM, and a harder end only.
        if self._stop is not None and (stop == "cancelled" or self._stop != "cancelled"):
            return
        self._stop = stop
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
            finally:
                # What it opened is on the stack only once it has ended.
                await _settle(preparing)

    async def _claim_and_run(self, preparing: asyncio.Future[Prepared]) -> None:
        await self._append(
            ev.ExecutionClaimed(
                execution_id=self._execution.id,
                attempt=self.number,
                agent=self._host.settings.agent,
                incarnation=self._host.incarnation,
            )
        )
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
        execution = self._execution
        if execution.kind == "build":
            spec = await self._build_spec(stack)
        else:
            spec = await self._run_spec(stack)
        prepared = await self._host.sandbox.prepare(spec)
        stack.push_async_callback(prepared.close)
        self._prepared = prepared
        if self._input is not None:
            await self._input.arrived()
        return prepared

    async def _run_spec(self, stack: AsyncExitStack) -> SandboxSpec:
        execution, host = self._execution, self._host
        if execution.artifact_sha256 is None:
            raise NotFound("the function has no artifact")
        folder = await stack.enter_async_context(host.artifacts.hold(execution.artifact_sha256))
        self._input = host.inputs.open(execution.id, execution.input)
        stack.push_async_callback(self._input.close)
        toolchain = None
        if execution.language == "cuda":
            # Programs that link the toolchain's libraries need them at run time as well.
            with contextlib.suppress(HermesError):
                toolchain = require_toolchain("cuda", host.settings.home)
        for uuid in self._gpus:
            self._gpu_locks.append(gpu.lock(uuid))
            stack.callback(os.close, self._gpu_locks[-1])
        handler = execution.handler.removeprefix("./")
        return self._spec(
            (f"/fn/{handler}",),
            folder,
            self._input.fd,
            dict(toolchain.run_env) if toolchain else {},
            toolchain,
        )

    async def _build_spec(self, stack: AsyncExitStack) -> SandboxSpec:
        execution, host = self._execution, self._host
        toolchain = require_toolchain(execution.language, host.settings.home)
        folder = Path(tempfile.mkdtemp(prefix="build-", dir=host.spool))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - shown to the sandbox's user
        await fetch_source(host.blobs, execution.source_sha256, folder)
        stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, stdin)
        self._toolchain = toolchain
        return self._spec(BUILD_ARGV, folder / "source", stdin, dict(toolchain.env), toolchain)

    def _spec(
        self,
        argv: tuple[str, ...],
        folder: Path,
        stdin: int,
        env: dict[str, str],
        toolchain: Toolchain | None,
    ) -> SandboxSpec:
        limits = self._execution.limits
        is_build = self._execution.kind == "build"
        return SandboxSpec(
            name=f"{self._execution.id}-{self.number}",
            argv=argv,
            kind="build" if is_build else "run",
            function_dir=folder,
            stdin=stdin,
            env=env,
            limits=SandboxLimits(
                time=limits.time,
                memory=limits.memory,
                cpus=limits.cpus,
                output=limits.output,
                processes=limits.processes,
                work_bytes=BUILD_FOLDER if is_build else RUN_FOLDER,
            ),
            extra_ro_binds=toolchain.ro_binds if toolchain else (),
            keep_work=is_build,
            gpu_devices=self._gpu_devices(),
            held_fds=tuple(self._gpu_locks),
        )

    def _gpu_devices(self) -> tuple[str, ...]:
        devices = (self._host.gpus[uuid].devices for uuid in self._gpus)
        return tuple(dict.fromkeys(node for nodes in devices for node in nodes))

    async def _execute(self, prepared: Prepared) -> None:
        execution, host = self._execution, self._host
        partition = partition_of(execution.id, len(host.output_ends))
        await self._append(
            ev.ExecutionStarted(
                execution_id=execution.id,
                attempt=self.number,
                agent=host.settings.agent,
                output_partition=partition,
                output_offset=self._output_start(partition),
            )
        )
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
        pumping = asyncio.ensure_future(pump.run(prepared.stdout, prepared.stderr))
        waiting = asyncio.ensure_future(prepared.wait())
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
        outcome, reason = self._outcome(ended, pump)
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
            ),
            last_seq=pump.last_seq,
            output=pump.digests(),
            reason=reason,
            artifact_sha256=artifact,
            toolchain=f"{toolchain.name}-{toolchain.version}" if toolchain else None,
        )

    def _outcome(self, ended: SandboxExit, pump: OutputPump) -> tuple[str, str | None]:
        limits = self._execution.limits
        if pump.limited is not None:
            return "output_limit", f"{pump.limited} is longer than {limits.output} bytes"
        if ended.killed == "cancelled":
            return "cancelled", None
        if ended.timed_out:
            return "timed_out", f"it ran longer than {limits.time:g} s"
        if ended.oom:
            return "out_of_memory", f"it used more than {limits.memory} bytes of memory"
        if ended.exit_code == 0:
            return "succeeded", None
        if ended.processes_limited:
            return "failed", f"it reached its limit of {limits.processes} processes"
        if self._execution.kind == "build":
            return "failed", f"make failed with exit code {ended.exit_code}"
        return "failed", None

    async def _report_unprepared(self, error: HermesError | None) -> None:
        """It never started: cancelled in time, or something that it needs is missing or wrong.

        A fault of ours is no verdict on the run: nothing is said, so the lease runs out and the
        next attempt follows, here or elsewhere. Raises that fault.
        """
        if error is None:
            outcome, reason = "cancelled", "cancelled before it ran"
        elif isinstance(error, NotFound):
            outcome, reason = "build_missing", _sentence(error)
        elif isinstance(error, UserError | ToolchainMissing):
            outcome, reason = "failed", _sentence(error)
        else:
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

    async def _append(self, data: ev.EventData) -> None:
        """Hand an event over, in order; whoever must act on it waits for the fold."""
        event = new_event(data, self._host.actor, correlation_id=self._execution.id)
        while True:
            try:
                future = await self._host.events.send(
                    self._host.fold.topic, self._execution.id, encode(event)
                )
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


async def _settle(task: asyncio.Future[Any]) -> None:
    """End a task that may still run, and take its exception: its own waiter has seen it."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task
