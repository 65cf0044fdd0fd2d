"""Executions a second with several at a time, and the CPU time that one costs, by process."""

from __future__ import annotations

import asyncio
import time

from tests.bench.cpu import CpuClock, per_unit
from tests.bench.floor import first_byte
from tests.bench.report import Row, median
from tests.bench.subject import Subject

SECTION = "Throughput"
CONCURRENCY = (8, 32)


async def measure(subject: Subject) -> None:
    """Slices of Hermes and of bare bwrap by turns, at every concurrency."""
    clock = subject.cpu()
    slices, seconds = (2, 2.0) if subject.quick else (4, 4.0)
    await _hermes(subject, 8, 1.0)
    await _idle(subject, clock, seconds)
    for concurrency in CONCURRENCY:
        rates, floors, latencies, executions = [], [], [], 0
        spent: dict[str, float] = {}
        for _ in range(slices):
            before = clock.read()
            done, elapsed, taken = await _hermes(subject, concurrency, seconds)
            await _quiet(clock)
            _add(spent, before, clock.read())
            rates.append(done / elapsed)
            latencies += taken
            executions += done
            floors.append(await asyncio.to_thread(_bwrap, subject, seconds / 4))
        _report(subject, concurrency, rates, floors, latencies)
        costs = per_unit(dict.fromkeys(spent, 0.0), spent, executions)
        table = subject.report.tables.setdefault("CPU per execution, milliseconds", {})
        for name, cost in costs.items():
            table.setdefault(name, {})[f"{concurrency} at a time"] = cost
        subject.report.notes.append(_limit(concurrency, costs, median(rates)))


async def _idle(subject: Subject, clock: CpuClock, seconds: float) -> None:
    await _quiet(clock)
    before = clock.read()
    await asyncio.sleep(seconds)
    subject.report.tables["CPU of an idle Hermes"] = {
        name: {"ms per second": used}
        for name, used in per_unit(before, clock.read(), seconds).items()
        if name != "client"
    }


async def _hermes(
    subject: Subject, concurrency: int, seconds: float
) -> tuple[int, float, list[float]]:
    """Executions, the seconds they took, and milliseconds to each one's first byte."""
    begun = time.perf_counter()
    taken: list[float] = []

    async def worker() -> None:
        while time.perf_counter() - begun < seconds:
            run = await subject.client.run("ana/hello")
            assert run.outcome == "succeeded", run
            taken.append(run.latency)

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    return len(taken), time.perf_counter() - begun, taken


async def _quiet(clock: CpuClock) -> None:
    """Until projections and reaping are through with what was run."""
    for _ in range(20):
        before = clock.read()
        await asyncio.sleep(0.1)
        after = clock.read()
        if sum(after[name] - before[name] for name in after if name != "client") < 0.02:
            return


def _bwrap(subject: Subject, seconds: float) -> float:
    """Bare sandboxes a second, one after the other: one core's worth."""
    argv = subject.floor.enclosed("hello")
    begun = time.perf_counter()
    count = 0
    while time.perf_counter() - begun < seconds:
        first_byte(argv)
        count += 1
    return count / (time.perf_counter() - begun)


def _add(spent: dict[str, float], before: dict[str, float], after: dict[str, float]) -> None:
    for name, value in after.items():
        spent[name] = spent.get(name, 0.0) + value - before[name]


def _report(
    subject: Subject,
    concurrency: int,
    rates: list[float],
    floors: list[float],
    latencies: list[float],
) -> None:
    subject.report.rows += [
        Row(
            section=SECTION,
            name=f"Hermes, {concurrency} at a time",
            value=median(rates),
            unit="/s",
            goal=100.0,
            floor=median(floors),
            floor_name="bare bwrap, one by one",
            higher=True,
        ),
        Row(
            section=SECTION,
            name=f"first byte, {concurrency} at a time, p50",
            value=median(latencies),
            unit="ms",
        ),
    ]


def _limit(concurrency: int, costs: dict[str, float], rate: float) -> str:
    whole = sum(cost for name, cost in costs.items() if name != "all but the client")
    used = rate * whole / 1000
    most = ", ".join(f"{name} {cost:.1f}" for name, cost in list(costs.items())[:3])
    return (
        f"{concurrency} at a time: an execution costs {whole:.1f} ms of CPU with its client (most: "
        f"{most}), so {rate:.0f}/s keep {used:.1f} cores busy."
    )
