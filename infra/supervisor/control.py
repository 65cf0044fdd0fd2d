"""`hermes down` and `hermes status`: they find the supervisor by its status file."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from infra.supervisor.errors import StopFailed
from infra.supervisor.home import home_folder
from infra.supervisor.identity import ProcessIdentity
from infra.supervisor.results import StatusResult, UpResult

# The supervisor gives its three stages 8 s each before it kills.
_STOP_TIMEOUT = 30.0
_KILL_TIMEOUT = 5.0
_REAP_TIMEOUT = 2.0


def stop(home: Path | None = None) -> bool:
    """Stop what runs on the folder and wait until it is gone. False: nothing ran.

    Also ends what a killed supervisor may have left. Raises StopFailed.
    """
    folder = home_folder(home)
    running = folder.read()
    if running is None:
        folder.end_left_overs()
        return False
    supervisor = running.supervisor
    for signal_number, timeout in (
        (signal.SIGTERM, _STOP_TIMEOUT),
        (signal.SIGKILL, _KILL_TIMEOUT),
    ):
        supervisor.send(signal_number)
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if not supervisor.is_alive():
                folder.end_left_overs()
                _await_reaping(supervisor)
                return True
            time.sleep(0.02)
    raise StopFailed(f"the supervisor (pid {supervisor.pid}) does not end, not even by SIGKILL")


def _await_reaping(supervisor: ProcessIdentity) -> None:
    # Dead, but until its parent has taken note of it, the pid looks alive to kill(1) and the like.
    deadline = time.monotonic() + _REAP_TIMEOUT
    while Path(f"/proc/{supervisor.pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.005)


def read_status(home: Path | None = None) -> StatusResult | None:
    """How the roles of the folder stand; None if nothing runs there."""
    running = home_folder(home).read()
    return running.status() if running else None


def read_up(home: Path | None = None) -> UpResult | None:
    """What serves on the folder: URL, ports, pid; None if nothing runs there."""
    running = home_folder(home).read()
    return running.up if running else None
