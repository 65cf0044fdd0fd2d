"""Read and write the small files through which the kernel is asked and told, fast.

A sandbox's start and end touch some twenty of them; buffered text files cost several times this.
"""

from __future__ import annotations

import os

_ENOUGH = 65536


def read(path: str) -> bytes:
    """The whole content. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = b""
        while chunk := os.read(fd, _ENOUGH):
            content += chunk
        return content
    finally:
        os.close(fd)


def write(path: str, value: object) -> None:
    """Write str(value) into an existing file, in one call. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(value).encode())
    finally:
        os.close(fd)


def read_table(path: str) -> dict[bytes, int]:
    """Lines of "name number". Raises OSError."""
    words = (line.split() for line in read(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdigit()}
