"""Where results go: data to stdout, everything said about it to stderr; JSON on request."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from cli.escape import escape, escape_line
from cli.problem import Problem


class ReaderLeft(Exception):
    """Nobody reads our stdout any more: time to leave quietly."""


class Output:
    """Both streams of a command, and how its user wants to read them."""

    def __init__(self, stdout: TextIO, stderr: TextIO) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self.json = False
        self.no_color = False

    @property
    def color(self) -> bool:
        """Whether a person at a terminal wants colour."""
        refused = self.no_color or bool(os.environ.get("NO_COLOR"))
        return self.stdout.isatty() and not refused and os.environ.get("TERM") != "dumb"

    @property
    def blocks(self) -> bool:
        """Whether the reader's terminal or file can be trusted with block characters."""
        names = ("LC_ALL", "LC_CTYPE", "LANG")
        locale = next((value for name in names if (value := os.environ.get(name))), "")
        if locale in ("C", "POSIX") or os.environ.get("TERM") in ("dumb", "linux"):
            return False
        try:
            "▁█".encode(self.stdout.encoding or "ascii")
        except (LookupError, UnicodeError):
            return False
        return True

    def line(self, text: str) -> None:
        """A line of data. What came from a server is made safe to show."""
        self.stdout.write(escape(text) + "\n")
        self.stdout.flush()

    def note(self, text: str) -> None:
        """A line about what is going on, on stderr."""
        self.stderr.write(f"hermes: {escape(text)}\n")
        self.stderr.flush()

    def document(self, value: Any) -> None:
        """One JSON value on a line of its own."""
        self.stdout.write(_encode(value) + "\n")
        self.stdout.flush()

    def rows(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table."""
        from cli.tables import show_table  # noqa: PLC0415

        show_table(self.stdout, columns, rows, color=self.color)

    def fields(self, fields: Mapping[str, str]) -> None:
        """Names and values, a line each, values aligned; empty ones are left out."""
        width = max((len(name) for name in fields), default=0) + 1
        for name, value in fields.items():
            if value:
                self.line(f"{name + ':':<{width}} {escape_line(value)}")

    def problem(self, problem: Problem) -> None:
        """Why the command failed: for people, or one problem document, always on stderr."""
        if self.json:
            self.stderr.write(_encode(problem.document()) + "\n")
        else:
            # Further lines are indented, so that no detail can pass for a message of ours.
            text = escape(str(problem)).replace("\n", "\n  ")
            self.stderr.write(f"hermes: {text}\n")
            for field, message in problem.errors:
                place = f"{escape_line(field)}: " if field else ""
                self.stderr.write(f"  {place}{escape_line(message)}\n")
        self.stderr.flush()


def _encode(value: Any) -> str:
    """JSON in ASCII: right in every locale, and nothing in it that a terminal would obey."""
    return json.dumps(value, separators=(",", ":"))
