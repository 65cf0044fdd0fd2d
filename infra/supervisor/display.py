"""What people see of a supervisor: a small live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from infra.supervisor.results import RoleStatus, UpResult

_COLOURS = {"ready": "green", "external": "green", "waiting": "red", "stopped": "dim"}


class Display(Protocol):
    """Where a supervisor's progress goes."""

    def line(self, text: str) -> None:
        """A step of the preparation."""

    def role(self, name: str, what: str, roles: tuple[RoleStatus, ...]) -> None:
        """Something happened to a role; `roles` is how all stand now."""

    def ready(self, result: UpResult) -> None:
        """Everything serves."""

    def close(self) -> None:
        """Nothing more will come."""


class PlainDisplay:
    """A line for each change, on stderr."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()

    def line(self, text: str) -> None:
        self._print(text)

    def role(self, name: str, what: str, roles: tuple[RoleStatus, ...]) -> None:
        self._print(f"{time.monotonic() - self._started:7.2f} s  {name:<10} {what}")

    def ready(self, result: UpResult) -> None:
        self._print(f"Hermes serves at {result.url} (data in {result.home})")

    def close(self) -> None:
        return

    def _print(self, text: str) -> None:
        # A full disk or a closed terminal must not end what still serves.
        with contextlib.suppress(OSError):
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveDisplay:
    """A table that follows the roles. It redraws on changes only, without a thread of its own."""

    def __init__(self, console: Console) -> None:
        self._title = "Hermes is starting"
        self._roles: tuple[RoleStatus, ...] = ()
        self._live = Live(console=console, auto_refresh=False)
        self._live.start()

    def line(self, text: str) -> None:
        self._title = text
        self._draw()

    def role(self, name: str, what: str, roles: tuple[RoleStatus, ...]) -> None:
        self._roles = roles
        if what == "stopping":
            self._title = "Hermes is stopping"
        self._draw()

    def ready(self, result: UpResult) -> None:
        self._title = f"Hermes serves at {result.url}, Ctrl-C stops it"
        self._draw()

    def close(self) -> None:
        self._live.stop()

    def _draw(self) -> None:
        view = Group(Text(self._title, style="bold"), role_table(self._roles))
        self._live.update(view, refresh=True)


def role_table(roles: tuple[RoleStatus, ...]) -> Table:
    """Roles with their states, pids and restart counts."""
    table = Table(box=None, pad_edge=False)
    table.add_column("ROLE")
    table.add_column("STATUS")
    table.add_column("PID", justify="right")
    table.add_column("RESTARTS", justify="right")
    for role in roles:
        colour = _COLOURS.get(role.status, "yellow")
        pid = "" if role.pid is None else str(role.pid)
        table.add_row(role.name, f"[{colour}]{role.status}[/]", pid, str(role.restarts))
    return table


def display_for(console: Console) -> Display:
    """The display that suits the console."""
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)
