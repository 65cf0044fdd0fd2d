from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.sse import MAX_LINE, BrokenStream, Frame, Parser

STREAM = (
    "\ufeff: a comment\n\n"
    'event: output\nid: t-1\ndata: {"a": 1}\n\n'
    "data: one\r\ndata: two\r\n\r\n"
    "event: ping\r\r"
    "id: t-2\rdata:grüße\r\r"
    "retry: 100\nunknown: x\nid: with\0null\ndata\n\n"
    "event: cut\ndata: off"
).encode()
FRAMES = [
    Frame("output", "t-1", '{"a": 1}'),
    Frame("message", "t-1", "one\ntwo"),
    Frame("message", "t-2", "grüße"),
    Frame("message", "t-2", ""),
]


def parse(*chunks: bytes) -> list[Frame]:
    parser = Parser()
    return [frame for chunk in chunks for frame in parser.feed(chunk)]


@pytest.mark.parametrize("cut", range(len(STREAM) + 1))
def test_a_stream_means_the_same_wherever_it_is_split(cut: int) -> None:
    assert parse(STREAM[:cut], STREAM[cut:]) == FRAMES


def test_a_stream_may_come_byte_by_byte() -> None:
    assert parse(*(bytes([byte]) for byte in STREAM)) == FRAMES


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_any_split_into_chunks_gives_the_same_events(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[a:b] for a, b in itertools.pairwise(edges)]
    assert parse(*chunks) == FRAMES


@given(st.binary(max_size=400))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    for frame in parse(data, b"\n\n"):
        assert isinstance(frame, Frame)


def test_an_event_that_was_cut_off_is_not_handed_out() -> None:
    assert parse(b"data: whole\n\ndata: half\n") == [Frame("message", "", "whole")]


def test_an_endless_line_is_refused() -> None:
    with pytest.raises(BrokenStream):
        parse(b"data: " + b"x" * MAX_LINE)
