"""One role's process over all its restarts."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from hermes.errors import HermesError
from infra.embedded.spawn import spawn
from infra.supervisor.identity import ProcessIdentity
from infra.supervisor.logs import bound
from infra.supervisor.results import RoleState, RoleStatus
from infra.supervisor.roles import Role

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 30.0
_STABLE = 20.0  # seconds of service after which a crash counts as a first one again


class Child:
    """A role, its current process and its history. Driven by the supervisor's loop alone."""

    def __init__(self, role: Role, log: Path, lock: int) -> None:
        self.role = role
        self.log = log
        self.restarts = 0
        #: Crashes since the role last served for a while.
        self.crashes = 0
        self.state: RoleState = "stopped"
        self.identity: ProcessIdentity | None = None
        self.pidfd = -1
        self.ready_fd = -1
        self.last_end = ""
        self.next_start = 0.0
        self._lock = lock
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_since = 0.0

    def start(self) -> None:
        """Start the process. A role that cannot be prepared counts as crashed."""
        bound(self.log)
        write_end = -1
        try:
            environment = dict(self.role.environment)
            inherited = [self._lock]
            if self.role.probe is None:
                self.ready_fd, write_end = os.pipe()
                environment["HERMES_READY_FD"] = str(write_end)
                inherited.append(write_end)
            self.role.prepare()
            self._process = spawn(
                self.role.command(),
                log=self.log,
                env=environment,
                cwd=self.role.folder,
                pass_fds=inherited,
                never_root=self.role.never_root,
            )
            self.pidfd = os.pidfd_open(self._process.pid)
        except (OSError, subprocess.SubprocessError, HermesError) as error:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                self._process = None
            self.close_ready_fd()
            self._crashed(f"could not be started: {error}")
            return
        finally:
            if write_end >= 0:
                os.close(write_end)
        self.identity = ProcessIdentity.of(self._process.pid)
        self.state = "starting"

    def check_probe(self) -> bool:
        """Ask a starting role with a probe whether it serves. True if it does from now on."""
        if self.state != "starting" or self.role.probe is None or self._process is None:
            return False
        return self._serves(self.role.probe(self._process.pid))

    def read_report(self) -> bool:
        """Read what the role wrote on its ready descriptor. True if it serves from now on."""
        report = os.read(self.ready_fd, 64)
        self.close_ready_fd()
        return self.state == "starting" and self._serves(report.startswith(b"ready"))

    def ended(self) -> None:
        """Reap the process after its pidfd became readable, and decide what comes next."""
        assert self._process is not None
        code = self._process.wait()
        os.close(self.pidfd)
        self.pidfd = -1
        self.close_ready_fd()
        self._process = self.identity = None
        if self.state == "stopping":
            self.state = "stopped"
            return
        if self._ready_since and time.monotonic() - self._ready_since > _STABLE:
            self.crashes = 0
        self._crashed(f"killed by signal {-code}" if code < 0 else f"ended with {code}")

    def stop(self) -> None:
        """Ask the process to end; without a process the role is stopped at once."""
        if self._process is None:
            self.state = "stopped"
        elif self.state != "stopping":
            self.state = "stopping"
            self._process.send_signal(self.role.stop_signal)

    def kill(self) -> None:
        """End the process without asking."""
        if self._process is not None:
            self.state = "stopping"
            self._process.kill()

    def close_ready_fd(self) -> None:
        """Close our end of the ready descriptor, if it is open."""
        if self.ready_fd >= 0:
            os.close(self.ready_fd)
            self.ready_fd = -1

    def status(self) -> RoleStatus:
        """The role's line in `hermes status`."""
        pid = self._process.pid if self._process else None
        return RoleStatus(self.role.name, self.state, pid, self.restarts)

    def _serves(self, ready: bool) -> bool:
        if ready:
            self.state = "ready"
            self._ready_since = time.monotonic()
        return ready

    def _crashed(self, how: str) -> None:
        self.last_end = how
        self.state = "waiting"
        self.restarts += 1
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self.crashes)
        self.crashes += 1
        self._ready_since = 0.0
        self.next_start = time.monotonic() + pause
