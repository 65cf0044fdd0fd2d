"""What an execution used of its GPUs, for people: figures, and a chart of a line."""

from __future__ import annotations

import math
from typing import Any, Final

from cli.output import Output

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_ASCII: Final = "_.-=+*%#"


def gpu_usage(out: Output, usage: dict[str, Any]) -> dict[str, str]:
    """Fields for what was measured; none without a GPU."""
    from cli.shapes import size_of  # noqa: PLC0415

    shown = {}
    if _is_number(usage.get("gpu_time")):
        shown["GPU time"] = f"{usage['gpu_time']:.3f} GPU-seconds"
    shown["GPU peak memory"] = size_of(usage.get("gpu_peak_memory"))
    if _is_number(usage.get("gpu_utilisation")):
        shown["GPU utilisation"] = f"{usage['gpu_utilisation']:.0%} in the mean"
    if _is_number(usage.get("gpu_energy")):
        shown["GPU energy"] = f"{usage['gpu_energy']:.1f} J"
    shown["GPU over time"] = _chart(usage.get("gpu_samples"), _BLOCKS if out.blocks else _ASCII)
    return shown


def _chart(samples: Any, levels: str) -> str:
    """A character for every sample, as high as the GPUs were busy."""
    points = [
        (sample["time"], sample["utilisation"])
        for sample in samples or ()
        if isinstance(sample, dict)
        and _is_number(sample.get("time"))
        and _is_number(sample.get("utilisation"))
    ]
    if not points:
        return ""
    top = len(levels) - 1
    bars = "".join(levels[round(min(max(busy, 0.0), 1.0) * top)] for _, busy in points)
    return f"|{bars}| to {points[-1][0]:.1f} s, {levels[0]} idle, {levels[-1]} busy"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
