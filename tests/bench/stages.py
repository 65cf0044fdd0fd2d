"""Where the time of a run goes, by the times of its events and the client's own."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from tests.bench.client import Run
from tests.bench.report import median, quantile

_STAGES = ("requested", "scheduled", "claimed", "started")


def stages(runs: Iterable[Run]) -> dict[str, list[float]]:
    """Milliseconds from each moment to the next, of every run."""
    spans: dict[str, list[float]] = {}
    for run in runs:
        moments = [("asked", run.asked), *((name, run.times[name]) for name in _STAGES)]
        moments += [("read by agent", run.read), ("first byte", run.first_byte)]
        for (before, then), (after, now) in pairwise(moments):
            spans.setdefault(f"{before} → {after}", []).append((now - then) * 1e3)
        finished = run.times["finished"]
        spans.setdefault("read by agent → finished", []).append((finished - run.read) * 1e3)
        spans.setdefault("finished → end at client", []).append((run.ended - finished) * 1e3)
    return spans


def medians(runs: Iterable[Run]) -> dict[str, float]:
    """The median of each stage, milliseconds."""
    return {name: median(values) for name, values in stages(runs).items()}


def spread(runs: Iterable[Run]) -> dict[str, dict[str, float]]:
    """Median and 90th percentile of each stage, milliseconds."""
    return {
        name: {"p50": median(values), "p90": quantile(values, 0.9)}
        for name, values in stages(runs).items()
    }
