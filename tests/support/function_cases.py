r"""Loads `test.yml`: the cases that try an example function, as data.

A case is an input and what is expected of the run. The same cases are tried on the bare program
and through the real command line, so they speak of nothing but streams, exit codes and time::

    cases:
      - name: adds up a large input     # a sentence, unique in the file
        stdin: "500000"                 # the input as text, UTF-8; default empty
        stdin_repeat:                   # optional: this text so many times, after `stdin`
          text: " 4"
          times: 500000
        needs_gpu: true                 # true: only where a GPU is; false: only where none is;
                                        # left out: anywhere
        expect:                         # `stdout`, `stdout_regex` or `stdout_number` at least
          stdout: "2000000\n"           # exactly this
          stdout_regex: "\\d+\n"        # the whole output matches
          stdout_number:                # a number in the output lies near a value
            after: "PI: "               # the number follows the only place of this text
            value: 3.14159
            tolerance: 0.02
          stderr_regex: "..."           # the whole of stderr matches; default: not looked at
          exit_code: 0                  # default 0
          seconds: {min: 2.0, max: 6.0} # wall time of the run; either may be left out

An unknown or repeated key, a wrong type or a pattern that does not compile is an error that
names the file, so that a misspelt expectation cannot pass for a test.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import msgspec
import yaml


class Repeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text that stands so many times in the input."""

    text: str
    times: int


class NearNumber(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The number that follows `after` lies within `tolerance` of `value`."""

    after: str
    value: float
    tolerance: float


class Seconds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of a run's wall time, in seconds, both included."""

    min: float = 0.0
    max: float = math.inf


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run must have done."""

    stdout: str | None = None
    stdout_regex: str | None = None
    stdout_number: NearNumber | None = None
    stderr_regex: str | None = None
    exit_code: int = 0
    seconds: Seconds = Seconds()

    def problems(self, stdout: bytes, stderr: bytes, exit_code: int, seconds: float) -> list[str]:
        """What the run did otherwise, a sentence each; empty if it did all that is expected."""
        out = stdout.decode(errors="backslashreplace")
        err = stderr.decode(errors="backslashreplace")
        found = []
        if exit_code != self.exit_code:
            found.append(f"exit code {exit_code} instead of {self.exit_code}: {_short(err)}")
        if self.stdout is not None and out != self.stdout:
            found.append(f"stdout is {_short(out)} instead of {_short(self.stdout)}")
        if self.stdout_regex is not None and not re.fullmatch(self.stdout_regex, out):
            found.append(f"stdout {_short(out)} does not match {self.stdout_regex!r}")
        if self.stdout_number is not None:
            found += _number_problems(self.stdout_number, out)
        if self.stderr_regex is not None and not re.fullmatch(self.stderr_regex, err):
            found.append(f"stderr {_short(err)} does not match {self.stderr_regex!r}")
        if not self.seconds.min <= seconds <= self.seconds.max:
            found.append(
                f"took {seconds:.2f} s instead of {self.seconds.min} to {self.seconds.max} s"
            )
        return found


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One input of a function and what is expected of it."""

    name: str
    stdin: str = ""
    stdin_repeat: Repeat | None = None
    needs_gpu: bool | None = None
    expect: Expectation

    @property
    def input(self) -> bytes:
        """The bytes for the program's stdin."""
        tail = self.stdin_repeat.text * self.stdin_repeat.times if self.stdin_repeat else ""
        return (self.stdin + tail).encode()

    def runs_here(self, *, has_gpu: bool) -> bool:
        """Whether the case means anything on a machine with, or without, a GPU."""
        return self.needs_gpu is None or self.needs_gpu == has_gpu


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cases: list[Case]


class InvalidCasesError(Exception):
    """A `test.yml` that does not follow the schema; the message names the file and the fault."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"{path}: {fault}")


def load_cases(path: Path) -> list[Case]:
    """The cases of a `test.yml`, in its order; raises `InvalidCasesError`."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)
        cases = msgspec.convert(content, _File).cases
    except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise InvalidCasesError(path, str(error)) from error
    if fault := _fault(cases):
        raise InvalidCasesError(path, fault)
    return cases


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe subset, without its rule that the last of two equal keys wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _fault(cases: list[Case]) -> str | None:
    names = [case.name for case in cases]
    if not names:
        return "there is no case"
    for case in cases:
        expect = case.expect
        if not case.name.strip() or names.count(case.name) > 1:
            return f"the name {case.name!r} is empty or stands twice"
        if (expect.stdout, expect.stdout_regex, expect.stdout_number) == (None, None, None):
            return f"case {case.name!r} expects nothing of stdout"
        if case.stdin_repeat and (case.stdin_repeat.times < 1 or not case.stdin_repeat.text):
            return f"case {case.name!r} repeats nothing"
        if expect.stdout_number and not expect.stdout_number.tolerance > 0:
            return f"case {case.name!r} needs a tolerance above 0"
        if not 0 <= expect.seconds.min <= expect.seconds.max:
            return f"case {case.name!r} has seconds that no run can take"
        if not 0 <= expect.exit_code <= 255:
            return f"case {case.name!r} has an exit code outside 0 to 255"
        for pattern in (expect.stdout_regex, expect.stderr_regex):
            try:
                re.compile(pattern or "")
            except re.error as error:
                return f"case {case.name!r} has a bad pattern: {error}"
    return None


def _number_problems(near: NearNumber, out: str) -> list[str]:
    number = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
    values = re.findall(re.escape(near.after) + f"({number})", out)
    if len(values) != 1:
        return [f"{len(values)} numbers instead of one follow {near.after!r} in {_short(out)}"]
    if abs(float(values[0]) - near.value) > near.tolerance:
        return [f"{values[0]} is not within {near.tolerance} of {near.value}"]
    return []


def _short(text: str, limit: int = 200) -> str:
    return repr(text) if len(text) <= limit else f"{text[:limit]!r}... ({len(text)} characters)"
