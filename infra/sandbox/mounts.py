"""Mounts in a mount namespace of the agent's own, so that all of them vanish with the agent.

Only for root. The calling thread and what it starts afterwards (threads, children) see the mounts;
threads that ran before do not, and reach a work folder by descriptor.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from functools import cache
from pathlib import Path

from infra.sandbox import tree
from infra.sandbox.port import MIB, SandboxError

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNS = 0x00020000
_RDONLY, _NOSUID, _NODEV, _REMOUNT, _BIND, _REC, _SLAVE = 1, 2, 4, 0x20, 0x1000, 0x4000, 0x80000
_MNT_DETACH = 0x2
_MOUNT_SETATTR, _AT_RECURSIVE = 442, 0x8000


@cache
def own_folder(point: Path) -> Path:
    """A folder for mounts at `point` that this process alone sees; once per process.

    Leaves the host's mount namespace for one of our own; mounts of the host still arrive.
    """
    if threading.current_thread() is not threading.main_thread():
        raise SandboxError("sandboxes can be opened on the main thread only")
    tree.make_public(point)
    if _LIBC.unshare(_CLONE_NEWNS) != 0:
        raise SandboxError(f"no mount namespace of our own: {os.strerror(ctypes.get_errno())}")
    _mount(None, Path("/"), None, _REC | _SLAVE)
    # Not nodev: the sandboxes' /dev lies here.
    _mount("tmpfs", point, "tmpfs", _NOSUID, f"size={64 * MIB},mode=711")
    return point


def mount_tmpfs(target: Path, size: int, files: int, uid: int) -> None:
    """A tmpfs of at most `size` bytes and `files` files (its own root folder not counted)."""
    options = f"size={size},nr_inodes={files + 1},mode=700,uid={uid},gid={uid}"
    _mount("tmpfs", target, "tmpfs", _NOSUID | _NODEV, options)


def bind(source: Path, target: Path, *, devices: bool = False) -> None:
    """Show `source` and all that is mounted below it at `target`, read-only, set-id bits dead."""
    flags = _RDONLY | _NOSUID | (0 if devices else _NODEV)
    _mount(str(source), target, None, _BIND | _REC)
    attributes = struct.pack("QQQQ", flags, 0, 0, 0)  # the same bits as MOUNT_ATTR_*
    place = os.fsencode(target)
    if _LIBC.syscall(_MOUNT_SETATTR, -1, place, _AT_RECURSIVE, attributes, len(attributes)) != 0:
        if ctypes.get_errno() != errno.ENOSYS:
            raise SandboxError(f"{target}: {os.strerror(ctypes.get_errno())}")
        # Before Linux 5.12 only one mount at a time turns read-only: go without those below.
        unmount(target)
        _mount(str(source), target, None, _BIND)
        _mount(None, target, None, _BIND | _REMOUNT | flags)


def mount_for_devices(target: Path) -> None:
    """A small tmpfs where device nodes work; `seal` it once it is laid out."""
    _mount("tmpfs", target, "tmpfs", _NOSUID, f"size={MIB},nr_inodes=1024,mode=755")


def seal(target: Path) -> None:
    """Make a mount for devices read-only."""
    _mount(None, target, None, _BIND | _REMOUNT | _RDONLY | _NOSUID)


def cover(target: Path) -> None:
    """Show an empty read-only folder at `target`, whatever is below."""
    _mount("tmpfs", target, "tmpfs", _RDONLY | _NOSUID | _NODEV, "nr_inodes=1,mode=555")


def unmount(target: Path) -> None:
    """Detach what is mounted at `target` and below; nothing there is fine."""
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
