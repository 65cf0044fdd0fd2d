"""Asks programs for their version, and sums up files, without asking twice."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path


def output_of(program: Path, *arguments: str) -> str | None:
    """What a program prints, or None if it does not run, fails or takes longer than 10 s."""
    return _output(program, arguments, *_stamp(program))


def digest_of(files: Iterable[Path], *facts: str) -> str:
    """SHA-256 over the contents of those files that exist, in the given order, and over facts."""
    total = hashlib.sha256()
    for fact in facts:
        total.update(hashlib.sha256(fact.encode()).digest())
    for path in files:
        if path.is_file():
            total.update(path.name.encode() + b"\0" + _sha256(path, *_stamp(path)))
    return total.hexdigest()


def _stamp(path: Path) -> tuple[int, ...]:
    """Changes when the file does, so that a compiler replaced under a running agent is seen."""
    try:
        stat = path.stat()
    except OSError:
        return ()
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _output(program: Path, arguments: tuple[str, ...], *_: int) -> str | None:
    try:
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


@lru_cache(maxsize=256)
def _sha256(path: Path, *_: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
