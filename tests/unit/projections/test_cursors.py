"""Cursors come back as they were, and nothing else is taken for one."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.errors import InvalidCursor
from projections.cursors import read_cursor, write_cursor


class Place(msgspec.Struct, frozen=True):
    created_at: datetime
    id: str


PLACE = Place(datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), "0198-ä")


def test_a_cursor_comes_back_to_the_microsecond():
    assert read_cursor(write_cursor(PLACE, "list", None), Place, "list", None) == PLACE


def test_a_cursor_is_safe_in_a_url():
    text = write_cursor(PLACE, "list")
    assert text.replace("-", "").replace("_", "").isalnum()


def test_a_cursor_of_another_list_is_refused():
    text = write_cursor(PLACE, "executions", "ann", ["failed"])
    for scope in (("executions", "bob", ["failed"]), ("executions", "ann", []), ()):
        with pytest.raises(InvalidCursor):
            read_cursor(text, Place, *scope)


def test_every_changed_character_is_noticed():
    text = write_cursor(PLACE, "list")
    for place, old in enumerate(text):
        changed = text[:place] + ("A" if old != "A" else "B") + text[place + 1 :]
        try:
            assert read_cursor(changed, Place, "list") == PLACE  # unused bits of the last character
        except InvalidCursor:
            continue


@given(st.text(max_size=200))
def test_garbage_is_an_invalid_cursor(text):
    with pytest.raises(InvalidCursor):
        read_cursor(text, Place, "list")


@given(st.binary(max_size=200))
def test_garbage_in_the_right_alphabet_is_an_invalid_cursor(raw):
    with pytest.raises(InvalidCursor):
        read_cursor(base64.urlsafe_b64encode(raw).decode().rstrip("="), Place, "list")


def test_a_huge_cursor_is_refused():
    with pytest.raises(InvalidCursor):
        read_cursor("A" * 1_000_000, Place, "list")
