"""Writes a tree below one folder and nowhere else, whatever the names say."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from hermes.packages.descriptors import FOLDER, open_root

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class TreeWriter:
    """Creates files and folders relative to open descriptors, one component at a time.

    Paths must be clean (see names.path_problem). Nothing that exists is opened for writing or
    replaced, and no link is followed. The folders on the way to the last file stay open, so
    neighbours cost one open each.
    """

    def __init__(self, root: Path) -> None:
        self._fds = [open_root(root)]
        self._open: list[str] = []

    def __enter__(self) -> TreeWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for fd in self._fds:
            os.close(fd)

    def folder(self, path: str) -> None:
        """Create a folder and those above it; one that was made before is fine."""
        self._enter(path.split("/"))

    def file(self, path: str, contents: Iterable[bytes], *, executable: bool) -> None:
        """Create a file with mode 0755 or 0644, whatever the umask."""
        *folders, name = path.split("/")
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=self._enter(folders))
        try:
            for piece in contents:
                _write_all(fd, piece)
            os.fchmod(fd, 0o755 if executable else 0o644)
        finally:
            os.close(fd)

    def _enter(self, folders: list[str]) -> int:
        shared = 0
        while shared < min(len(folders), len(self._open)) and folders[shared] == self._open[shared]:
            shared += 1
        while len(self._open) > shared:
            self._open.pop()
            os.close(self._fds.pop())
        for name in folders[shared:]:
            self._fds.append(_make_folder(name, self._fds[-1]))
            self._open.append(name)
        return self._fds[-1]


def _make_folder(name: str, parent: int) -> int:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return os.open(name, FOLDER, dir_fd=parent)
    fd = os.open(name, FOLDER, dir_fd=parent)
    os.fchmod(fd, 0o755)
    return fd


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
