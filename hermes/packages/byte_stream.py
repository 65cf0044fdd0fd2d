"""The bytes of an archive, unpacked under bounds: a stranger chose every one of them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

from hermes.packages.archive_limits import ArchiveLimits
from hermes.packages.errors import broken_archive

_READ = 64 * 1024
_INFLATE = 256 * 1024

# Ordinary sources compress 3 to 10 times, a file of zeros a thousand times. Up to the free amount
# nobody asks; beyond it a packed byte may yield this many.
_MAX_RATIO = 200
_RATIO_FREE = 16 * 1024 * 1024

# A gzip header can carry a name and a comment without end; deflate yields output long before.
_MAX_SILENT = 128 * 1024


def gunzip(source: BinaryIO, limits: ArchiveLimits) -> Iterator[bytes]:
    """The contents of a gzip file with exactly one member, in bounded chunks.

    Raises ArchiveError when it is too large, packed beyond reason, cut off, damaged (its checksum
    is verified) or followed by anything.
    """
    inflate = zlib.decompressobj(wbits=31)
    taken = yielded = 0
    while not inflate.eof:
        packed = inflate.unconsumed_tail
        if not packed:
            packed = source.read(_READ)
            taken += len(packed)
            if not packed:
                raise broken_archive(
                    "is cut off: the gzip stream does not end" if taken else "is empty"
                )
            if taken > limits.packed:
                raise broken_archive(f"is larger than {limits.packed} bytes")
        try:
            chunk = inflate.decompress(packed, _INFLATE)
        except zlib.error:
            raise broken_archive("is not a gzip file, or a damaged one") from None
        yielded += len(chunk)
        if not yielded and taken > _MAX_SILENT:
            raise broken_archive("has an oversized gzip header")
        if yielded > _RATIO_FREE and yielded > _MAX_RATIO * taken:
            raise broken_archive(f"unpacks to more than {_MAX_RATIO} times its size")
        if chunk:
            yield chunk
    if inflate.unused_data or source.read(1):
        raise broken_archive("has more data after the end of its gzip stream")


def plain(source: BinaryIO, limits: ArchiveLimits) -> Iterator[bytes]:
    """The bytes of an archive that is not compressed, in bounded chunks."""
    taken = 0
    while chunk := source.read(_INFLATE):
        taken += len(chunk)
        if taken > limits.packed:
            raise broken_archive(f"is larger than {limits.packed} bytes")
        yield chunk


class ExactReader:
    """Reads exact amounts from chunks, up to a total."""

    def __init__(self, chunks: Iterator[bytes], most: int) -> None:
        self._chunks = chunks
        self._left = most
        self._chunk = b""
        self._at = 0

    def exactly(self, count: int) -> bytes:
        """The next `count` bytes; keep it small. Raises ArchiveError if there are fewer."""
        return b"".join(self.pieces(count))

    def pieces(self, count: int) -> Iterator[bytes]:
        """The next `count` bytes piece by piece. Raises ArchiveError if there are fewer."""
        while count:
            piece = self.some(count)
            if not piece:
                raise broken_archive("is cut off in the middle of a file or header")
            count -= len(piece)
            yield piece

    def skip(self, count: int) -> None:
        """Read and drop the next `count` bytes."""
        for _ in self.pieces(count):
            pass

    def some(self, most: int) -> bytes:
        """Up to `most` bytes, at least one unless the stream is over."""
        if self._at == len(self._chunk):
            self._chunk, self._at = next(self._chunks, b""), 0
            self._left -= len(self._chunk)
            if self._left < 0:
                raise broken_archive("unpacks to more bytes than its files may have")
        piece = self._chunk[self._at : self._at + most]
        self._at += len(piece)
        return piece
