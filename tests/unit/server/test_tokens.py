"""Resume tokens and cursors: only our own are taken, each for its own execution."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.errors import InvalidCursor
from hermes.server.cursors import OffsetCursors
from hermes.server.tails.items import Place
from hermes.server.tails.tokens import ResumeTokens

SECRET = b"s" * 32
PLACES = st.builds(
    Place,
    event=st.integers(0, 2**63 - 1),
    attempt=st.integers(0, 2**31 - 1),
    seq=st.integers(-1, 2**62),
    rank=st.integers(0, 4),
)


@given(PLACES)
def test_a_token_names_its_place(place: Place) -> None:
    tokens = ResumeTokens(SECRET)
    assert tokens.read("x", tokens.write("x", place)) == place


@given(PLACES, st.integers(0, 200), st.characters())
def test_no_character_of_a_token_can_be_changed(place: Place, at: int, other: str) -> None:
    tokens = ResumeTokens(SECRET)
    token = tokens.write("x", place)
    at %= len(token)
    changed = token[:at] + other + token[at + 1 :]
    if changed != token:
        with pytest.raises(InvalidCursor):
            tokens.read("x", changed)


@given(st.text(max_size=80))
def test_what_we_did_not_write_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        ResumeTokens(SECRET).read("x", text)
    with pytest.raises(InvalidCursor):
        OffsetCursors(SECRET).read(text)


def test_a_token_fits_one_execution_of_one_server() -> None:
    token = ResumeTokens(SECRET).write("x", Place(1))
    with pytest.raises(InvalidCursor):
        ResumeTokens(SECRET).read("y", token)
    with pytest.raises(InvalidCursor):
        ResumeTokens(b"t" * 32).read("x", token)


def test_a_cursor_names_its_offset() -> None:
    cursors = OffsetCursors(SECRET)
    assert cursors.read(cursors.write(50)) == 50
    with pytest.raises(InvalidCursor):
        cursors.read("51" + cursors.write(50)[2:])
