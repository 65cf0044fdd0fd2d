"""The data folder: where things lie in it, and the lock that makes it ours alone."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path

import msgspec

from hermes.settings import Settings
from infra.supervisor.errors import AlreadyRunning, HomeUnusable
from infra.supervisor.identity import ProcessIdentity
from infra.supervisor.results import RoleStatus, StatusResult, UpResult

_LOCK_TIMEOUT = 15.0  # seconds for what a killed supervisor left behind to be gone


class Running(msgspec.Struct, frozen=True):
    """The content of run/status.json, replaced whole at every change."""

    supervisor: ProcessIdentity
    up: UpResult
    roles: tuple[RoleStatus, ...]
    children: tuple[ProcessIdentity, ...]

    def status(self) -> StatusResult:
        """The answer to `hermes status`."""
        ready = all(role.status in ("ready", "external") for role in self.roles)
        return StatusResult(self.up.url, ready, self.roles)


class Home(msgspec.Struct, frozen=True):
    """A data folder. All paths below it are Hermes' to create and remove."""

    path: Path

    @property
    def ports_file(self) -> Path:
        """The ports that were chosen at the first start."""
        return self.path / "ports.json"

    @property
    def lock_file(self) -> Path:
        """Locked by the supervisor and, by inheritance, by every child of it."""
        return self.path / "run" / "lock"

    @property
    def status_file(self) -> Path:
        """Who runs here; believed only as far as its process identities are alive."""
        return self.path / "run" / "status.json"

    def log_file(self, role: str) -> Path:
        """Where a role's stderr goes."""
        return self.path / "logs" / f"{role}.log"

    def create(self) -> None:
        """Make the folders, for this user only. Raises HomeUnusable."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in ("run", "logs"):
                (self.path / name).mkdir(exist_ok=True, mode=0o700)
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise PermissionError(f"{self.path} is not writable")
        except OSError as error:
            raise HomeUnusable(f"{error}; choose another folder with --home") from None

    def read(self) -> Running | None:
        """What runs here now; None if nothing does, whatever the file says."""
        running = self._read_file()
        return running if running and running.supervisor.is_alive() else None

    def write(self, running: Running) -> None:
        """Replace the status file."""
        new = self.status_file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(running))
        new.replace(self.status_file)

    def lock(self) -> int:
        """Take the folder, ending what a killed supervisor left. Raises AlreadyRunning.

        The descriptor is meant to be inherited: the folder is free when the last child is gone.
        """
        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + _LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                self.end_left_overs()
                return descriptor
            running = self.read()
            if running or time.monotonic() > deadline:
                os.close(descriptor)
                raise AlreadyRunning(self._who(running))
            self.end_left_overs()
            time.sleep(0.05)

    def end_left_overs(self) -> None:
        """Kill children of a supervisor that is gone; by identity, never by name."""
        running = self._read_file()
        if running and not running.supervisor.is_alive():
            for child in running.children:
                child.send(signal.SIGKILL)

    def _who(self, running: Running | None) -> str:
        if running:
            return (
                f"{self.path} is served by pid {running.up.pid} at {running.up.url}; "
                "stop it with `hermes down`, or choose another folder with --home"
            )
        return f"{self.path} is held by process {_holders(self.lock_file)}; end it and try again"

    def _read_file(self) -> Running | None:
        try:
            return msgspec.json.decode(self.status_file.read_bytes(), type=Running)
        except (OSError, msgspec.DecodeError):
            return None


def home_folder(home: Path | None) -> Home:
    """Flag before HERMES_HOME before ~/.hermes."""
    return Home((home.expanduser() if home else Settings.from_env().home).absolute())


def _holders(lock_file: Path) -> str:
    holders = set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if descriptor.samefile(lock_file) and int(descriptor.parts[2]) != os.getpid():
                holders.add(descriptor.parts[2])
        except OSError:
            continue
    return ", ".join(sorted(holders)) or "of another user"
