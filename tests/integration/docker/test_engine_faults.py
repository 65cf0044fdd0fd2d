"""An engine that fails, lies, loses answers or says nothing: one start or none, nothing left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from infra.sandbox.docker import adapter, containers
from infra.sandbox.docker.adapter import DockerSandbox
from infra.sandbox.port import GpuUnavailable, SandboxError
from infra.toolchain.model import Toolchain
from tests.support.containers import containers_of
from tests.support.faulty_engine import Fault, FaultyEngine
from tests.support.sandboxes import Runner, control_groups_of

CREATE, START, REMOVE, LOOK = (
    "POST /containers/create",
    "POST /containers/hermes-[^/]*/start",
    "DELETE /containers/",
    "GET /containers/hermes-",
)


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[FaultyEngine]:
    faulty = FaultyEngine(tmp_path / "engine.sock")
    await faulty.start()
    yield faulty
    await faulty.stop()


@pytest_asyncio.fixture
async def faulty(
    engine: FaultyEngine, attacks: Path, toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Runner]:
    """A sandbox of its own behind the proxy; afterwards nothing of it may be left."""
    owner = f"faulty-{os.getpid()}"
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", engine.url)
        sandbox = DockerSandbox(owner, run_image=toolchain.run_image)
        await sandbox.open()
    assert sandbox._users is not None
    free = len(sandbox._users._free)
    monkeypatch.setattr(containers, "_LATE_LOOKS", (0.2, 0.5))
    yield Runner(sandbox, attacks)
    engine.heal()
    await gone(owner)
    assert len(sandbox._users._free) == free, "every user id was given back"
    await sandbox.close()
    assert await containers_of(owner) == {}
    assert control_groups_of(owner) == []
    assert not Path("/run/hermes-sandbox/docker", owner).exists()


@pytest.fixture
def no_input() -> Iterator[int]:
    fd = os.open(os.devnull, os.O_RDONLY)
    yield fd
    os.close(fd)


async def gone(owner: str, patience: float = 15.0) -> None:
    begin = time.monotonic()
    while found := await containers_of(owner):
        assert time.monotonic() - begin < patience, f"{list(found)} are still there"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("request_", [CREATE, START], ids=["create", "start"])
@pytest.mark.parametrize("fault", ["refuse", "lie", "lose"])
async def test_a_fault_that_passes_is_one_start(
    faulty: Runner, engine: FaultyEngine, request_: str, fault: Fault
) -> None:
    engine.fail(request_, fault, times=2)
    outcome = await faulty.run("/bin/sh", "-c", "echo once")
    assert outcome.stdout == b"once\n"
    assert outcome.exit.exit_code == 0
    await gone(faulty.sandbox._owner)  # type: ignore[attr-defined]


@pytest.mark.parametrize("fault", ["refuse", "lie", "lose"])
async def test_an_engine_that_creates_nothing_is_given_up_with_its_words(
    faulty: Runner, engine: FaultyEngine, no_input: int, fault: Fault
) -> None:
    engine.fail(CREATE, fault)
    engine.fail(LOOK, "refuse", times=3)
    begin = time.monotonic()
    with pytest.raises(SandboxError) as failed:
        await faulty.sandbox.prepare(faulty.spec("/bin/true", stdin=no_input))
    assert time.monotonic() - begin < 10.0
    if fault == "refuse":
        assert "no space left on device" in str(failed.value)
    engine.heal()
    await gone(faulty.sandbox._owner)  # type: ignore[attr-defined]


async def test_what_the_engine_hears_after_it_was_given_up_leaves_no_container(
    faulty: Runner, engine: FaultyEngine, no_input: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.fail(CREATE, "late")
    with monkeypatch.context() as hasty, pytest.raises(SandboxError):
        hasty.setattr(containers, "_PATIENCE", 0.3)
        hasty.setattr(adapter, "_START_PATIENCE", 1.0)
        await faulty.sandbox.prepare(faulty.spec("/bin/true", stdin=no_input))
    # What it would show is gone, so the engine refuses; else it would be found and removed.
    engine.heal()
    await asyncio.sleep(1.0)
    assert engine.asked["POST /containers/create"] > 1
    await gone(faulty.sandbox._owner)  # type: ignore[attr-defined]


async def test_a_failed_removal_is_tried_until_it_works(
    faulty: Runner, engine: FaultyEngine, no_input: int
) -> None:
    engine.fail(REMOVE, "refuse", times=3)
    engine.fail(START, "refuse")
    with pytest.raises(SandboxError):
        await faulty.sandbox.prepare(faulty.spec("/bin/true", stdin=no_input))
    owner = faulty.sandbox._owner  # type: ignore[attr-defined]
    assert {one["State"]["Status"] for one in (await containers_of(owner)).values()} == {"created"}
    await gone(owner)
    assert sum(count for asked, count in engine.asked.items() if asked.startswith("DELETE")) >= 4


async def test_a_run_ends_and_closes_at_once_though_the_engine_says_nothing(
    faulty: Runner, engine: FaultyEngine, no_input: int
) -> None:
    prepared = await faulty.sandbox.prepare(
        faulty.spec("/bin/sh", "-c", "sleep 0.3; echo out; exit 4", stdin=no_input)
    )
    engine.fail(".*", "hang")
    prepared.go()
    ended = await asyncio.wait_for(prepared.wait(), 5)
    assert (ended.exit_code, ended.killed) == (4, None)
    assert os.read(prepared.stdout, 10) == b"out\n"
    begin = time.monotonic()
    await prepared.close()
    assert time.monotonic() - begin < 1.0


async def test_closing_does_not_wait_for_a_dead_engine_and_reap_finds_the_rest(
    engine: FaultyEngine, attacks: Path, toolchain: Toolchain, no_input: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    owner = f"dead-{os.getpid()}"
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", engine.url)
        sandbox = DockerSandbox(owner, run_image=toolchain.run_image)
        await sandbox.open()
    engine.fail(START, "refuse")
    engine.fail("(DELETE|GET)", "hang")
    spec = Runner(sandbox, attacks).spec("/bin/true", stdin=no_input)
    with pytest.raises(SandboxError):
        await sandbox.prepare(spec)
    monkeypatch.setattr(adapter, "_LEAVING_PATIENCE", 0.5)
    begin = time.monotonic()
    await sandbox.close()
    assert time.monotonic() - begin < 3.0
    engine.heal()
    assert len(await containers_of(owner)) == 1
    again = DockerSandbox(owner, run_image=toolchain.run_image)
    await again.open()
    assert await again.reap([spec.name]) == []
    assert len(await containers_of(owner)) == 1, "it was said to be known"
    assert await again.reap(()) == [spec.name]
    assert await containers_of(owner) == {}
    await again.close()


async def test_a_missing_image_is_said_at_once(faulty: Runner, no_input: int) -> None:
    image = "sha256:" + "0" * 64
    begin = time.monotonic()
    with pytest.raises(SandboxError, match="0000"):
        await faulty.sandbox.prepare(faulty.spec("/bin/true", stdin=no_input, image=image))
    assert time.monotonic() - begin < 3.0


async def test_a_gpu_without_its_runtime_is_no_fault_of_the_program(
    faulty: Runner, no_input: int
) -> None:
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("there is a GPU")
    with pytest.raises(GpuUnavailable):
        await faulty.sandbox.prepare(
            faulty.spec("/bin/true", stdin=no_input, gpus=("GPU-" + "0" * 8,))
        )


async def test_a_cancelled_start_leaves_nothing(faulty: Runner, no_input: int) -> None:
    owner = faulty.sandbox._owner  # type: ignore[attr-defined]
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for pause in (0, 0.002, 0.02, 0.05, 0.1, 0.2):
        starting = asyncio.ensure_future(
            faulty.sandbox.prepare(faulty.spec("/bin/true", stdin=no_input))
        )
        await asyncio.sleep(pause)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await (await starting).close()
            raise asyncio.CancelledError  # it was ready before
    await gone(owner)
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 2, "but connections kept"
    assert control_groups_of(owner) == []


async def test_an_agent_out_of_descriptors_starts_nothing_and_leaks_nothing(
    faulty: Runner, no_input: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "_PAUSES", (0.01, None))
    # Once the proxy, which is in this process, lacks the descriptor to answer.
    monkeypatch.setattr(containers, "_PATIENCE", 4.0)
    await faulty.run("/bin/true")  # so that the connection to the engine is open
    await gone(faulty.sandbox._owner)  # type: ignore[attr-defined]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, hard))
    spare: list[int] = []
    with contextlib.suppress(OSError):
        while True:
            spare.append(os.dup(no_input))
    outcomes = []
    try:
        while spare and outcomes[-3:] != ["started"] * 3:  # however many there are to give back
            try:
                prepared = await faulty.sandbox.prepare(faulty.spec("/bin/true", stdin=no_input))
                await prepared.close()
                outcomes.append("started")
            except SandboxError:
                outcomes.append("refused")
            for _ in range(3):
                if spare:
                    os.close(spare.pop())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in spare:
            os.close(fd)
    assert outcomes[0] == "refused" and outcomes[-1] == "started", outcomes
    await gone(faulty.sandbox._owner)  # type: ignore[attr-defined]
