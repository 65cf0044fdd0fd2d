"""How fast one execution's output gets into the log, and out of it to a client."""

from __future__ import annotations

import asyncio
import time

from tests.bench.cpu import per_unit
from tests.bench.floor import drained
from tests.bench.report import Row, median
from tests.bench.subject import Subject

SECTION = "Output of one execution"
_MB = 1e6


async def measure(subject: Subject) -> None:
    """Rounds of the same flood into a pipe, and through Hermes with a reader that follows."""
    mebibytes = 64 if subject.quick else 256
    stdin = f"{mebibytes}\n"
    clock = subject.cpu()
    floors, logged, tailed = [], [], []
    spent: dict[str, float] = {}
    give_up = time.monotonic() + 20.0
    for _ in range(1 if subject.quick else 2):
        if time.monotonic() > give_up:
            break
        argv = subject.floor.enclosed("flood")
        size, seconds = await asyncio.to_thread(drained, argv, stdin.encode())
        floors.append(size / _MB / seconds)
        # Without a reader: what the log takes.
        before = clock.read()
        logged.append(await _without_reader(subject, stdin, size))
        spent = per_unit(before, clock.read(), size / _MB)
        run = await subject.client.run("ana/flood", stdin, keep=False)
        assert run.outcome == "succeeded", run
        tailed.append(size / _MB / (run.ended - run.times["started"]))
    subject.report.rows += [
        Row(
            section=SECTION,
            name=f"Hermes, {mebibytes} MiB into the log",
            value=median(logged),
            unit="MB/s",
            goal=60.0,
            floor=median(floors),
            floor_name="bwrap into a pipe",
            higher=True,
        ),
        Row(
            section=SECTION,
            name="with an SSE client that follows",
            value=median(tailed),
            unit="MB/s",
            higher=True,
        ),
    ]
    subject.report.tables["CPU per megabyte of output, milliseconds"] = {
        name: {"no reader": value} for name, value in spent.items()
    }


async def _without_reader(subject: Subject, stdin: str, size: int) -> float:
    started = await subject.client.post("/v1/executions", {"function": "ana/flood", "input": stdin})
    path = f"/v1/executions/{started['id']}"
    while (found := await subject.client.get(path))["status"] != "finished":
        await asyncio.sleep(0.1)
    assert found["output"]["stdout"]["bytes"] == size, found
    return float(size / _MB / found["usage"]["wall_time"])
