"""How one GPU is given to a single sandbox.

A GPU is locked on its host by an `flock` whose descriptor the sandbox's outer process holds, so it
is free exactly when the sandbox is gone, whether its agent lives or not.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path

from infra.gpu.model import GpuBusy

_LOCKS = Path("/run/lock")
# Anybody may write to the folder, also links to what only we may write.
_LOCK = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def lock(uuid: str) -> int:
    """The descriptor that holds the GPU until its last copy is closed. Raises GpuBusy."""
    folder = _LOCKS if _LOCKS.is_dir() else Path(tempfile.gettempdir())
    # A MIG slice's UUID may hold slashes in old drivers.
    name = "hermes-" + uuid.replace("/", "_")
    fd = os.open(folder / name, _LOCK, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise GpuBusy(f"GPU {uuid} is still held by an earlier sandbox") from None
    return fd
