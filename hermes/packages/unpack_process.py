"""Reads archives in a confined process of their own, for servers."""

from __future__ import annotations

import asyncio
import math
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import msgspec

import hermes
from hermes.errors import ServerFault
from hermes.packages.archive import UnpackedPackage
from hermes.packages.archive_limits import SOURCE_LIMITS, ArchiveLimits
from hermes.packages.errors import ArchiveError, ConfigError, broken_archive
from hermes.packages.unpack_worker import Accepted, Answer, Request

_WORKER = "hermes.packages.unpack_worker"
_TOO_LONG = (signal.SIGXCPU, signal.SIGKILL)


class UnpackFault(ServerFault):
    """The archive could not be read because Hermes failed"""


async def validate_in_subprocess(
    source: Path, limits: ArchiveLimits = SOURCE_LIMITS, *, timeout: float = 30.0
) -> UnpackedPackage:
    """`archive.validate` in a confined process, ended after `timeout` seconds.

    Raises ArchiveError or ConfigError for what the archive holds, UnpackFault for our own faults.
    """
    return await _ask(source, None, limits, timeout)


async def unpack_in_subprocess(
    source: Path, target: Path, limits: ArchiveLimits = SOURCE_LIMITS, *, timeout: float = 30.0
) -> UnpackedPackage:
    """`archive.unpack` in a confined process: `target` is complete afterwards, or absent.

    Raises as `validate_in_subprocess` does; nothing is left behind, even if the process is killed.
    """
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        package = await _ask(source, staging / "package", limits, timeout)
        (staging / "package").rename(target)
        return package
    finally:
        await asyncio.to_thread(shutil.rmtree, staging, ignore_errors=True)


async def _ask(
    source: Path, target: Path | None, limits: ArchiveLimits, timeout: float
) -> UnpackedPackage:
    request = Request(str(target) if target else None, limits, math.ceil(timeout))
    with await asyncio.to_thread(source.open, "rb") as archive:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", _WORKER, msgspec.json.encode(request).decode()),
            stdin=archive,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # An empty environment: the server's holds its database's password.
            env={"PYTHONPATH": str(Path(hermes.__file__).parents[1])},
        )
    try:
        async with asyncio.timeout(timeout):
            out, err = await process.communicate()
    except TimeoutError:
        raise broken_archive(f"takes longer than {timeout:g} seconds to read") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode is not None and -process.returncode in _TOO_LONG:
        raise broken_archive("takes more time or memory to read than it may")
    if process.returncode != 0:
        raise UnpackFault(err.decode(errors="replace")[-500:].strip())
    return _package(out)


def _package(out: bytes) -> UnpackedPackage:
    answer = msgspec.json.decode(out, type=Answer)
    if isinstance(answer, Accepted):
        return answer.package
    if answer.what == "config":
        raise ConfigError(answer.problems)
    raise ArchiveError(answer.problems)
