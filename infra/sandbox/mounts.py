"""Mounts in a mount namespace of the agent's own, so that all of them vanish with the agent.

Only for root. The calling thread and what it starts afterwards (threads, children) see the mounts;
threads that ran before do not, and reach a work folder by descriptor.
"""

from __future__ import annotations

import ctypes
import os
import threading
from functools import cache
from pathlib import Path

from infra.sandbox.port import SandboxError

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_SLAVE = 0x2, 0x4, 0x1000, 0x4000, 0x80000
_MNT_DETACH = 0x2


@cache
def enter_own_namespace() -> None:
    """Leave the host's mount namespace, once per process; mounts of the host still arrive."""
    if threading.current_thread() is not threading.main_thread():
        raise SandboxError("sandboxes can be opened on the main thread only")
    if _LIBC.unshare(_CLONE_NEWNS) != 0:
        raise SandboxError(f"no mount namespace of our own: {os.strerror(ctypes.get_errno())}")
    _mount(None, Path("/"), None, _MS_REC | _MS_SLAVE)


def mount_tmpfs(target: Path, size: int, files: int, uid: int, mode: int) -> None:
    """A tmpfs of at most `size` bytes and `files` files (its own root folder not counted)."""
    options = f"size={size},nr_inodes={files + 1},mode={mode:o},uid={uid},gid={uid}"
    _mount("tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV, options)


def bind(source: Path, target: Path) -> None:
    """Make `source` visible at `target`; whoever encloses it makes it read-only."""
    _mount(str(source), target, None, _MS_BIND)


def unmount(target: Path) -> None:
    """Detach whatever is mounted at `target`; nothing there is fine."""
    _LIBC.umount2(os.fsencode(target), _MNT_DETACH)


def _mount(
    source: str | None, target: Path, kind: str | None, flags: int, options: str | None = None
) -> None:
    def encoded(text: str | None) -> bytes | None:
        return None if text is None else os.fsencode(text)

    outcome = _LIBC.mount(
        encoded(source), os.fsencode(target), encoded(kind), ctypes.c_ulong(flags), encoded(options)
    )
    if outcome != 0:
        reason = os.strerror(ctypes.get_errno())
        raise SandboxError(f"cannot mount {source or target} at {target}: {reason}")
