"""Docker and bubblewrap, cold and warm, beside the bare engine.

Each way has a Hermes of its own, and the bare engine takes turns with every one of them.
"""

from __future__ import annotations

import asyncio
import os
import time

from infra.engine import EngineUnavailable
from infra.sandbox.docker.adapter import DockerSandbox
from infra.sandbox.port import MIB, SandboxLimits, SandboxSpec
from tests.bench.client import Run
from tests.bench.engine_floor import EngineFloor
from tests.bench.floor import drained
from tests.bench.report import Report, Row, median, quantile
from tests.bench.subject import Subject
from tests.support.toolchain_images import ensure_toolchain_images

FIRST = "First byte by sandbox (one run at a time)"
RATE = "Executions a second by sandbox"
OUTPUT = "Output by sandbox"
_BURST = 40
_AT_A_TIME = 8
_SETTLE = 20.0  # seconds at most, until the warm ones stand
_PAUSE = 0.2  # between two runs: people do not ask back to back

#: Name, sandbox, and how many may wait.
_WAYS = (
    ("docker, cold", "docker", 0),
    ("docker, warm", "docker", _BURST),
    ("bubblewrap, cold", "bubblewrap", 0),
    ("bubblewrap, warm", "bubblewrap", _BURST),
)


async def measure(subject: Subject) -> None:
    """All ways in turn; without an engine, bubblewrap alone and a note."""
    report = subject.report
    floor = None
    try:
        image = (await ensure_toolchain_images()).run_image
        assert image is not None
        floor = EngineFloor(image, subject.floor.folder)
        await floor.open()
        await _output(subject, image)
    except EngineUnavailable as error:
        report.notes.append(f"NOTHING OF DOCKER WAS MEASURED: {error}")
    bare_first: list[float] = []
    bare_rates: list[float] = []
    found: dict[str, tuple[list[float], float]] = {}
    try:
        for name, sandbox, warm in _WAYS:
            if sandbox == "docker" and floor is None:
                continue
            settings = {"HERMES_SANDBOX": sandbox, "HERMES_WARM": str(warm)}
            async with Subject(subject.quick, settings) as one:
                found[name] = await _measure_one(one, floor, bare_first, bare_rates)
    finally:
        if floor is not None:
            await floor.close()
    _rows(report, found, median(bare_first), median(bare_rates))


async def _measure_one(
    one: Subject, floor: EngineFloor | None, bare_first: list[float], bare_rates: list[float]
) -> tuple[list[float], float]:
    """Milliseconds to the first byte, and executions a second in a burst."""
    rounds = 15 if one.quick else 60
    taken: list[float] = []
    for number in range(rounds + 5):
        if floor is not None and number % 3 == 0:
            bare_first.append(await floor.first_byte("hello") * 1e3)
        await asyncio.sleep(_PAUSE)
        run = await one.client.run("ana/hello")
        assert run.outcome == "succeeded", run
        if number >= 5:
            taken.append((run.first_byte - run.asked) * 1e3)
    rates = []
    for _ in range(2 if one.quick else 4):
        rates.append(await _burst(one))
        await _settled(one)
        if floor is not None:
            bare_rates.append(await floor.rate("hello", _AT_A_TIME, 2.0))
    return taken, max(rates[1:])


async def _burst(one: Subject) -> float:
    """Executions a second of `_BURST`, a few at a time, from the first request to the last byte."""
    todo = iter(range(_BURST))
    runs: list[Run] = []

    async def worker() -> None:
        for _ in todo:
            runs.append(await one.client.run("ana/hello"))

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(_AT_A_TIME)))
    assert all(run.outcome == "succeeded" for run in runs)
    return len(runs) / (time.perf_counter() - begun)


async def _settled(one: Subject) -> None:
    """Until Hermes is idle again, warm sandboxes refilled."""
    clock = one.cpu()
    give_up = time.monotonic() + _SETTLE
    quiet = 0
    while quiet < 3 and time.monotonic() < give_up:
        before = clock.read()
        await asyncio.sleep(0.3)
        after = clock.read()
        busy = after["agent"] + after["children"] - before["agent"] - before["children"]
        quiet = quiet + 1 if busy < 0.015 else 0


async def _output(subject: Subject, image: str) -> None:
    """What a program in a container writes, as fast as its pipe is read: all that an agent adds to
    this is the log's to take."""
    mebibytes = 256 if subject.quick else 1024
    sandbox = DockerSandbox(f"bench-{os.getpid()}", run_image=image, build_image=image)
    await sandbox.open()
    read, write = os.pipe()
    os.write(write, f"{mebibytes}\n".encode())
    os.close(write)
    try:
        run = await sandbox.prepare(
            SandboxSpec(
                name="bench-output",
                argv=("/fn/flood",),
                kind="run",
                function_dir=subject.floor.folder / "flood",
                stdin=read,
                limits=SandboxLimits(time=60, memory=64 * MIB, cpus=2, output=1 << 40, processes=8),
            )
        )
        os.set_blocking(run.stdout, True)
        begun = time.perf_counter()
        run.go()
        size = await asyncio.to_thread(_drain, run.stdout)
        seconds = time.perf_counter() - begun
        assert (await run.wait()).exit_code == 0
        await run.close()
    finally:
        os.close(read)
        await sandbox.close()
    assert size == mebibytes * MIB
    argv = subject.floor.enclosed("flood")
    bare, took = await asyncio.to_thread(drained, argv, f"{mebibytes}\n".encode())
    subject.report.rows.append(
        Row(
            section=OUTPUT,
            name="docker, program to agent",
            value=size / 1e6 / seconds,
            unit="MB/s",
            goal=200.0,
            floor=bare / 1e6 / took,
            floor_name="bwrap into a pipe",
            higher=True,
        )
    )


def _drain(fd: int) -> int:
    size = 0
    while piece := os.read(fd, 1 << 20):
        size += len(piece)
    return size


def _rows(
    report: Report, found: dict[str, tuple[list[float], float]], bare: float, bare_rate: float
) -> None:
    if bare:
        report.rows.append(
            Row(section=FIRST, name="bare engine, p50", value=bare, unit="ms"),
        )
    goals = {"docker, cold": 1.2 * bare + 15.0, "docker, warm": 15.0, "bubblewrap, warm": 15.0}
    for name, (taken, _) in found.items():
        report.rows.append(
            Row(
                section=FIRST,
                name=f"{name}, p50",
                value=median(taken),
                unit="ms",
                goal=goals.get(name),
                floor=bare or None,
                floor_name="bare engine",
            )
        )
        report.rows.append(
            Row(section=FIRST, name=f"{name}, p90", value=quantile(taken, 0.9), unit="ms")
        )
    if bare_rate:
        report.rows.append(
            Row(section=RATE, name="bare engine", value=bare_rate, unit="/s", higher=True)
        )
    shares = {"docker, cold": 0.9, "docker, warm": 3.0}
    for name, (_, rate) in found.items():
        share = shares.get(name)
        report.rows.append(
            Row(
                section=RATE,
                name=name,
                value=rate,
                unit="/s",
                goal=share * bare_rate if share and bare_rate else None,
                floor=bare_rate or None,
                floor_name="bare engine",
                higher=True,
            )
        )
