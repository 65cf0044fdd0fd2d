"""Another runtime than the engine's own: gVisor's, whose kernel is a program of the host."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from infra.sandbox.docker.adapter import DockerSandbox
from infra.sandbox.port import MIB
from infra.toolchain.model import Toolchain
from tests.support.own_engine import OwnEngine
from tests.support.sandboxes import Runner, control_groups_of, programs_of

OWNER = f"gvisor-{os.getpid()}"
# Its own threads count too.
ROOMY = {"processes": 256, "memory": 512 * MIB}


@pytest_asyncio.fixture(scope="module")
async def gvisor(attacks: Path, toolchain: Toolchain) -> AsyncIterator[Runner]:
    runsc = shutil.which("runsc")
    if runsc is None:
        pytest.skip("NOT TRIED, there is no runsc here: gVisor as the containers' runtime")
    folder = Path(tempfile.mkdtemp(prefix="hermes-gvisor-", dir="/var/tmp"))
    words = folder / "runsc"
    words.write_text(f'#!/bin/sh\nexec {runsc} --network=none --fsgofer-host-uds "$@"\n')
    words.chmod(0o755)
    engine = OwnEngine(folder, "--add-runtime", f"runsc={words}")
    await engine.start()
    assert toolchain.run_image is not None
    await engine.take_image(toolchain.run_image)
    sandbox = DockerSandbox(OWNER, runtime="runsc", run_image=toolchain.run_image)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", engine.url)
        await sandbox.open()
    yield Runner(sandbox, attacks)
    await sandbox.close()
    await engine.remove()
    assert control_groups_of(OWNER) == []


async def test_a_run_reads_writes_and_ends_as_in_any_container(gvisor: Runner) -> None:
    script = "cat; echo err >&2; exit 3"
    outcome = await gvisor.run("/bin/sh", "-c", script, stdin=b"in\n", limits=ROOMY)
    assert (outcome.stdout, outcome.stderr) == (b"in\n", b"err\n")
    assert outcome.exit.exit_code == 3


async def test_the_filter_of_system_calls_is_on(gvisor: Runner) -> None:
    outcome = await gvisor.run("calls", limits=ROOMY)
    assert outcome.steps["mount"] == outcome.steps["ptrace"] == "Operation not permitted"
    assert outcome.steps["io_uring_setup"] == "Function not implemented"


async def test_what_does_not_end_by_itself_is_ended(gvisor: Runner) -> None:
    outcome = await gvisor.run("linger", "sleep", limits={**ROOMY, "time": 1.0})
    assert outcome.exit.timed_out
    async with asyncio.timeout(10):
        while programs_of(OWNER):
            await asyncio.sleep(0.05)
