"""Names of functions as users write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.packages.reference import FunctionRef, InvalidReference, version_key


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("tiago/pi-montecarlo:1.0.0", FunctionRef("tiago", "pi-montecarlo", "1.0.0")),
        ("tiago/waiter", FunctionRef("tiago", "waiter")),
        ("0/_:0.0.999999999", FunctionRef("0", "_", "0.0.999999999")),
    ],
)
def test_a_reference_is_read_and_printed_alike(text: str, ref: FunctionRef) -> None:
    assert FunctionRef.parse(text) == ref
    assert str(ref) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "waiter",
        "/waiter",
        "tiago/",
        "tiago/waiter:",
        "tiago/waiter:1",
        "tiago/waiter:latest",
        "tiago/waiter:1.0.0:1.0.0",
        "tiago/a/b",
        "Tiago/waiter",
        "-tiago/waiter",
        "tiago/waiter\n",
        "tiago/waiter:1.0.0\n",
        "tiago/waiter:01.0.0",
        " tiago/waiter",
        "a" * 40 + "/waiter",
        "tiago/" + "a" * 65,
        "x/" * 100_000,
        "\x1b[2J/waiter",
    ],
)
def test_what_is_no_reference_is_refused_with_a_printable_message(text: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        FunctionRef.parse(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    with pytest.raises(InvalidReference):
        FunctionRef.parse(f"{text} ")


def test_versions_are_ordered_by_number() -> None:
    versions = ["10.0.0", "1.0.10", "1.0.9", "1.10.0", "1.9.0", "0.0.1"]
    assert sorted(versions, key=version_key) == [
        "0.0.1",
        "1.0.9",
        "1.0.10",
        "1.9.0",
        "1.10.0",
        "10.0.0",
    ]
