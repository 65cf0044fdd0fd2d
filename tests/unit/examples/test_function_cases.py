"""The loader of `test.yml`: strict about the file, exact about what a run did."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.function_cases import Case, InvalidCasesError, load_cases

GOOD = """
cases:
  - name: adds up
    stdin: "2"
    stdin_repeat: {text: " 1", times: 2}
    expect: {stdout: "2\\n"}
"""


def loaded(tmp_path: Path, text: str) -> list[Case]:
    path = tmp_path / "test.yml"
    path.write_text(text, encoding="utf-8")
    return load_cases(path)


def case(tmp_path: Path, expect: str) -> Case:
    return loaded(tmp_path, f"cases:\n  - name: one\n    expect: {expect}\n")[0]


def test_a_repeated_text_follows_the_stdin(tmp_path: Path) -> None:
    assert loaded(tmp_path, GOOD)[0].input == b"2 1 1"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("cases: []", "there is no case"),
        ("cases", "Expected `object`"),
        ("cases: [", "expected the node content"),
        ("cases:\n- name: a\n", "missing required field `expect`"),
        ("cases:\n- name: a\n  expect: {}\n", "expects nothing"),
        ("cases:\n- name: a\n  expect: {exit_code: 1}\n", "expects nothing of stdout"),
        ("cases:\n- name: a\n  expect: {stdot: x}\n", "unknown field `stdot`"),
        ("cases:\n- name: a\n  stdin: 3\n  expect: {stdout: x}\n", "Expected `str`"),
        ("cases:\n- name: a\n  name: b\n  expect: {stdout: x}\n", "'name' stands twice"),
        ("cases:\n- name: a\n  expect: {stdout: x, stdout: y}\n", "'stdout' stands twice"),
        ("cases:\n- name: ''\n  expect: {stdout: x}\n", "empty or stands twice"),
        ("cases:\n- &a {name: a, expect: {stdout: x}}\n- *a\n", "empty or stands twice"),
        ("cases:\n- name: a\n  expect: {stdout_regex: '('}\n", "bad pattern"),
        ("cases:\n- name: a\n  expect: {stdout: x, seconds: {min: 3, max: 2}}\n", "no run can"),
        ("cases:\n- name: a\n  expect: {stdout: x, exit_code: 256}\n", "outside 0 to 255"),
        (
            "cases:\n- name: a\n  stdin_repeat: {text: x, times: 0}\n  expect: {stdout: x}\n",
            "repeats nothing",
        ),
        (
            "cases:\n- name: a\n  expect: {stdout_number: {after: x, value: 1, tolerance: 0}}\n",
            "tolerance above 0",
        ),
    ],
)
def test_a_file_that_breaks_the_schema_is_refused(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(InvalidCasesError, match=fault) as error:
        loaded(tmp_path, text)
    assert "test.yml" in str(error.value)


@pytest.mark.parametrize(
    ("expect", "stdout", "stderr", "exit_code", "seconds"),
    [
        ("{stdout: aaa}", b"aaa\n", b"", 0, 0.1),
        ("{stdout: aaa}", b"aaa", b"", 1, 0.1),
        ("{stdout: '', exit_code: 1}", b"", b"", 0, 0.1),
        ("{stdout_regex: 'a+'}", b"aab", b"", 0, 0.1),
        ("{stdout: '', stderr_regex: 'x: .*'}", b"", b"y: no", 0, 0.1),
        ("{stdout: '', seconds: {min: 2}}", b"", b"", 0, 1.9),
        ("{stdout: '', seconds: {max: 2}}", b"", b"", 0, 2.1),
        ('{stdout: "\\uFFFD"}', b"\xff", b"", 0, 0.1),
        ("{stdout_number: {after: 'PI: ', value: 3.14, tolerance: 0.02}}", b"PI: 3.2", b"", 0, 0.1),
        ("{stdout_number: {after: 'PI: ', value: 3.14, tolerance: 0.02}}", b"PI: nan", b"", 0, 0.1),
        (
            "{stdout_number: {after: 'PI: ', value: 3.14, tolerance: 0.02}}",
            b"PI: 3.14 PI: 3.14",
            b"",
            0,
            0.1,
        ),
    ],
)
def test_a_run_that_did_otherwise_is_told_in_one_sentence(
    tmp_path: Path, expect: str, stdout: bytes, stderr: bytes, exit_code: int, seconds: float
) -> None:
    assert len(case(tmp_path, expect).expect.problems(stdout, stderr, exit_code, seconds)) == 1


def test_a_run_that_did_as_expected_has_no_problems(tmp_path: Path) -> None:
    expect = case(
        tmp_path,
        "{stdout_regex: 'PI: [0-9.]+\\n', seconds: {min: 1, max: 2}, exit_code: 3, "
        "stderr_regex: '', stdout_number: {after: 'PI: ', value: 3.14, tolerance: 0.02}}",
    ).expect
    assert expect.problems(b"PI: 3.15\n", b"", 3, 1.5) == []


def test_a_case_says_where_it_can_run(tmp_path: Path) -> None:
    with_gpu, without, anywhere = loaded(
        tmp_path,
        "cases:\n"
        "- {name: a, needs_gpu: true, expect: {stdout: x}}\n"
        "- {name: b, needs_gpu: false, expect: {stdout: x}}\n"
        "- {name: c, expect: {stdout: x}}\n",
    )
    assert [with_gpu.runs_here(has_gpu=here) for here in (True, False)] == [True, False]
    assert [without.runs_here(has_gpu=here) for here in (True, False)] == [False, True]
    assert [anywhere.runs_here(has_gpu=here) for here in (True, False)] == [True, True]
