"""Checks of single fields. Each returns the value in its type or raises Wrong with the rule."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from hermes.errors import FieldProblem
from hermes.packages.names import path_problem, shown, text_problem
from hermes.packages.strict_json import JsonObject

T = TypeVar("T")

#: PostgreSQL's bigint and every 64-bit reader can hold it.
MAX_INT = 2**63 - 1

# A hostile file could name thousands, and nobody reads that many lines.
_MAX_UNKNOWN = 20


class Wrong(Exception):
    """A field does not follow its rule; the message is the rule."""


class ObjectReader:
    """Takes the fields of one JSON object one by one and collects every problem."""

    def __init__(self, value: JsonObject, path: str, problems: list[FieldProblem]) -> None:
        self._value = value
        self._path = path
        self._problems = problems
        self._known: set[str] = set()

    def take(self, name: str, check: Callable[[Any], T], *, required: bool = False) -> T | None:
        """The field's checked value; None if it is absent or wrong."""
        self._known.add(name)
        if name not in self._value:
            if required:
                self.problem(name, "is missing")
            return None
        if name in self._value.repeated:
            self.problem(name, "is given more than once")
            return None
        try:
            return check(self._value[name])
        except Wrong as wrong:
            self.problem(name, str(wrong))
            return None

    def take_object(self, name: str) -> ObjectReader | None:
        """A reader of the object in a field; None if it is absent or no object."""
        found = self.take(name, _an_object)
        return (
            None if found is None else ObjectReader(found, f"{self._path}{name}.", self._problems)
        )

    def problem(self, name: str, message: str) -> None:
        """Note a problem of one field."""
        self._problems.append(FieldProblem(f"{self._path}{shown(name)}", message))

    def refuse_the_rest(self) -> None:
        """Every key that was not taken is a problem."""
        known = ", ".join(sorted(self._known))
        unknown = [name for name in self._value if name not in self._known]
        for name in unknown[:_MAX_UNKNOWN]:
            self.problem(name, f"is not a field here; there are: {known}")
        if len(unknown) > _MAX_UNKNOWN:
            self.problem("…", f"and {len(unknown) - _MAX_UNKNOWN} more unknown fields")


def _an_object(value: Any) -> JsonObject:
    if type(value) is not JsonObject:
        raise Wrong("must be an object")
    return value


def matching(pattern: re.Pattern[str], rule: str) -> Callable[[Any], str]:
    """A string that the whole `pattern` matches; anchor its end with \\Z."""

    def check(value: Any) -> str:
        if type(value) is not str or pattern.match(value) is None:
            raise Wrong(f"must be {rule}")
        return value

    return check


def one_of(*choices: str) -> Callable[[Any], str]:
    """One of a few strings."""

    def check(value: Any) -> str:
        if type(value) is not str or value not in choices:
            raise Wrong("must be " + " or ".join(f"`{choice}`" for choice in choices))
        return value

    return check


def boolean(value: Any) -> bool:
    """true or false; not 0, 1 or a string."""
    if type(value) is not bool:
        raise Wrong("must be true or false")
    return value


def positive_number(unit: str) -> Callable[[Any], float]:
    """A finite number above 0, whole or not."""

    def check(value: Any) -> float:
        if type(value) not in (int, float) or not 0 < value <= MAX_INT:
            raise Wrong(f"must be a number of {unit} above 0")
        return float(value)

    return check


def positive_integer(unit: str) -> Callable[[Any], int]:
    """A whole number from 1 on, written without fraction or exponent."""

    def check(value: Any) -> int:
        if type(value) is not int or not 0 < value <= MAX_INT:
            raise Wrong(f"must be a whole number of {unit}, at least 1")
        return value

    return check


def relative_file(value: Any) -> str:
    """The path of a file inside the folder, `./` in front allowed."""
    if type(value) is not str or not value:
        raise Wrong("must be the path of a file, such as `./a.out`")
    if value.endswith(("/", "/.")) or value == ".":
        raise Wrong("must be the path of a file, not of a folder")
    problem = path_problem(clean_path(value))
    if problem is not None:
        raise Wrong(problem)
    return value


def clean_path(path: str) -> str:
    """`path` without `.` and empty components, a leading slash kept: `./a//b` is `a/b`."""
    root = "/" if path.startswith("/") else ""
    return root + "/".join(part for part in path.split("/") if part not in ("", "."))


def glob(value: Any) -> str:
    """A short pattern of visible characters."""
    if type(value) is not str or not value.strip() or len(value) > 128:
        raise Wrong("must be a pattern of 1 to 128 characters, such as `*A100*`")
    problem = text_problem(value)
    if problem is not None:
        raise Wrong(problem)
    return value
