from __future__ import annotations

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.escape import StreamEscaper, escape, escape_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("grüße 你好 👩\u200d🔬", "grüße 你好 👩\u200d🔬"),
        ("\x1b[31mred", "^[[31mred"),
        ("\x1b]0;title\x07", "^[]0;title^G"),
        ("progress\r", "progress^M"),
        ("\x00\x7f", "^@^?"),
        ("\x9b31m", "\\x9b31m"),
        ("abc\u202ecba", "abc\\u202ecba"),
        ("\u2066\u2069\u200f", "\\u2066\\u2069\\u200f"),
        ("\u2028", "\\u2028"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: str, shown: str) -> None:
    assert escape(text) == shown


@given(st.text())
def test_nothing_that_controls_a_terminal_is_left(text: str) -> None:
    for character in escape(text):
        assert unicodedata.category(character) != "Cc" or character in "\n\t"
        assert unicodedata.bidirectional(character) not in {
            "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI",
        }  # fmt: skip


@given(st.text(alphabet=st.characters(codec="utf-8")), st.lists(st.integers(0, 400), max_size=9))
def test_characters_may_be_cut_anywhere(text: str, cuts: list[int]) -> None:
    data = text.encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    escaper = StreamEscaper()
    shown = "".join(escaper.feed(data[start:end]) for start, end in itertools.pairwise(edges))
    assert shown + escaper.feed(b"", final=True) == escape(text)


def test_bytes_that_are_no_text_are_shown_as_numbers() -> None:
    escaper = StreamEscaper()
    assert escaper.feed(b"a\xff\xc3") == "a\\xff"
    assert escaper.feed(b"", final=True) == "\\xc3"


def test_a_cell_stays_on_its_line() -> None:
    assert escape_line("two\nlines\tand\x1b") == "two^Jlines^Iand^["
