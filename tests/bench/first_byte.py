"""From the request to the first byte of output, one run at a time, and where the time goes."""

from __future__ import annotations

import subprocess
import time

from tests.bench.client import Run
from tests.bench.floor import first_byte
from tests.bench.report import Row, median, quantile
from tests.bench.stages import spread
from tests.bench.subject import Subject

SECTION = "First byte (one run at a time)"
_WARM_UP = 10  # connections, caches and the broker's JIT


async def measure(subject: Subject) -> None:
    """Rounds of one plain exec, one bare bwrap and one Hermes run."""
    rounds = 40 if subject.quick else 200
    plain, enclosed = subject.floor.plain("hello"), subject.floor.enclosed("hello")
    samples: dict[str, list[float]] = {"exec": [], "bwrap": []}
    runs: list[Run] = []
    give_up = time.monotonic() + (12.0 if subject.quick else 40.0)
    for number in range(rounds + _WARM_UP):
        if time.monotonic() > give_up and runs:
            break  # a machine that busy: fewer rounds
        taken = first_byte(plain)[0], first_byte(enclosed)[0]
        run = await subject.client.run("ana/hello")
        if number < _WARM_UP:
            continue
        samples["exec"].append(taken[0] * 1e3)
        samples["bwrap"].append(taken[1] * 1e3)
        runs.append(run)
    _rows(subject, samples, runs)
    subject.report.tables["Stages of a run, milliseconds"] = spread(runs)
    await _command(subject)


def _rows(subject: Subject, samples: dict[str, list[float]], runs: list[Run]) -> None:
    rows = subject.report.rows
    floor = median(samples["bwrap"])
    for name, values in samples.items():
        rows.append(Row(section=SECTION, name=f"{name}, p50", value=median(values), unit="ms"))
    taken = [run.latency for run in runs]
    ended = [(run.ended - run.asked) * 1e3 for run in runs]
    rows += [
        Row(
            section=SECTION,
            name="Hermes, POST to first byte, p50",
            value=median(taken),
            unit="ms",
            goal=20.0,
            floor=floor,
            floor_name="bare bwrap",
        ),
        Row(section=SECTION, name="the same, p90", value=quantile(taken, 0.9), unit="ms"),
        Row(section=SECTION, name="Hermes, POST to end, p50", value=median(ended), unit="ms"),
    ]


async def _command(subject: Subject) -> None:
    taken = []
    for _ in range(8 if subject.quick else 20):
        begun = time.perf_counter()
        process = subject.user.spawn("run", "ana/hello", "--input", "")
        assert process.stdout is not None
        process.stdout.read(1)
        taken.append((time.perf_counter() - begun) * 1e3)
        _end(process)
    subject.report.rows.append(
        Row(
            section=SECTION,
            name="hermes run, process to first byte, p50",
            value=median(taken),
            unit="ms",
            goal=300.0,
        )
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.communicate(timeout=30)
    assert process.returncode == 0
