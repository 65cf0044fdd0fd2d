"""User ids for sandboxes: each running one has an id that nobody else on the host has.

An agent locks a block of ids for its life, so several agents on one host never share one.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from infra.sandbox.port import SandboxError

_FIRST = 210_001
_BLOCK = 1024
_BLOCKS = 64


class UserPool:
    """The ids of one agent."""

    def __init__(self, folder: Path) -> None:
        self._lock, first = _lock_block(folder)
        self._free = list(range(first + _BLOCK - 1, first - 1, -1))

    def take(self) -> int:
        """An id for one sandbox. Raises SandboxError when all are in use."""
        if not self._free:
            raise SandboxError(f"{_BLOCK} sandboxes run at once, there is no user id for another")
        return self._free.pop()

    def give_back(self, uid: int) -> None:
        """The sandbox is gone."""
        self._free.append(uid)

    def close(self) -> None:
        """Let other agents have the block."""
        os.close(self._lock)


def _lock_block(folder: Path) -> tuple[int, int]:
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    for number in range(_BLOCKS):
        fd = os.open(folder / f"{number}.lock", os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
        else:
            return fd, _FIRST + number * _BLOCK
    raise SandboxError(f"{_BLOCKS} agents run on this host, there are no user ids for another")
