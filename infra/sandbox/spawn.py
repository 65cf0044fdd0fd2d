"""Start a process fast and clean: vfork-like, empty environment, no descriptor but those named.

asyncio's subprocess takes several milliseconds under uvloop; posix_spawn takes under one.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
from collections.abc import Mapping
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLOSE_RANGE_CLOEXEC = 4
_LAST_FD = 0xFFFFFFFF
_ABOVE_TARGETS = 32  # sources are moved out of the way of the numbers they are given
# Python ignores these, and what is ignored stays so across exec.
_DEFAULTS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def spawn(argv: tuple[str, ...], fds: Mapping[int, int | None]) -> int:
    """Start argv[0] with exactly `fds` (its number: ours, None for /dev/null); the process id.

    The child has a process group of its own and the default action for signals. Raises OSError.
    Every other descriptor of this process is marked close-on-exec: libraries forget to.
    """
    mark_close_on_exec()
    moved: list[int] = []
    try:
        actions: list[tuple[int, int, int] | tuple[int, int, str, int, int]] = []
        for target, source in fds.items():
            if source is None:
                actions.append((os.POSIX_SPAWN_OPEN, target, os.devnull, os.O_RDWR, 0))
            else:
                moved.append(fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, _ABOVE_TARGETS))
                actions.append((os.POSIX_SPAWN_DUP2, moved[-1], target))
        return os.posix_spawn(
            argv[0],
            argv,
            {},
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
            setsigdef=_DEFAULTS,
        )
    finally:
        for fd in moved:
            os.close(fd)


def mark_close_on_exec() -> None:
    """Let no descriptor of this process above 2 pass to children by accident."""
    if hasattr(_LIBC, "close_range"):
        if _LIBC.close_range(3, ctypes.c_uint(_LAST_FD), _CLOSE_RANGE_CLOEXEC) == 0:
            return
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) > 2:
            with contextlib.suppress(OSError):  # the descriptor of the listing itself
                os.set_inheritable(int(entry.name), False)
