"""CUDA's toolchain handed to Hermes' own sandbox, as an agent does for a build and for a run."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from infra.sandbox.bubblewrap import BubblewrapSandbox
from infra.sandbox.port import MIB, Kind, SandboxExit, SandboxLimits, SandboxSpec
from infra.toolchain import require_toolchain

GPU_PI = Path(__file__).parents[3] / "examples" / "functions" / "gpu-pi-montecarlo"
LIMITS = SandboxLimits(time=120, memory=2048 * MIB, cpus=2, output=MIB, processes=256)


@pytest.fixture
async def sandbox() -> AsyncIterator[BubblewrapSandbox]:
    """An open sandbox of this test's own."""
    sandbox = BubblewrapSandbox(f"toolchain-test-{os.getpid()}")
    await sandbox.open()
    yield sandbox
    await sandbox.close()


@pytest.fixture
def barred_home(cuda_home: Path) -> Path:
    """The home as `hermes up` makes it: nobody but its owner can enter it."""
    cuda_home.chmod(0o700)
    return cuda_home


async def enclosed(
    sandbox: BubblewrapSandbox, kind: Kind, folder: Path, home: Path, *argv: str
) -> tuple[SandboxExit, bytes]:
    """The outcome of a program that is shown the toolchain, and its stdout and stderr together."""
    toolchain = require_toolchain("cuda", home)
    stdin = os.open("/dev/null", os.O_RDONLY)
    spec = SandboxSpec(
        name=f"{kind}-1",
        argv=argv,
        kind=kind,
        function_dir=folder,
        stdin=stdin,
        limits=LIMITS,
        env=toolchain.env if kind == "build" else toolchain.run_env,
        extra_ro_binds=toolchain.ro_binds,
    )
    prepared = await sandbox.prepare(spec)
    os.close(stdin)
    try:
        prepared.go()
        ended = await asyncio.wait_for(prepared.wait(), 120)
        output = b""
        for stream in (prepared.stdout, prepared.stderr):
            while part := os.read(stream, 65536):
                output += part
        return ended, output
    finally:
        await prepared.close()


async def test_a_build_finds_nvcc_in_a_home_that_only_its_owner_can_enter(
    sandbox: BubblewrapSandbox, barred_home: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(GPU_PI, source)
    source.chmod(0o755)
    build = "make clean && make && test -x a.out"
    ended, output = await enclosed(sandbox, "build", source, barred_home, "/bin/sh", "-c", build)
    assert ended.exit_code == 0, output.decode()


async def test_a_run_sees_the_shared_libraries_and_cannot_change_them(
    sandbox: BubblewrapSandbox, barred_home: Path, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    look = 'ls $LD_LIBRARY_PATH/libcudart.so.13 && ! touch "$LD_LIBRARY_PATH/new"'
    ended, output = await enclosed(sandbox, "run", tmp_path, barred_home, "/bin/sh", "-c", look)
    assert ended.exit_code == 0, output.decode()
    assert output.startswith(b"/opt/cuda/lib64/libcudart.so.13\n")
    root = Path(require_toolchain("cuda", barred_home).root)
    assert (root / "bin" / "nvcc").is_file()  # closing the sandbox took away the view, no more
