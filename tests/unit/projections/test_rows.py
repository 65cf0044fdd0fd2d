"""Values for columns: bounded for indexes, and still told apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from projections.definitions import DEFINITIONS
from projections.interpreters import version_order
from projections.queries import load_queries
from projections.rows import short


@given(st.text(max_size=400), st.text(max_size=400))
def test_short_texts_are_equal_only_if_they_were(one, other):
    one, other = one.replace("\0", ""), other.replace("\0", "")
    assert (short(one) == short(other)) == (one == other)


@given(st.text(min_size=150, max_size=3000))
def test_a_short_text_fits_an_index(text):
    assert len(short(text)) <= 200
    assert "\0" not in short(text)


def test_versions_sort_as_numbers():
    versions = ["1.10.0", "1.9.0", "0.0.1", "10.0.0", "1.9.10", "999999999.0.0"]
    assert sorted(versions, key=version_order) == [
        "0.0.1",
        "1.9.0",
        "1.9.10",
        "1.10.0",
        "10.0.0",
        "999999999.0.0",
    ]


def test_what_is_no_version_sorts_first():
    for text in ("", "1.0", "01.0.0", "1.0.0.0", "v1.0.0", "1.0.1000000000", "1.0.0\n"):
        assert version_order(text) == ""


def test_every_query_is_described():
    for name, text in load_queries().items():
        assert text.startswith("-- ") and not text.endswith(";"), name


def test_every_table_has_its_key_among_its_columns():
    for definition in DEFINITIONS.values():
        for table in definition.tables:
            assert set(table.key) <= set(table.columns)
