"""Starting, stopping and looking at the Hermes of this machine, which may not be installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli import exit_codes
from cli.problem import Problem, from_error, usage
from cli.session import Session
from hermes.errors import HermesError, InvalidRequest
from hermes.settings import SANDBOXES


@contextmanager
def server_code() -> Iterator[None]:
    """Around all use of the server's code: what it says is wrong, or that it is missing."""
    try:
        yield
    except ImportError as error:
        raise Problem(
            "the server is not installed here",
            f"{error.name} is missing; install it with: pip install 'hermes-serverless[embedded]'",
            exit_code=exit_codes.FAILURE,
        ) from None
    except HermesError as error:
        problem = from_error(error)
        wrong_flag = type(error) is InvalidRequest
        problem.exit_code = exit_codes.USAGE if wrong_flag else exit_codes.FAILURE
        raise problem from None


def start(
    session: Session, home: Path | None, port: int | None, sandbox: str | None, *, detach: bool
) -> None:
    """`hermes up`; in the foreground until it is stopped."""
    if sandbox is not None and sandbox not in SANDBOXES:
        raise usage(f"--sandbox {sandbox!r} is not known; it is one of {', '.join(SANDBOXES)}")
    with server_code():
        import msgspec  # noqa: PLC0415
        from rich.console import Console  # noqa: PLC0415

        from infra.supervisor.detached import start_detached  # noqa: PLC0415
        from infra.supervisor.display import display_for  # noqa: PLC0415
        from infra.supervisor.foreground import run_foreground  # noqa: PLC0415
        from infra.supervisor.plan import UpOptions  # noqa: PLC0415
        from infra.supervisor.results import UpResult  # noqa: PLC0415

        options = UpOptions(home=home, port=port, sandbox=sandbox)

        def serves(result: UpResult) -> None:
            if session.json:
                session.out.document(msgspec.to_builtins(result))
            elif detach:
                session.out.line(result.url)

        def tell(step: str) -> None:
            if not session.json:
                session.out.note(step)

        if detach:
            serves(start_detached(options, tell))
        else:
            console = Console(stderr=True, no_color=session.out.no_color or None)
            run_foreground(options, display_for(console), serves)


def stop(session: Session, home: Path | None) -> None:
    """`hermes down`."""
    with server_code():
        from infra.supervisor import control  # noqa: PLC0415

        stopped = control.stop(home)
    if session.json:
        session.out.document({"stopped": stopped})
    else:
        session.out.line("Stopped" if stopped else "Hermes was not running")


def show_status(session: Session, home: Path | None) -> int:
    """`hermes status`; the exit code."""
    import msgspec  # noqa: PLC0415

    with server_code():
        from infra.supervisor import control  # noqa: PLC0415

        found = control.read_status(home)
    if found is None:
        if session.json:
            session.out.document({"url": None, "ready": False, "roles": []})
        else:
            session.out.note("Hermes does not run here; start it with: hermes up")
        return exit_codes.UNREACHABLE
    if session.json:
        session.out.document(msgspec.to_builtins(found))
        return exit_codes.OK
    session.out.rows(("ROLE", "STATUS", "PID", "RESTARTS"), [_role(role) for role in found.roles])
    session.out.line(f"\n{found.url} is {'ready' if found.ready else 'not ready yet'}")
    return exit_codes.OK


def _role(role: Any) -> tuple[str, ...]:
    pid = "" if role.pid is None else str(role.pid)
    return (role.name, role.status, pid, str(role.restarts))


def diagnose(session: Session, home: Path | None, mend: str | None) -> int:
    """`hermes doctor`; the exit code."""
    import msgspec  # noqa: PLC0415

    with server_code():
        from infra import doctor  # noqa: PLC0415
        from infra.supervisor.home import home_folder  # noqa: PLC0415

        folder = home_folder(home).path
        if mend is not None:
            doctor.fix(mend, folder, session.out.note)
        checks = doctor.run_checks(folder)
    if session.json:
        session.out.document(msgspec.to_builtins(checks))
    else:
        session.out.rows(("CHECK", "RESULT", "DETAIL"), [_check(check) for check in checks])
        for check in checks:
            if not check.ok and check.advice:
                session.out.line(f"\n{check.name}: {check.advice}")
    broken = any(check.required and not check.ok for check in checks)
    return exit_codes.FAILURE if broken else exit_codes.OK


def _check(check: Any) -> tuple[str, ...]:
    result = "ok" if check.ok else ("FAILED" if check.required else "missing")
    return (check.name, result, check.detail)
