"""`hermes function build` and `deploy`: pack a folder, send it, follow its build."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from cli import exit_codes
from cli.problem import Problem, from_error
from cli.program_output import TailPrinter, describe_end
from cli.refs import path
from cli.session import Session
from cli.tail import Tail
from hermes.errors import HermesError

#: A build's id is known before its log can be read; so long "not found" means "not yet".
_PATIENCE = 60.0
#: After the build's end the function's state follows at once; a server that is slow gets this long.
_SETTLE = 30.0
_POLL = 0.2


def build_folder(session: Session, folder: Path) -> int:
    """Build only; the exit code."""
    with _packed(folder) as archive:
        build = _send(session, "/v1/builds", archive)
    target = path("builds", str(build["id"]))
    _follow_log(session, f"{target}/tail", log_to_stderr=False)
    build = _settled(session, target, lambda state: state.get("status") in ("finished", "rejected"))
    succeeded = build.get("outcome") == "succeeded"
    if session.json:
        session.out.document(build)
    elif succeeded:
        session.out.line(f"Built {build.get('function') or folder}")
    if succeeded:
        return exit_codes.OK
    return _failed(session, "the build failed", _why(build))


def deploy_folder(session: Session, folder: Path, *, wait: bool) -> int:
    """Register a version and build it; the exit code."""
    with _packed(folder) as archive:
        try:
            function = _send(session, "/v1/functions", archive)
        except Problem as problem:
            if problem.code == "already_exists":
                problem.detail += ", or delete it first with: hermes function delete NAME:VERSION"
            raise
    if wait:
        function = _follow_deploy(session, function)
    if session.json:
        session.out.document(function)
    if function.get("status") == "build_failed":
        return _failed(session, f"the build of {function['id']} failed", function.get("error"))
    if not session.json:
        session.out.line(str(function["id"]))
    return exit_codes.OK


def _follow_deploy(session: Session, function: dict[str, Any]) -> dict[str, Any]:
    _follow_log(session, path("builds", str(function["build_id"]), "tail"), log_to_stderr=True)
    target = path(
        "functions", str(function["owner"]), str(function["name"]), str(function["version"])
    )
    return _settled(session, target, lambda state: state.get("status") != "registered")


def _packed(folder: Path) -> IO[bytes]:
    """The folder as an archive in a temporary file, at its start."""
    from hermes.packages.pack import pack  # noqa: PLC0415

    archive: IO[bytes] = tempfile.TemporaryFile(prefix="hermes-package-")  # noqa: SIM115
    try:
        pack(folder, archive)  # type: ignore[arg-type]
    except HermesError as error:
        archive.close()
        raise from_error(error) from None
    except BaseException:
        archive.close()
        raise
    archive.seek(0)
    return archive


def _send(session: Session, target: str, archive: IO[bytes]) -> dict[str, Any]:
    size = archive.seek(0, 2)
    archive.seek(0)
    headers = {"Content-Type": "application/gzip", "Content-Length": str(size)}
    answer = session.client.request("POST", target, body=archive, headers=headers)
    document: dict[str, Any] = answer.json()
    return document


def _follow_log(session: Session, target: str, *, log_to_stderr: bool) -> None:
    printer = TailPrinter(session.out, raw=False, all_to_stderr=log_to_stderr)
    tail = Tail(session.client, target, notify=session.out.note, patient=_PATIENCE)
    for entries in tail.batches():
        printer.show(entries)
    printer.finish()


def _settled(
    session: Session, target: str, settled: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """The resource once `settled` holds for it, or as it is when the server takes too long."""
    deadline = time.monotonic() + _SETTLE
    while True:
        state: dict[str, Any] = session.client.get(target).json()
        if settled(state) or time.monotonic() > deadline:
            return state
        time.sleep(_POLL)


def _why(build: dict[str, Any]) -> str:
    return str(build.get("error") or describe_end(build) or f"exit code {build.get('exit_code')}")


def _failed(session: Session, title: str, detail: Any) -> int:
    if not session.json:
        session.out.problem(Problem(title, str(detail or "")))
    return exit_codes.FAILURE
