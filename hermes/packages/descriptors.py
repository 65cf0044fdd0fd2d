"""Opens what lies below a folder without following a link, whoever wrote the folder."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

# Without O_NONBLOCK, a named pipe put in a file's place would hold the reader for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_root(folder: Path) -> int:
    """A descriptor of the folder itself; the caller named it, so it may be a link."""
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def open_below(root: int, path: str) -> int:
    """A descriptor to read the file at a clean path below `root`. Raises OSError.

    What is opened may still be a folder, a pipe or a device: look at it with `os.fstat`.
    """
    *folders, name = path.split("/")
    fd = os.dup(root)
    try:
        for folder in folders:
            inner = os.open(folder, FOLDER, dir_fd=fd)
            os.close(fd)
            fd = inner
        return os.open(name, _FILE, dir_fd=fd)
    finally:
        os.close(fd)
