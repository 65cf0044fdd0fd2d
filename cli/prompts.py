"""Questions to the person at the terminal, on stderr; without one, the flag to give instead."""

from __future__ import annotations

import sys

from cli.problem import Problem, usage


def is_interactive() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str, flag: str, default: str | None = None) -> str:
    """One line. `flag` is what to give where nobody can be asked."""
    _require_terminal(question, flag)
    hint = f" [{default}]" if default else ""
    sys.stderr.write(f"{question}{hint} ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer:
        sys.stderr.write("\n")
        return default or ""
    return answer.rstrip("\r\n") or default or ""


def ask_secret(question: str, flag: str) -> str:
    """One line that is not shown."""
    import getpass  # noqa: PLC0415

    _require_terminal(question, flag)
    return getpass.getpass(f"{question} ", stream=sys.stderr)


def confirm(question: str, flag: str = "--yes") -> None:
    """Go on only if the person says yes."""
    if ask(f"{question} [y/N]", flag).strip().lower() not in ("y", "yes"):
        raise Problem("not done", "nothing was changed", code="invalid_request", exit_code=1)


def read_secret_line() -> str:
    """A password from standard input: its first line."""
    line = sys.stdin.readline() if sys.stdin is not None else ""
    secret = line.rstrip("\r\n")
    if not secret:
        raise usage("--password-stdin was given, but standard input holds no password")
    return secret


def _require_terminal(question: str, flag: str) -> None:
    if not is_interactive():
        raise usage(f"there is no terminal to ask {question.rstrip(':?')!r} on; give {flag}")
