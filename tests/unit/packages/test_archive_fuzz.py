"""Random damage: an archive is read or refused, and nothing outside the target is written."""

from __future__ import annotations

import gzip
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hermes.packages.archive import unpack, unpack_artifact, validate
from hermes.packages.archive_limits import ArchiveLimits
from hermes.packages.errors import ArchiveError, ConfigError
from tests.support.archives import END, block, function_blocks, pax

LIMITS = ArchiveLimits(packed=1 << 20, unpacked=1 << 20, entries=50)

_parts = st.sampled_from(
    ["", ".", "..", "a", "A", "é", "e\u0301", "x" * 256, "a\n", "\udcff", "Makefile", ".git"]
)
_names = st.lists(_parts, min_size=1, max_size=4).map("/".join)
_kinds = st.sampled_from([b"0", b"\0", b"1", b"2", b"3", b"5", b"6", b"7", b"L", b"K", b"x", b"g"])
_entries = st.builds(
    lambda name, data, kind, link: block(name, data, kind=kind, link=link),
    _names,
    st.binary(max_size=600),
    _kinds,
    st.sampled_from([b"", b"/etc/passwd", b".."]),
)
_renamed = st.builds(
    lambda name, data: pax({"path": name}) + block("x", data), _names, st.binary(max_size=9)
)
_tars = st.lists(_entries | _renamed, max_size=6).map(lambda more: function_blocks(*more) + END)


@st.composite
def _damaged(draw: st.DrawFn, tars: st.SearchStrategy[bytes]) -> bytes:
    data = bytearray(draw(tars))
    for _ in range(draw(st.integers(0, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)) | st.just(len(data)))])


def read_safely(data: bytes, read: Callable[[io.BytesIO, Path], object]) -> bool:
    """Whether it was accepted; checks that only a complete target appears."""
    with tempfile.TemporaryDirectory() as name:
        inside = Path(name) / "inside"
        inside.mkdir()
        try:
            read(io.BytesIO(data), inside / "target")
        except (ArchiveError, ConfigError) as error:
            assert error.problems
            for problem in error.problems:
                assert (problem.field + problem.message).isprintable()
            accepted = False
        else:
            accepted = True
        assert [path.name for path in Path(name).iterdir()] == ["inside"]
        assert [path.name for path in inside.iterdir()] == ["target"] * accepted
        assert not any(path.is_symlink() for path in inside.rglob("*"))
    return accepted


def accepted_by_checking(data: bytes) -> bool:
    try:
        validate(io.BytesIO(data), LIMITS)
    except (ArchiveError, ConfigError):
        return False
    return True


@settings(max_examples=150, deadline=None)
@given(_damaged(_tars))
def test_any_tar_is_read_or_refused_alike_by_checking_and_unpacking(tar: bytes) -> None:
    data = gzip.compress(tar, 1)
    accepted = read_safely(data, lambda source, target: unpack(source, target, LIMITS))
    assert accepted == accepted_by_checking(data)


@settings(max_examples=100, deadline=None)
@given(_damaged(_tars.map(lambda tar: gzip.compress(tar, 1))))
def test_any_gzip_stream_is_read_or_refused(data: bytes) -> None:
    accepted = read_safely(data, lambda source, target: unpack(source, target, LIMITS))
    assert accepted == accepted_by_checking(data)


@settings(max_examples=100, deadline=None)
@given(_damaged(_tars))
def test_any_artifact_is_read_or_refused(tar: bytes) -> None:
    read_safely(tar, lambda source, target: unpack_artifact(source, target, LIMITS))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2000))
def test_no_bytes_at_all_raise_anything_else(data: bytes) -> None:
    assert not read_safely(data, lambda source, target: unpack(source, target, LIMITS))
