"""How fast views are rebuilt from the log."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.bench.cpu import per_unit
from tests.bench.report import Row
from tests.bench.subject import Subject

SECTION = "Rebuild of a projection"
_PATIENCE = 60.0


async def measure(subject: Subject) -> None:
    """Rebuild `executions` from everything that the sections before have appended."""
    clock = subject.cpu()
    before = clock.read()
    begun = time.perf_counter()
    await subject.client.post("/v1/projections/executions/rebuild")
    progress: dict[str, Any] = {}
    while progress.get("status") not in ("done", "failed"):
        if time.perf_counter() - begun > _PATIENCE:
            raise TimeoutError(f"the rebuild takes too long: {progress}")
        await asyncio.sleep(0.02)
        views = (await subject.client.get("/v1/projections"))["items"]
        progress = next(v for v in views if v["name"] == "executions")["rebuild"] or {}
    elapsed = time.perf_counter() - begun
    assert progress["verified"], progress
    events = progress["events_done"]
    costs = per_unit(before, clock.read(), events)
    subject.report.rows.append(
        Row(
            section=SECTION,
            name="fill, verify and swap",
            value=events / elapsed,
            unit="ev/s",
            higher=True,
        )
    )
    subject.report.notes.append(
        f"The rebuild read {events} events in {elapsed:.2f} s; an event costs the projector "
        f"{costs['projector']:.3f} ms of CPU and PostgreSQL {costs['postgres']:.3f} ms."
    )
