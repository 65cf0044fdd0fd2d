"""The entry point: one table of commands, each loaded only when it is called."""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from cli import exit_codes
from cli.argv import split_topics
from cli.options import Noun, group_callback
from cli.output import ReaderLeft
from cli.plain_values import lighten
from cli.problem import Problem
from cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence


class Entry(NamedTuple):
    """Where a word of the command line leads. `command` None = a group of commands."""

    module: str
    command: str | None
    panel: str
    summary: str


_RUN: Final = "Functions and executions"
_SERVER: Final = "Server"
_CLIENT: Final = "Client"

COMMANDS: Final = {
    "run": Entry("run", "run", _RUN, "Run a function and stream what it writes."),
    "function": Entry("function", None, _RUN, "Write, build, deploy and look at functions."),
    "execution": Entry("execution", None, _RUN, "Follow, inspect, replay and cancel executions."),
    "up": Entry("server", "up", _SERVER, "Start Hermes on this machine."),
    "down": Entry("server", "down", _SERVER, "Stop Hermes on this machine."),
    "status": Entry("server", "status", _SERVER, "Show the parts of Hermes on this machine."),
    "doctor": Entry("server", "doctor", _SERVER, "Check what this machine needs for Hermes."),
    "agent": Entry("agent", None, _SERVER, "Look at the machines that run executions."),
    "gpu": Entry("gpu", None, _SERVER, "Look at the GPUs that executions can have."),
    "toolchain": Entry("toolchain", None, _SERVER, "Build the images that functions run in."),
    "audit": Entry("audit", None, _SERVER, "Prove from the log what must hold."),
    "projection": Entry("projection", None, _SERVER, "Look at views of the log, rebuild them."),
    "remote": Entry("remote", None, _CLIENT, "Register, log in and out of a server."),
    "config": Entry("config", "config", _CLIENT, "Show or set what this client keeps."),
    "version": Entry("config", "version", _CLIENT, "Show the versions of client and server."),
    "completion": Entry("config", "completion", _CLIENT, "Print a shell's completion script."),
}
TOPICS: Final = frozenset(word for word, entry in COMMANDS.items() if entry.command is None)


class LazyGroup(TyperGroup):
    """The top level: knows every command by name, imports only the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | TyperGroup | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        if cmd_name in self.commands:
            return self.commands[cmd_name]  # type: ignore[return-value]
        noun: Noun = import_module(f"cli.{entry.module}").app
        group = get_command(noun)
        assert isinstance(group, TyperGroup)
        found = group if entry.command is None else group.commands[entry.command]
        lighten(found)
        found.rich_help_panel = entry.panel  # type: ignore[attr-defined]
        self.add_command(found, cmd_name)
        return found  # type: ignore[return-value]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The overview needs names and summaries alone, so nothing is imported for it."""
        for word, entry in COMMANDS.items():
            stand_in = TyperCommand(word, help=entry.summary, rich_help_panel=entry.panel)
            self.commands.setdefault(word, stand_in)
        super().format_help(ctx, formatter)


_HELP: Final = """Run GPU programs on servers, without setup on your side.

`hermes TOPIC COMMAND` and `hermes TOPIC:COMMAND` are the same."""


def build() -> TyperGroup:
    """The whole command as a group, with nothing loaded yet."""
    app = typer.Typer(name="hermes", cls=LazyGroup, add_completion=False, add_help_option=False)
    app.callback(invoke_without_command=True)(group_callback(_HELP))
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    lighten(group)
    return group


def run(argv: Sequence[str], session: Session) -> int:
    """Carry out one command line; the exit code. Every failure is told on stderr."""
    words = split_topics(argv, TOPICS)
    try:
        result = build().main(args=words, prog_name="hermes", standalone_mode=False, obj=session)
    except typer.TyperException as error:
        session.out.json |= "--json" in argv
        detail = f"{error.format_message()}".rstrip(".")
        session.out.problem(_usage(detail))
        return exit_codes.USAGE
    except Problem as problem:
        session.out.problem(problem)
        return problem.exit_code
    except UnicodeEncodeError:
        session.out.problem(_usage("the command line holds bytes that are not UTF-8"))
        return exit_codes.USAGE
    except typer.Abort:
        session.out.note("aborted")
        return exit_codes.FAILURE
    return int(result) if isinstance(result, int) else exit_codes.OK


def _usage(detail: str) -> Problem:
    title = "invalid usage"
    detail = f"{detail}; `hermes --help` and `hermes COMMAND --help` show what there is"
    return Problem(title, detail, code="invalid_request", status=400)


def _mend_streams() -> None:
    """Whatever the locale can show or the parent has closed, writing must not raise."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        else:
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """Run the command line of this process and exit with its code."""
    if os.environ.get("_HERMES_COMPLETE"):
        from typer._completion_classes import completion_init  # noqa: PLC0415

        completion_init()
    _mend_streams()
    session = Session()
    try:
        code = run(sys.argv[1:], session)
        sys.stdout.flush()
    except (ReaderLeft, BrokenPipeError):
        # The reader has gone, which is its right; Python must not complain about it at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = exit_codes.BROKEN_PIPE
    except KeyboardInterrupt:
        code = exit_codes.DETACHED
    sys.exit(code)
