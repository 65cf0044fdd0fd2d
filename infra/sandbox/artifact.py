"""Judge and take over what a build left behind, once its sandbox is dead."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hermes.errors import UserError
from infra.sandbox import tree
from infra.sandbox.port import FILE_BYTES, MIB

MAX_BYTES = 512 * MIB
MAX_FILES = 10_000
_FULL = 64 << 10  # bytes free in a folder that is called full: what came last may be cut off

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class BuildRefused(UserError):
    """The build left something that cannot be run"""

    code = "build_refused"
    status = 422


def inspect_build(
    work: Path,
    handler: str,
    *,
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
    file_bytes: int = FILE_BYTES,
) -> None:
    """Check a built folder; make the handler executable if the Makefile forgot to.

    The handler must be a regular file, reached without links, and a program (ELF) or a script (#!).
    `file_bytes` was the sandbox's limit: a file of just that size, or a folder without room, was
    cut off, whatever `make` made of that. Raises BuildRefused with a sentence for the user.
    """
    folder = os.open(work, _FOLDER)
    try:
        _check_room(folder)
        _measure(folder, max_bytes, max_files, file_bytes)
        _check_handler(folder, handler)
    finally:
        os.close(folder)


def take_over(work: Path, target: Path) -> None:
    """Copy an inspected folder into the new folder `target`, with modes 0755 and 0644 only.

    Links within become copies of their files. Raises BuildRefused for what cannot be kept.
    """
    target.mkdir(mode=0o755)
    source, copied = os.open(work, _FOLDER), os.open(target, _FOLDER)
    try:
        tree.copy(source, copied)
    except OSError as error:
        raise BuildRefused(str(error)) from error
    finally:
        os.close(source)
        os.close(copied)


def _check_room(folder: int) -> None:
    room = os.fstatvfs(folder)
    if room.f_bavail * room.f_frsize < _FULL:
        most = room.f_blocks * room.f_frsize // MIB
        raise BuildRefused(
            f"the build filled its folder of {most} MiB, so its files may be cut off"
        )
    if room.f_files and not room.f_ffree:
        raise BuildRefused(f"the build filled its folder: no more than {room.f_files} files fit in")


def _measure(folder: int, max_bytes: int, max_files: int, file_bytes: int) -> None:
    size = files = 0
    try:
        for entry in tree.walk(folder):
            files += 1
            size += _size_once_kept(folder, entry)
            if stat.S_ISREG(entry.status.st_mode) and entry.status.st_size == file_bytes:
                most = file_bytes // MIB
                raise BuildRefused(f"{entry.path!r} was cut off at its limit of {most} MiB")
            if files > max_files:
                raise BuildRefused(f"the build left more than {max_files} files")
            if size > max_bytes:
                raise BuildRefused(f"the build left more than {max_bytes // MIB} MiB")
    except OSError as error:
        raise BuildRefused(str(error)) from error


def _size_once_kept(folder: int, entry: tree.Entry) -> int:
    # A link is kept as a copy of its file: a thousand links to one file take a thousand times it.
    if stat.S_ISLNK(entry.status.st_mode):
        try:
            fd = tree.open_file(folder, entry.path)
        except OSError:
            return 0  # nothing that can be kept: `take_over` refuses it
        try:
            return os.fstat(fd).st_size
        finally:
            os.close(fd)
    return entry.status.st_size if stat.S_ISREG(entry.status.st_mode) else 0


def _check_handler(folder: int, handler: str) -> None:
    parts = Path(handler).parts
    if not parts or Path(handler).is_absolute() or ".." in parts:
        raise BuildRefused(f"handler {handler!r} is not a path below the function's folder")
    try:
        fd = tree.open_file(folder, handler, links=False)
    except OSError as error:
        raise BuildRefused(f"no handler after make: {error}") from error
    try:
        head = os.pread(fd, 4, 0)
        if head != b"\x7fELF" and not head.startswith(b"#!"):
            raise BuildRefused(
                f"handler {handler!r} is neither a program (ELF) nor a script that starts with #!"
            )
        os.fchmod(fd, 0o755)
    finally:
        os.close(fd)
