"""From a program's write of a line to its reader: the program prints the time of writing."""

from __future__ import annotations

import asyncio

from tests.bench.client import Run
from tests.bench.floor import line_latencies
from tests.bench.report import Row, median, quantile
from tests.bench.subject import Subject

SECTION = "Line latency (a line every 20 ms)"


async def measure(subject: Subject) -> None:
    """Rounds of the same program in a pipe, in a bare bwrap, and tailed through Hermes."""
    rounds, count = (2, 50) if subject.quick else (4, 100)
    stdin = f"{count} 20\n"
    samples: dict[str, list[float]] = {"exec": [], "bwrap": [], "Hermes": []}
    for _ in range(rounds):
        for name, argv in (
            ("exec", subject.floor.plain("ticker")),
            ("bwrap", subject.floor.enclosed("ticker")),
        ):
            samples[name] += await asyncio.to_thread(line_latencies, argv, stdin.encode())
        samples["Hermes"] += _latencies(await subject.client.run("ana/ticker", stdin))
    floor = median(samples["bwrap"]) * 1e3
    for name in ("exec", "bwrap"):
        subject.report.rows.append(
            Row(section=SECTION, name=f"{name}, p50", value=median(samples[name]) * 1e3, unit="ms")
        )
    subject.report.rows += [
        Row(
            section=SECTION,
            name="Hermes, write to SSE client, p50",
            value=median(samples["Hermes"]) * 1e3,
            unit="ms",
            goal=10.0,
            floor=floor,
            floor_name="bare bwrap",
        ),
        Row(
            section=SECTION,
            name="the same, p90",
            value=quantile(samples["Hermes"], 0.9) * 1e3,
            unit="ms",
        ),
    ]


def _latencies(run: Run) -> list[float]:
    found = []
    rest = b""
    for came, content in run.chunks:
        *lines, rest = (rest + content).split(b"\n")
        found += [came - int(line) / 1e9 for line in lines]
    return found
