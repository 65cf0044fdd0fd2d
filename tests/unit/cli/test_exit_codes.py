from __future__ import annotations

import pytest

from cli import exit_codes


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, 2), (401, 3), (403, 3), (404, 4), (405, 1), (409, 5), (412, 1), (413, 2), (415, 2),
        (416, 2), (422, 2), (429, 1), (500, 1), (502, 6), (503, 6), (504, 6),
    ],
)  # fmt: skip
def test_every_status_has_its_exit_code(status: int, code: int) -> None:
    assert exit_codes.for_status(status) == code


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ({"outcome": "succeeded", "exit_code": 0}, 0),
        ({"outcome": "failed", "exit_code": 1}, 1),
        ({"outcome": "failed", "exit_code": 255}, 255),
        ({"outcome": "failed", "exit_code": None, "signal": 9}, 137),
        ({"outcome": "failed", "exit_code": None, "signal": None}, 1),
        ({"outcome": "timed_out", "signal": 9}, 124),
        ({"outcome": "cancelled", "exit_code": 0}, 125),
        ({"outcome": "out_of_memory"}, 125),
        ({"outcome": "output_limit"}, 125),
        ({"outcome": "build_missing"}, 125),
        ({"outcome": "lost"}, 125),
        ({"status": "rejected", "outcome": None}, 125),
        ({}, 125),
    ],
)
def test_a_run_ends_as_its_program_did(end: dict[str, object], code: int) -> None:
    assert exit_codes.for_end(end) == code


def test_a_refused_run_never_looks_like_a_program() -> None:
    assert {exit_codes.for_refused_run(code) for code in range(1, 7)} == {2, 3, 4, 5, 6}
