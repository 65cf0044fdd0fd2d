"""The detached supervisor; `infra.supervisor.detached` starts it."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TextIO

import msgspec
from rich.console import Console

from hermes.errors import HermesError
from infra.supervisor.detached import Failed, Line, Message, Served, Started
from infra.supervisor.display import PlainDisplay
from infra.supervisor.foreground import run_foreground
from infra.supervisor.plan import UpOptions
from infra.supervisor.results import RoleStatus, UpResult


class _Reporter(PlainDisplay):
    """Writes to the log, and to whoever waits for the start until it is over."""

    def __init__(self, messages: TextIO) -> None:
        super().__init__(Console(stderr=True))
        self._messages = messages

    def line(self, text: str) -> None:
        super().line(text)
        self.send(Line(text))

    def role(self, name: str, what: str, roles: tuple[RoleStatus, ...]) -> None:
        super().role(name, what, roles)
        if any(role.name == name and role.status == "waiting" for role in roles):
            self.send(Line(f"{name} {what}, it is started again"))

    def ready(self, result: UpResult) -> None:
        super().ready(result)
        self.send(Served(result))
        self._messages.close()

    def send(self, message: Message) -> None:
        """Tell who waits, if anybody still does."""
        if not self._messages.closed:
            with contextlib.suppress(BrokenPipeError):
                self._messages.write(msgspec.json.encode(message).decode() + "\n")
                self._messages.flush()


def main() -> int:
    """argv: the options as JSON. Exit status: 0, or 1 after a failure that was reported."""
    options = UpOptions.decode(sys.argv[1])
    if os.fork():
        os._exit(0)
    reporter = _Reporter(os.fdopen(int(os.environ.pop("HERMES_REPORT_FD")), "w"))
    reporter.send(Started(os.getpid()))
    try:
        run_foreground(options, reporter)
    except HermesError as error:
        print(f"{error.title()}: {error.detail}", file=sys.stderr)
        reporter.send(Failed(error.title(), error.detail, error.errors))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
