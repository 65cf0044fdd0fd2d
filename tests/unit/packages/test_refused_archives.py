"""Archives that must be refused, by both ways to read them, leaving nothing behind."""

from __future__ import annotations

import gzip
import io
import random
import zlib
from pathlib import Path

import pytest

from hermes.packages.archive import unpack, validate
from hermes.packages.archive_limits import ArchiveLimits
from hermes.packages.errors import ArchiveError, ConfigError
from tests.support.archives import (
    END,
    archive_by_tarfile,
    block,
    config_bytes,
    function_archive,
    function_blocks,
    pax,
)

LIMITS = ArchiveLimits(packed=4 * 1024 * 1024, unpacked=32 * 1024 * 1024, entries=500)


def gzip_member(data: bytes, *, flags: int = 0, extra: bytes = b"") -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = deflate.compress(data) + deflate.flush()
    trailer = zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")
    return b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + extra + body + trailer


def long_name(name: bytes) -> bytes:
    return block("././@LongLink", name + b"\0", kind=b"L")


def zeros(megabytes: int) -> bytes:
    return bytes(megabytes * 1024 * 1024)


VALID = function_archive()
TAR = function_blocks() + END
# Enough noise that the ratio stays ordinary.
NOISE = random.Random(1).randbytes(1000).hex()

REFUSED: dict[str, tuple[bytes, str]] = {
    # names
    "an absolute path": (function_archive(block("/etc/x")), "absolute"),
    "a path with dot dot": (function_archive(block("src/../../x")), "leaves the folder"),
    "dot dot alone": (function_archive(block("..", kind=b"5")), "leaves the folder"),
    "dot dot in a PAX path": (function_archive(pax({"path": "../x"}), block("x")), "leaves the"),
    "dot dot in a GNU long name": (
        function_archive(long_name(b"../x"), block("x")),
        "leaves the folder",
    ),
    "an empty component": (function_archive(block("src//x")), "clean path"),
    "a dot component": (function_archive(block("src/./x")), "clean path"),
    "a file with a slash at its end": (function_archive(pax({"path": "x/"}), block("x")), "clean"),
    "an empty name": (function_archive(block("")), "no name"),
    "the root folder as an entry": (function_archive(block("/", kind=b"5")), "no name"),
    "a newline in a name": (function_archive(block("a\nb")), "control"),
    "an escape sequence in a name": (function_archive(block("a\x1b[31mb")), "control"),
    "a NUL in a PAX path": (function_archive(pax({"path": "a\0b"}), block("a")), "control"),
    "a NUL in a GNU long name": (function_archive(long_name(b"a\0b"), block("a")), "control"),
    "a bidi override in a name": (function_archive(block("a\u202ecpp.exe")), "text-direction"),
    "a zero-width space in a name": (function_archive(block("a\u200bb")), "invisible"),
    "a name that is not UTF-8": (function_archive(block(b"caf\xe9")), "UTF-8"),
    "a PAX path that is not UTF-8": (
        function_archive(pax({"path": b"caf\xe9"}), block("x")),
        "UTF-8",
    ),
    "an encoded surrogate in a name": (function_archive(block(b"a\xed\xa0\x80")), "UTF-8"),
    "a component longer than 255 bytes": (
        function_archive(pax({"path": "é" * 128}), block("x")),
        "component longer",
    ),
    "a path longer than 1024 bytes": (
        function_archive(pax({"path": "/".join(["a" * 200] * 6)}), block("x")),
        "longer than 1024",
    ),
    "a path deeper than 32 folders": (
        function_archive(pax({"path": "a/" * 32 + "x"}), block("x")),
        "deeper",
    ),
    # kinds
    "a symbolic link": (function_archive(block("x", kind=b"2", link=b"/etc/passwd")), "symbolic"),
    "a symbolic link inside the folder": (
        function_archive(block("x", kind=b"2", link=b"Makefile")),
        "symbolic",
    ),
    "a hard link": (function_archive(block("x", kind=b"1", link=b"Makefile")), "hard link"),
    "a character device": (function_archive(block("x", kind=b"3")), "device"),
    "a block device": (function_archive(block("x", kind=b"4")), "device"),
    "a named pipe": (function_archive(block("x", kind=b"6")), "pipe"),
    "a GNU sparse file": (function_archive(block("x", kind=b"S")), "sparse"),
    "a PAX sparse file": (
        function_archive(pax({"GNU.sparse.major": "1"}), block("x")),
        "sparse",
    ),
    "an unknown kind of entry": (function_archive(block("x", kind=b"Z")), "neither"),
    "a contiguous file": (function_archive(block("x", kind=b"7")), "neither"),
    "a link with contents": (function_archive(block("x", b"data", kind=b"1")), "with contents"),
    "a folder with contents": (function_archive(block("d", b"data", kind=b"5")), "contents"),
    # names against each other
    "the same file twice": (function_archive(block("x", b"1"), block("x", b"2")), "twice"),
    "the config twice": (
        function_archive(block("hermes.config.json", config_bytes(functionName="other"))),
        "twice",
    ),
    "the same file once with dot slash": (
        function_archive(block("x", b"1"), block("./x", b"2")),
        "twice",
    ),
    "a folder twice": (function_archive(block("d", kind=b"5"), block("d", kind=b"5")), "twice"),
    "names equal without case": (function_archive(block("README"), block("ReadMe")), "same name"),
    "folders equal without case": (function_archive(block("Src/a"), block("src/b")), "same name"),
    "names equal after NFC": (function_archive(block("é"), block("e\u0301")), "same name"),
    "names equal after NFKC": (function_archive(block("ﬁle"), block("file")), "same name"),
    "names equal after NFKC and without case": (
        function_archive(block("\u210c"), block("h")),
        "same name",
    ),
    "a file that is also a folder": (function_archive(block("x"), block("x/y")), "is a file"),
    "a folder that is also a file": (function_archive(block("x/y"), block("x")), "both"),
    "a file in the Makefile": (function_archive(block("Makefile/x")), "is a file"),
    # sizes
    "a file larger than the limit": (function_archive(block("x", zeros(33))), "more than"),
    "a size that only the header claims": (
        function_archive(block("x", size=1 << 60)),
        "more than",
    ),
    "a size that only PAX claims": (
        function_archive(pax({"size": str(1 << 60)}), block("x")),
        "more than",
    ),
    "a negative size": (function_archive(block("x", size=-1)), "negative size"),
    "a PAX size that is no number": (
        function_archive(pax({"size": "1e3"}), block("x")),
        "bad size",
    ),
    "more files than the limit": (
        function_archive(*[block(f"f{n}") for n in range(500)]),
        "more than 500",
    ),
    "more implied folders than the limit": (
        function_archive(*[block(f"d{n}/a/b/c") for n in range(130)]),
        "more than 500",
    ),
    "root entries without end": (
        function_archive(*[block(".", kind=b"5")] * 2000),
        "too many entries",
    ),
    "a gigabyte of PAX header": (
        function_archive(block("pax", kind=b"x", size=1 << 30)),
        "description of more",
    ),
    "a gigabyte of long name": (
        function_archive(block("././@LongLink", kind=b"L", size=1 << 30)),
        "description of more",
    ),
    "a gigabyte of link name": (
        function_archive(block("././@LongLink", kind=b"K", size=1 << 30)),
        "description of more",
    ),
    "metadata without end": (
        function_archive(*[pax({"comment": NOISE + "c" * 58_000}, kind=b"g")] * 700),
        "more bytes than its files",
    ),
    "a gzip bomb": (gzip.compress(function_blocks(block("x", zeros(30))) + END), "times its size"),
    "more packed bytes than the limit": (
        gzip.compress(function_blocks(block("x", bytes(range(256)) * 20_000)) + END, 0),
        "larger than",
    ),
    "a gzip header with a name without end": (
        gzip_member(TAR, flags=8, extra=b"n" * 300_000 + b"\0"),
        "gzip header",
    ),
    # framing
    "nothing": (b"", "empty"),
    "no gzip": (TAR, "not a gzip"),
    "text": (b"hello", "not a gzip"),
    "an empty gzip": (gzip.compress(b""), "cut off"),
    "gzip without tar": (gzip.compress(b"\x01" * 2048), "not a tar"),
    "a zip file": (b"PK\x03\x04" + bytes(100), "not a gzip"),
    "a cut-off gzip stream": (VALID[:-20], "cut off"),
    "a gzip stream without its checksum": (VALID[:-8], "cut off"),
    "a wrong gzip checksum": (VALID[:-8] + bytes(4) + VALID[-4:], "damaged"),
    "a wrong gzip length": (VALID[:-4] + bytes(4), "damaged"),
    "a second gzip member": (VALID + gzip.compress(b"more"), "more data after"),
    "garbage after the gzip stream": (VALID + b"\0", "more data after"),
    "a tar without an end": (gzip.compress(function_blocks()), "cut off"),
    "a tar with half an end": (gzip.compress(function_blocks() + bytes(512)), "cut off"),
    "a tar cut off in a file": (
        gzip.compress(function_blocks(block("x", b"a" * 2000))[:-600]),
        "cut off",
    ),
    "a file after the end": (gzip.compress(TAR + block("late")), "after its end"),
    "a file after half an end": (
        gzip.compress(function_blocks() + bytes(512) + block("late") + END),
        "after its end",
    ),
    "zeros without end after the end": (gzip.compress(TAR + zeros(2)), "after its end"),
    "a wrong header checksum": (
        gzip.compress(function_blocks(block("x").replace(b"x", b"y", 1)) + END),
        "not a tar",
    ),
    "a damaged PAX header": (
        function_archive(block("pax", b"99 path=x\n", kind=b"x"), block("x")),
        "damaged PAX",
    ),
    "a PAX header without numbers": (
        function_archive(block("pax", b"path=x\n", kind=b"x"), block("x")),
        "damaged PAX",
    ),
    "a PAX key twice": (
        function_archive(block("pax", b"10 path=a\n10 path=b\n", kind=b"x"), block("x")),
        "twice",
    ),
    "two PAX headers for one file": (
        function_archive(pax({"path": "a"}), pax({"path": "b"}), block("x")),
        "twice",
    ),
    "a PAX path and a long name for one file": (
        function_archive(long_name(b"a"), pax({"path": "b"}), block("x")),
        "twice",
    ),
    "two long names for one file": (
        function_archive(long_name(b"a"), long_name(b"b"), block("x")),
        "twice",
    ),
    "a global header that renames": (
        function_archive(pax({"path": "a"}, kind=b"g"), block("x")),
        "global header",
    ),
    "a PAX header for nothing": (function_archive(pax({"path": "a"})), "does not follow"),
    # what a function needs
    "no config": (archive_by_tarfile({"Makefile": b"", "main.cpp": b""}), "is missing"),
    "no Makefile": (archive_by_tarfile({"hermes.config.json": config_bytes()}), "is missing"),
    "the folder instead of its files": (
        archive_by_tarfile({"f/hermes.config.json": config_bytes(), "f/Makefile": b""}),
        "not the folder",
    ),
    "a config that is a folder": (
        archive_by_tarfile({"hermes.config.json/x": b"", "Makefile": b""}),
        "is missing",
    ),
    "a Makefile that is a folder": (
        archive_by_tarfile({"hermes.config.json": config_bytes(), "Makefile/x": b""}),
        "is missing",
    ),
}


def test_a_config_larger_than_64_kib_is_refused_as_a_config(tmp_path: Path) -> None:
    data = function_archive(config=config_bytes() + b" " * 65536)
    with pytest.raises(ConfigError, match="64 KiB"):
        validate(io.BytesIO(data), LIMITS)
    with pytest.raises(ConfigError, match="64 KiB"):
        unpack(io.BytesIO(data), tmp_path / "target", LIMITS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", REFUSED)
def test_an_archive_is_refused_for(what: str, tmp_path: Path) -> None:
    data, reason = REFUSED[what]
    with pytest.raises(ArchiveError) as checked:
        validate(io.BytesIO(data), LIMITS)
    assert any(reason in problem.message for problem in checked.value.problems), (
        checked.value.problems
    )

    with pytest.raises(ArchiveError) as unpacked:
        unpack(io.BytesIO(data), tmp_path / "target", LIMITS)
    assert unpacked.value.problems == checked.value.problems
    assert list(tmp_path.iterdir()) == []


class OneByteAtATime(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(1, size or 0))


def test_what_follows_the_gzip_stream_is_found_in_later_reads_too() -> None:
    assert validate(OneByteAtATime(VALID), LIMITS).files == 2
    with pytest.raises(ArchiveError, match="more data after"):
        validate(OneByteAtATime(VALID + b"\0"), LIMITS)


def test_problems_of_several_entries_are_all_listed_with_their_names_made_safe() -> None:
    data = function_archive(block("../x"), block("a\x1bb"), block("l", kind=b"2", link=b"x"))
    with pytest.raises(ArchiveError) as caught:
        validate(io.BytesIO(data), LIMITS)
    assert [problem.field for problem in caught.value.problems] == ["../x", "a\\x1bb", "l"]


def test_an_archive_full_of_problems_is_given_up_after_twenty() -> None:
    data = function_archive(*[block(f"../{n}") for n in range(400)])
    with pytest.raises(ArchiveError) as caught:
        validate(io.BytesIO(data), LIMITS)
    assert len(caught.value.problems) == 20
