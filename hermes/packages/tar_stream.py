"""Tar entries as a stream, every length bounded before anything is read.

The standard library parses single headers; what stands between them (PAX records, GNU long names,
links, sparse maps) is where `tarfile` believes the archive, so that is done here.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator

from hermes.packages.byte_stream import ExactReader
from hermes.packages.errors import broken_archive

_BLOCK = 512
_MAX_META = 64 * 1024
_MAX_TRAILER = 1024 * 1024

_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE)
_REFUSED = {
    tarfile.LNKTYPE: "is a hard link: pack a copy instead",
    tarfile.SYMTYPE: "is a symbolic link: pack a copy instead",
    tarfile.CHRTYPE: "is a device",
    tarfile.BLKTYPE: "is a device",
    tarfile.FIFOTYPE: "is a named pipe",
    tarfile.GNUTYPE_SPARSE: "is a sparse file: pack it without --sparse",
}


class Entry:
    """One file or folder of the archive, or what is wrong with it in `problem`."""

    def __init__(self, header: tarfile.TarInfo, name: str, size: int, reader: ExactReader) -> None:
        self.name = name
        self.size = size
        self.folder = header.type == tarfile.DIRTYPE
        self.executable = bool(header.mode & 0o111)
        self.problem: str | None = None
        if header.type not in (*_FILES, tarfile.DIRTYPE):
            self.problem = _REFUSED.get(header.type, "is neither a file nor a folder")
        elif self.folder and size:
            self.problem = "is a folder with contents of its own"
        self._reader = reader
        self._unread = size

    def contents(self) -> Iterator[bytes]:
        """The file's bytes, once, piece by piece."""
        for piece in self._reader.pieces(self._unread):
            self._unread -= len(piece)
            yield piece

    def finish(self) -> None:
        """Move on to the next header."""
        self._reader.skip(self._unread + -self.size % _BLOCK)


def read_entries(reader: ExactReader, most_headers: int) -> Iterator[Entry]:
    """Every entry in order; contents that the caller leaves are skipped.

    `most_headers` bounds the work: a header is cheap to send and describes nothing if it likes.

    Raises ArchiveError where the stream cannot be trusted any further: a damaged or cut-off header,
    oversized or contradictory metadata, no end marker, or anything after it.
    """
    name: str | None = None
    records: dict[str, str] = {}
    while True:
        header = _read_header(reader)
        if header is None:
            break
        most_headers -= 1
        if most_headers < 0:
            raise broken_archive("holds too many entries")
        if header.type == tarfile.GNUTYPE_LONGNAME and name is None:
            name = _decode(_read_meta(reader, header).rstrip(b"\0"))
        elif header.type == tarfile.GNUTYPE_LONGLINK:
            _read_meta(reader, header)  # it belongs to a link, which is refused
        elif header.type == tarfile.XHDTYPE and not records:
            records = _pax_records(_read_meta(reader, header))
        elif header.type == tarfile.XGLTYPE:
            if _pax_records(_read_meta(reader, header)).keys() & {"path", "size", "linkpath"}:
                raise broken_archive("has a global header that renames or resizes its files")
        elif header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
            raise broken_archive("names or describes one file twice")
        else:
            entry = _entry(header, name, records, reader)
            name, records = None, {}
            yield entry
            entry.finish()
    if name is not None or records:
        raise broken_archive("ends with the description of a file that does not follow")
    _expect_end(reader)


def _read_header(reader: ExactReader) -> tarfile.TarInfo | None:
    block = reader.exactly(_BLOCK)
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
        return None
    except (tarfile.HeaderError, ValueError, OverflowError):
        raise broken_archive("is not a tar archive, or a damaged one") from None
    if header.size < 0:
        raise broken_archive("holds a file of negative size")
    return header


def _read_meta(reader: ExactReader, header: tarfile.TarInfo) -> bytes:
    if header.size > _MAX_META:
        raise broken_archive(f"has a name or description of more than {_MAX_META} bytes")
    data = reader.exactly(header.size)
    reader.skip(-header.size % _BLOCK)
    return data


def _pax_records(data: bytes) -> dict[str, str]:
    """`LENGTH KEY=VALUE\\n` records; those that change how a file reads are refused."""
    records: dict[str, str] = {}
    while data:
        digits, _, _ = data[:8].partition(b" ")
        if not digits.isdigit():
            raise broken_archive("has a damaged PAX header")
        length = int(digits)
        record, data = data[len(digits) + 1 : length], data[length:]
        key, equals, value = record[:-1].partition(b"=")
        if not equals or not record.endswith(b"\n") or len(record) + len(digits) + 1 != length:
            raise broken_archive("has a damaged PAX header")
        keyword = _decode(key)
        if keyword in records:
            raise broken_archive("has a PAX header with a key given twice")
        if keyword.startswith("GNU.sparse"):
            raise broken_archive("holds a sparse file: pack it without --sparse")
        records[keyword] = _decode(value)
    return records


def _entry(
    header: tarfile.TarInfo, long_name: str | None, records: dict[str, str], reader: ExactReader
) -> Entry:
    if long_name is not None and "path" in records:
        raise broken_archive("names one file twice")
    name = records.get("path", header.name if long_name is None else long_name)
    if header.type == tarfile.DIRTYPE:
        name = name.rstrip("/") or name
    size = header.size
    if "size" in records:
        digits = records["size"]
        if not (digits.isascii() and digits.isdigit() and len(digits) < 20):
            raise broken_archive("has a PAX header with a bad size")
        size = int(digits)
    entry = Entry(header, name, size, reader)
    if entry.problem is not None and size:
        # Tools disagree on whether contents follow such an entry, so the rest could be read twice.
        raise broken_archive(f"holds an entry that {entry.problem}, with contents")
    return entry


def _expect_end(reader: ExactReader) -> None:
    """The second zero block, and zeros only up to the end of tar's last record."""
    if reader.exactly(_BLOCK).strip(b"\0"):
        raise broken_archive("has more data after its end")
    padding = 0
    while piece := reader.some(_BLOCK * 128):
        padding += len(piece)
        if piece.strip(b"\0") or padding > _MAX_TRAILER:
            raise broken_archive("has more data after its end")


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
