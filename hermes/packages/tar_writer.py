"""Writes tar the same way every time: no times, no owners, two modes."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Iterable
from typing import BinaryIO, Protocol

from hermes.packages.tree_reader import Found

_BLOCK = 512


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> object: ...


class HashingSink:
    """Passes bytes on to a file and keeps their number and SHA-256."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> None:
        """Write and count."""
        self._target.write(data)
        self._hash.update(data)
        self.bytes += len(data)

    @property
    def sha256(self) -> str:
        """In hex."""
        return self._hash.hexdigest()


class GzipSink:
    """Compresses into another sink. Its header carries no time and no name."""

    def __init__(self, target: Sink) -> None:
        self._target = target
        self._deflate = zlib.compressobj(6, zlib.DEFLATED, 31)

    def write(self, data: bytes) -> None:
        """Compress and pass on what is ready."""
        ready = self._deflate.compress(data)
        if ready:
            self._target.write(ready)

    def finish(self) -> None:
        """Write what is left and the checksum."""
        self._target.write(self._deflate.flush())


def write_entry(sink: Sink, entry: Found, contents: Iterable[bytes]) -> None:
    """Header, contents and padding of one file or folder."""
    header = tarfile.TarInfo(entry.path)
    header.type = tarfile.DIRTYPE if entry.folder else tarfile.REGTYPE
    header.mode = 0o755 if entry.folder or entry.executable else 0o644
    header.size = entry.size
    sink.write(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict"))
    for piece in contents:
        sink.write(piece)
    sink.write(bytes(-entry.size % _BLOCK))


def write_end(sink: Sink) -> None:
    """The two zero blocks."""
    sink.write(bytes(2 * _BLOCK))
