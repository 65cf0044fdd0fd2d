"""Fields of a request's JSON, and what a run may ask for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes.errors import HermesError, InvalidInput, InvalidRequest, UserError
from hermes.server.json_body import fields_of
from hermes.server.run_requests import parse_run_request
from hermes.settings import Settings

SETTINGS = Settings(home=Path("/nowhere"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)
NAMES = ("function", "id", "input", "input_base64", "input_blob", "timeout", "gpu", "pool")


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_whatever_a_request_holds_is_taken_or_refused(document: dict[str, Any]) -> None:
    try:
        parse_run_request(json.dumps(document).encode(), SETTINGS)
    except HermesError as error:
        assert isinstance(error, UserError)


@given(st.binary(max_size=200))
def test_any_bytes_are_one_object_or_refused(body: bytes) -> None:
    try:
        fields_of(body)
    except InvalidRequest:
        return
    assert isinstance(json.loads(body), dict)


def test_unknown_fields_are_ignored() -> None:
    request = parse_run_request(b'{"function": "a/b", "later": {"x": 1}}', SETTINGS)
    assert str(request.ref) == "a/b"


@pytest.mark.parametrize("body", [b'{"a": 1, "a": 2}', b'{"a": [{"b": 1, "b": 2}]}'])
def test_a_repeated_key_is_refused_at_every_level(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="more than once"):
        fields_of(body)


def test_every_wrong_field_is_named_at_once() -> None:
    body = b'{"function": 1, "timeout": "x", "gpu": 3, "pool": []}'
    with pytest.raises(InvalidInput) as caught:
        parse_run_request(body, SETTINGS)
    assert {problem.field for problem in caught.value.errors} == {
        "function",
        "timeout",
        "gpu",
        "pool",
    }
