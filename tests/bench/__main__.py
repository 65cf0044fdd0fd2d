"""Hermes beside plain exec, bare bubblewrap and a bare container engine, measured in one run.

    python -m tests.bench [--quick] [--json FILE] [SECTION…]

Rounds of all take turns, so that noise hits all alike. About ten minutes,
most of it for the sandboxes; --quick about half of that.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from tests.bench import enclosures, first_byte, lines, output_rate, rebuild, throughput
from tests.bench.subject import Subject

SECTIONS: dict[str, Callable[[Subject], Awaitable[None]]] = {
    "first-byte": first_byte.measure,
    "lines": lines.measure,
    "throughput": throughput.measure,
    "output": output_rate.measure,
    "rebuild": rebuild.measure,
    "sandboxes": enclosures.measure,
}


async def run(sections: list[str], quick: bool, file: Path | None) -> None:
    """Measure, print, and write `file` if one is given."""
    begun = time.monotonic()
    task = asyncio.current_task()
    assert task is not None
    # Else the measured Hermes would go on by itself.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    load = os.getloadavg()[0]
    async with Subject(quick) as subject:
        report = subject.report
        try:
            for name in sections:
                await SECTIONS[name](subject)
        except BaseException:
            print(report.show())
            raise
        report.tables["Memory, MiB resident"] = {
            name: {"after all": size} for name, size in subject.memory().items()
        }
    report.notes.append(
        f"{os.cpu_count()} cores, load {load:.1f} before and {os.getloadavg()[0]:.1f} after; "
        f"{time.monotonic() - begun:.0f} s in all."
    )
    print(report.show())
    if file is not None:
        report.write(file)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], metavar="SECTION")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the report there")
    options = parser.parse_args()
    uvloop.run(run(options.sections or list(SECTIONS), options.quick, options.json))


if __name__ == "__main__":
    main()
