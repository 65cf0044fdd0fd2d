"""Tables for people: as wide as they need to be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.escape import escape_line

_STYLES: Final = {
    "succeeded": "green",
    "built": "green",
    "online": "green",
    "ready": "green",
    "ok": "green",
    "running": "cyan",
    "failed": "red",
    "build_failed": "red",
    "timed_out": "red",
    "out_of_memory": "red",
    "output_limit": "red",
    "lost": "red",
    "rejected": "red",
    "stopped": "red",
    "FAILED": "red",
    "cancelled": "yellow",
    "superseded": "dim",
}
#: Nothing is cut or folded: a program that reads the table wants its rows whole, and a terminal
#: that is too narrow folds lines by itself.
_UNBOUNDED: Final = 100_000


def show_table(
    stream: TextIO, columns: Sequence[str], rows: Iterable[Sequence[str]], *, color: bool
) -> None:
    """Write a table without lines. Cells are text, never markup, and stay on their line."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        cells = [escape_line(value) or "-" for value in row]
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in cells))
    console = Console(
        file=stream, width=_UNBOUNDED, color_system="auto" if color else None, highlight=False
    )
    console.print(table)
