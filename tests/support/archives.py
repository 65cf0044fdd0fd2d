"""Builds archives byte by byte, hostile ones included: `tarfile` alone would refuse to."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from typing import Any

CONFIG: dict[str, Any] = {
    "functionName": "waiter",
    "functionVersion": "1.0.0",
    "language": "cpp",
    "gpuCapable": False,
    "scope": "public",
    "handler": "./main.out",
}


def config_bytes(**changes: Any) -> bytes:
    """A valid config with some fields changed."""
    return json.dumps(CONFIG | changes).encode()


def block(name: str | bytes, data: bytes = b"", *, kind: bytes = b"0", **fields: Any) -> bytes:
    """One tar entry: header, contents, padding. `size` in fields lies about the contents."""
    raw_name = name.encode("utf-8", "surrogateescape") if isinstance(name, str) else name
    mode: int = fields.get("mode", 0o644)
    size: int = fields.get("size", len(data))
    link: bytes = fields.get("link", b"")
    header = bytearray(512)
    header[0:100] = raw_name.ljust(100, b"\0")[:100]
    header[100:108] = b"%07o\0" % mode
    header[108:124] = b"0000000\0" * 2
    header[124:136] = _size_field(size)
    header[136:148] = b"00000000000\0"
    header[148:156] = b" " * 8
    header[156:157] = kind
    header[157:257] = link.ljust(100, b"\0")
    header[257:265] = b"ustar\00000"
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data + bytes(-len(data) % 512)


def _size_field(size: int) -> bytes:
    if 0 <= size < 8**11:
        return b"%011o\0" % size
    sign = b"\xff" if size < 0 else b"\x80"
    return sign + size.to_bytes(11, "big", signed=True)


def pax(records: Mapping[str, str | bytes], *, kind: bytes = b"x") -> bytes:
    """A PAX header with these records, for the entry after it."""
    data = b""
    for key, value in records.items():
        raw = value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
        body = b" " + key.encode() + b"=" + raw + b"\n"
        length = len(body)
        while length != len(body) + len(str(length)):
            length = len(body) + len(str(length))
        data += str(length).encode() + body
    return block("pax", data, kind=kind)


END = bytes(1024)


def function_blocks(*more: bytes, config: bytes | None = None) -> bytes:
    """The tar of a small valid function followed by more blocks, without its end."""
    return (
        block("hermes.config.json", config_bytes() if config is None else config)
        + block("Makefile", b"main.out:\n")
        + b"".join(more)
    )


def function_archive(*more: bytes, config: bytes | None = None) -> bytes:
    """A tar.gz of a small valid function with more blocks in it."""
    return gzip.compress(function_blocks(*more, config=config) + END, mtime=0)


def archive_by_tarfile(files: Mapping[str, bytes], **options: Any) -> bytes:
    """A tar.gz as the standard library writes it."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz", **options) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return target.getvalue()
