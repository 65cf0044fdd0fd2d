"""Role logs: files that the roles themselves append to, kept from growing without bound."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

LIMIT = 10 << 20  # bytes; twice as much lies on the disk, `role.log` and `role.log.1`


def bound(log: Path, limit: int = LIMIT) -> None:
    """Move a log that has grown over `limit` bytes to `.1`.

    Copied and cut short in place, because its writer holds it open (in append mode); lines written
    between the two steps are lost.
    """
    try:
        if log.stat().st_size <= limit:
            return
    except FileNotFoundError:
        return
    # On a full disk the copy fails, and room is what is needed.
    with contextlib.suppress(OSError):
        shutil.copyfile(log, log.with_name(log.name + ".1"))
    os.truncate(log, 0)


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, at most 8 KiB."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 8192))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
