"""Docker and bubblewrap, cold and warm, beside the bare engine.

Each way has a Hermes of its own. The bare engine and bare bubblewrap take turns with every one of
them, so that all are seen on the same machine at the same speed.
"""

from __future__ import annotations

import asyncio
import os
import time

import msgspec
import psutil

from infra.engine import EngineUnavailable
from infra.sandbox.docker.adapter import DockerSandbox
from infra.sandbox.port import MIB, SandboxLimits, SandboxSpec
from tests.bench.client import Run
from tests.bench.engine_floor import EngineFloor
from tests.bench.floor import drained, first_byte
from tests.bench.log_floor import HOPS, LogFloor
from tests.bench.report import Report, Row, median, quantile
from tests.bench.stages import medians
from tests.bench.subject import Subject
from tests.support.toolchain_images import ensure_toolchain_images

FIRST = "First byte by sandbox (one run at a time)"
RATE = "Executions a second by sandbox"
OUTPUT = "Output by sandbox"
_BURST = 40
_AT_A_TIME = 8
_WARM_UP = 4
_SETTLE = 15.0  # seconds at most, until the warm ones stand
_IDLE = 0.15  # of one core, all processes of the machine together
_PAUSE = 0.7  # between two runs: what is removed and what is started beforehand have their time

#: Name, sandbox, and how many may wait.
_WAYS = (
    ("docker, cold", "docker", 0),
    ("docker, warm", "docker", _BURST),
    ("bubblewrap, cold", "bubblewrap", 0),
    ("bubblewrap, warm", "bubblewrap", _BURST),
)


class Bare(msgspec.Struct):
    """Without Hermes: milliseconds to the first byte and for a hop of the log, with pauses and
    without, and a second's containers."""

    first: list[float] = []
    bubblewrap: list[float] = []
    hops: list[float] = []
    hops_in_a_row: list[float] = []
    rates: list[float] = []


class Found(msgspec.Struct, frozen=True):
    """Of one way: runs one at a time, with pauses and without, and executions a second."""

    runs: list[Run]
    in_a_row: list[Run]
    rate: float


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
    bare = Bare()
    found: dict[str, Found] = {}
    try:
        for name, sandbox, warm in _WAYS:
            if sandbox == "docker" and floor is None:
                continue
            settings = {"HERMES_SANDBOX": sandbox, "HERMES_WARM": str(warm)}
            async with Subject(subject.quick, settings) as one:
                found[name] = await _measure_one(one, floor, bare)
    finally:
        if floor is not None:
            await floor.close()
    _rows(report, found, bare)
    report.tables["Stages by sandbox, milliseconds, p50"] = _turned(
        {name: medians(one.runs) for name, one in found.items()}
    )


async def _measure_one(one: Subject, floor: EngineFloor | None, bare: Bare) -> Found:
    rounds = 12 if one.quick else 40
    runs: list[Run] = []
    log = LogFloor(one.bootstrap)
    await log.open()
    give_up = time.monotonic() + (30.0 if one.quick else 90.0)
    for number in range(rounds + _WARM_UP):
        if time.monotonic() > give_up and runs:
            break  # a machine that busy: fewer rounds
        if floor is not None and number % 3 == 0:
            bare.first.append(await floor.first_byte("hello") * 1e3)
        await asyncio.sleep(_PAUSE)
        bare.bubblewrap.append(first_byte(one.floor.enclosed("hello"))[0] * 1e3)
        bare.hops.append(await log.hop() * 1e3)
        run = await one.client.run("ana/hello")
        assert run.outcome == "succeeded", run
        if number >= _WARM_UP:
            runs.append(run)
    rates = []
    await _burst(one)  # so that as many wait as come at once
    await _settled()
    # Without pauses in which a processor falls asleep; fewer than wait.
    bare.hops_in_a_row += [await log.hop() * 1e3 for _ in range(HOPS * _BURST // 2)]
    await log.close()
    in_a_row = [await one.client.run("ana/hello") for _ in range(_BURST // 2)]
    for _ in range(1 if one.quick else 3):
        if floor is not None:
            bare.rates.append(await floor.rate("hello", _AT_A_TIME, 2.0))
        await _settled()
        rates.append(await _burst(one))
    return Found(runs=runs, in_a_row=in_a_row, rate=max(rates))


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


async def _settled() -> None:
    """Until the machine is idle again, so the warm sandboxes refilled."""
    give_up = time.monotonic() + _SETTLE
    quiet = 0
    while quiet < 3 and time.monotonic() < give_up:
        before = psutil.cpu_times()
        await asyncio.sleep(0.5)
        after = psutil.cpu_times()
        busy = sum(after[:3]) - sum(before[:3])  # user, nice, system
        quiet = quiet + 1 if busy < 0.5 * _IDLE else 0


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


def _rows(report: Report, found: dict[str, Found], measured: Bare) -> None:
    bare, bare_rate = median(measured.first), median(measured.rates)
    log, log_in_a_row = (median(h) * HOPS for h in (measured.hops, measured.hops_in_a_row))
    floors = {
        "bare bubblewrap, p50": median(measured.bubblewrap),
        f"{HOPS} hops of the bare log, p50": log,
        f"{HOPS} hops of the bare log, without pauses, p50": log_in_a_row,
        "bare engine, p50": bare,
    }
    report.rows += [
        Row(section=FIRST, name=name, value=value, unit="ms")
        for name, value in floors.items()
        if value
    ]
    goals = {"docker, cold": 1.2 * bare + 15.0, "docker, warm": 15.0, "bubblewrap, warm": 15.0}
    for name, one in found.items():
        in_a_row = median([run.latency for run in one.in_a_row])
        taken = [run.latency for run in one.runs]
        floor, floor_name = (bare, "bare engine") if name == "docker, cold" else (log, "bare log")
        typical = Row(
            section=FIRST,
            name=f"{name}, p50",
            value=median(taken),
            unit="ms",
            goal=goals.get(name),
            floor=floor,
            floor_name=floor_name,
        )
        without = {"name": f"{name}, without pauses, p50", "value": in_a_row}
        # The engine's start was taken with pauses, so it is no floor of these.
        other = {"floor": log_in_a_row, "floor_name": "bare log"}
        report.rows += [
            msgspec.structs.replace(typical, **without, **other),
            typical,
            Row(section=FIRST, name=f"{name}, p90", value=quantile(taken, 0.9), unit="ms"),
        ]
    if bare_rate:
        report.rows.append(
            Row(section=RATE, name="bare engine", value=bare_rate, unit="/s", higher=True)
        )
    shares = {"docker, cold": 0.9, "docker, warm": 3.0}
    for name, one in found.items():
        share = shares.get(name)
        report.rows.append(
            Row(
                section=RATE,
                name=name,
                value=one.rate,
                unit="/s",
                goal=share * bare_rate if share and bare_rate else None,
                floor=bare_rate or None,
                floor_name="bare engine",
                higher=True,
            )
        )


def _turned(columns: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Rows by stage instead of columns."""
    stages = next(iter(columns.values()), {})
    return {stage: {name: column[stage] for name, column in columns.items()} for stage in stages}
