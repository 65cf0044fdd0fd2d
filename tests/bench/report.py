"""What was measured, as a table for people and as JSON for whoever compares runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec


class Row(msgspec.Struct, kw_only=True):
    """One measured value. `floor` is what was measured beside it without Hermes, `goal` what
    Hermes should reach; with `higher` a higher value is better."""

    section: str
    name: str
    value: float
    unit: str
    goal: float | None = None
    floor: float | None = None
    floor_name: str = ""
    higher: bool = False

    @property
    def reached(self) -> bool | None:
        """Whether the goal is met; None without one."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.higher else self.value <= self.goal


class Report(msgspec.Struct):
    """Rows, tables beside them (title → column → value per row name) and sentences."""

    rows: list[Row] = []
    tables: dict[str, dict[str, dict[str, float]]] = {}
    notes: list[str] = []

    def show(self) -> str:
        """The report for a terminal."""
        lines = [
            f"{'':38} {'value':>10} {'goal':>10} {'':8} {'ratio to the floor of this run':>20}"
        ]
        section = ""
        for row in self.rows:
            if row.section != section:
                section = row.section
                lines += ["", section]
            lines.append(_line(row))
        for title, table in self.tables.items():
            lines += ["", title, *_table(table)]
        return "\n".join([*lines, "", *self.notes])

    def write(self, path: Path) -> None:
        """The report as JSON."""
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self)) + b"\n")


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    """The middle one, 0 for none."""
    return statistics.median(values) if values else 0.0


def _line(row: Row) -> str:
    bound = "≥" if row.higher else "≤"
    goal = f"{bound} {row.goal:g}" if row.goal is not None else ""
    verdict = {None: "", True: "reached", False: "missed"}[row.reached]
    ratio = ""
    if row.floor:
        ratio = f"{row.value / row.floor:.2f} x {row.floor:.2f} {row.unit} ({row.floor_name})"
    return f"  {row.name:36} {row.value:7.2f} {row.unit:5} {goal:>7} {verdict:8} {ratio}"


def _table(table: dict[str, dict[str, float]]) -> list[str]:
    columns = list(dict.fromkeys(name for row in table.values() for name in row))
    lines = [f"  {'':24}" + "".join(f"{column:>14}" for column in columns)]
    for name, row in table.items():
        cells = (f"{row[column]:14.2f}" if column in row else f"{'':14}" for column in columns)
        lines.append(f"  {name:24}" + "".join(cells))
    return lines
