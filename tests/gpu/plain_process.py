"""A program with leased GPUs as a plain process, for machines where no walls can be raised."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from streams.agent.gpu_keeper import GpuLease
from streams.agent.gpu_meter import GpuUse


class Ended(msgspec.Struct, frozen=True):
    """How it ended (a negative code is a signal's), what it printed, and what it used."""

    code: int
    out: str
    use: GpuUse


async def run_plainly(program: Path, words: str, lease: GpuLease, *, within: float = 60.0) -> Ended:
    """Run it to its end, or to its death after `within` seconds, with what it has started."""
    process = await asyncio.create_subprocess_exec(
        str(program),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(lease.uuids)},
        pass_fds=lease.locks,
        start_new_session=True,
    )
    lease.start()
    try:
        async with asyncio.timeout(within):
            out, _ = await process.communicate(words.encode())
    except TimeoutError:
        out = b""
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = await process.wait()
    return Ended(code, out.decode(), await lease.finish())


def start_plainly(program: Path, words: str, uuids: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start it, and leave it alone."""
    process = subprocess.Popen(
        [program],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ",".join(uuids)},
    )
    assert process.stdin is not None
    process.stdin.write(words.encode())
    process.stdin.close()
    return process
