"""Tables for people: as wide as the terminal, or as wide as they need to be in a pipe."""

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
#: A pipe has no width: no row is cut or folded there.
_UNBOUNDED: Final = 100_000


def show_table(
    stream: TextIO, columns: Sequence[str], rows: Iterable[Sequence[str]], *, color: bool
) -> None:
    """Write a table without lines. Cells are text, never markup, and stay on their line."""
    cells = [[escape_line(value) if value else "-" for value in row] for row in rows]
    if not stream.isatty():
        _write_plain(stream, [list(columns), *cells])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == columns[0])
    for row in cells:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    console = Console(file=stream, no_color=not color, highlight=False)
    console.print(table)


def _write_plain(stream: TextIO, rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        stream.write(line.rstrip() + "\n")
