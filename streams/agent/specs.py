"""What an attempt needs before it can run, and the sandbox's specification that follows from it.

Everything that is opened on the way goes onto the caller's stack.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from hermes.domain.execution import ExecutionState
from hermes.domain.resources import MIB
from hermes.errors import NotFound
from infra.sandbox.port import WARM_INPUT, SandboxError, SandboxLimits, SandboxSpec
from infra.toolchain.model import Toolchain, ToolchainMissing
from streams.agent.build import BUILD_ARGV, fetch_source
from streams.agent.gpu_keeper import GpuLease
from streams.agent.host import Host
from streams.agent.stdin import ArrivingInput

# Bytes of the writable folder; at most a quarter of the memory, to which it is charged.
RUN_FOLDER = 256 * MIB
BUILD_FOLDER = 1024 * MIB


class RunImageMissing(SandboxError):
    """This host has lost the image that programs of this language run in"""


class Ready(msgspec.Struct, frozen=True):
    """The specification; the input that must have arrived before `go`; what a build uses; a run's
    GPUs, none perhaps."""

    spec: SandboxSpec
    input: ArrivingInput | None = None
    toolchain: Toolchain | None = None
    lease: GpuLease | None = None


async def run_spec(
    host: Host, execution: ExecutionState, attempt: int, gpus: Sequence[str], stack: AsyncExitStack
) -> Ready:
    """To run a built function. Raises NotFound, GpuUnavailable, and what the blob store
    raises."""
    if execution.artifact_sha256 is None:
        raise NotFound("the function has no artifact")
    folder = await stack.enter_async_context(host.artifacts.hold(execution.artifact_sha256))
    arriving = host.inputs.open(execution.id, execution.input)
    stack.push_async_callback(arriving.close)
    toolchain = await _to_run(host, execution.language)
    lease = await host.gpus.lease(gpus)
    stack.push_async_callback(lease.close)
    spec = SandboxSpec(
        name=f"{execution.id}-{attempt}",
        argv=(f"/fn/{execution.handler.removeprefix('./')}",),
        kind="run",
        function_dir=folder,
        stdin=arriving.fd,
        env=_environment(toolchain, lease),
        limits=_limits(execution, RUN_FOLDER),
        extra_ro_binds=toolchain.ro_binds if toolchain else (),
        image=toolchain.run_image if toolchain else None,
        artifact=execution.artifact_sha256,
        function=f"{execution.function}:{execution.version}",
        gpus=lease.uuids,
        gpu_devices=lease.devices,
        held_fds=lease.locks,
        may_be_warm=execution.input.bytes <= WARM_INPUT,
    )
    return Ready(spec, arriving, lease=lease)


async def build_spec(
    host: Host, execution: ExecutionState, attempt: int, stack: AsyncExitStack
) -> Ready:
    """To build a source. Raises ToolchainMissing, NotFound, ArchiveError, ConfigError."""
    toolchain = await host.toolchains.require(execution.language)
    folder = Path(tempfile.mkdtemp(prefix="build-", dir=host.spool))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    os.chmod(folder, 0o755)  # noqa: PTH101, S103 - shown to the sandbox's user
    await fetch_source(host.blobs, execution.source_sha256, folder)
    stdin = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, stdin)
    spec = SandboxSpec(
        name=f"{execution.id}-{attempt}",
        argv=BUILD_ARGV,
        kind="build",
        function_dir=folder / "source",
        stdin=stdin,
        env=toolchain.env,
        limits=_limits(execution, BUILD_FOLDER),
        extra_ro_binds=toolchain.ro_binds,
        image=toolchain.build_image,
        function=f"{execution.function}:{execution.version}",
        keep_work=True,
    )
    return Ready(spec, toolchain=toolchain)


def _environment(toolchain: Toolchain | None, lease: GpuLease) -> dict[str, str]:
    known = dict(toolchain.run_env) if toolchain else {}
    if lease.uuids:
        # CUDA finds a MIG slice by its name only, and does not look for GPUs that are not given.
        known["CUDA_VISIBLE_DEVICES"] = ",".join(lease.uuids)
    return known


async def _to_run(host: Host, language: str) -> Toolchain | None:
    """What a run needs of its language: an image to run in, or the libraries that CUDA programs
    link. Without the latter a program may still run; without its image it cannot."""
    if host.toolchains.in_images:
        try:
            return await host.toolchains.require(language)
        except ToolchainMissing as error:
            raise RunImageMissing(str(error)) from error
    if language != "cuda":
        return None
    try:
        return await host.toolchains.require(language)
    except ToolchainMissing:
        return None


def _limits(execution: ExecutionState, folder: int) -> SandboxLimits:
    limits = execution.limits
    return SandboxLimits(
        time=limits.time,
        memory=limits.memory,
        cpus=limits.cpus,
        output=limits.output,
        processes=limits.processes,
        work_bytes=folder,
    )
