"""`hermes up --detach`: a supervisor of its own session, which reports until it serves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TextIO

import msgspec

from hermes.errors import FieldProblem, HermesError, InvalidRequest
from infra.embedded.errors import EmbeddedFault, JarsUnavailable
from infra.embedded.jars import Report
from infra.supervisor.errors import AlreadyRunning, HomeUnusable, PortTaken, StartFailed
from infra.supervisor.home import home_folder
from infra.supervisor.logs import bound
from infra.supervisor.plan import UpOptions
from infra.supervisor.results import UpResult

_PACKAGES = Path(__file__).resolve().parents[2]


class Started(msgspec.Struct, frozen=True, tag="started"):
    """The supervisor's pid, before anything else."""

    pid: int


class Line(msgspec.Struct, frozen=True, tag="line"):
    """A step of the start."""

    text: str


class Served(msgspec.Struct, frozen=True, tag="served"):
    """The supervisor serves, and says no more."""

    result: UpResult


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The supervisor gave up."""

    title: str
    detail: str
    errors: tuple[FieldProblem, ...]


Message = Started | Line | Served | Failed

# The caller gets the error that the supervisor met.
_ERRORS: dict[str, type[HermesError]] = {
    kind.title(): kind
    for kind in (
        AlreadyRunning,
        EmbeddedFault,
        HomeUnusable,
        InvalidRequest,
        JarsUnavailable,
        PortTaken,
        StartFailed,
    )
}


def start_detached(options: UpOptions, report: Report = lambda line: None) -> UpResult:
    """Start Hermes in the background and return once it serves. Raises like `run_foreground`.

    Interrupted (Ctrl-C), it stops what it started.
    """
    home = home_folder(options.home)
    home.create()
    log = home.log_file("supervisor")
    bound(log)
    read_end, write_end = os.pipe()
    path = os.pathsep.join(filter(None, (str(_PACKAGES), os.environ.get("PYTHONPATH"))))
    with log.open("ab") as output:
        # This process ends at once, having forked the supervisor, which so is nobody's child.
        subprocess.run(
            [sys.executable, "-P", "-m", "infra.supervisor", options.encode()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=[write_end],
            env={**os.environ, "PYTHONPATH": path, "HERMES_REPORT_FD": str(write_end)},
            check=True,
        )
    os.close(write_end)
    with os.fdopen(read_end) as messages:
        result = _follow(messages, report)
    if result is None:
        raise StartFailed(f"the supervisor ended; see {log}")
    return result


def _follow(messages: TextIO, report: Report) -> UpResult | None:
    """Read to the supervisor's verdict; None if it died without one."""
    pid = 0
    try:
        for text in messages:
            match msgspec.json.decode(text, type=Message):
                case Started(pid):
                    continue
                case Line(line):
                    report(line)
                case Served(result):
                    return result
                case Failed(title, detail, errors):
                    raise _ERRORS.get(title, StartFailed)(detail, errors)
    except KeyboardInterrupt:
        if pid:
            os.kill(pid, signal.SIGTERM)
        messages.read()  # to its end, which is the supervisor's
        raise
    return None
