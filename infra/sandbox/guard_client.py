"""The agent's side of the guard: starts it, tells it what to watch, starts it anew if it died."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from infra.sandbox import spawn

log = logging.getLogger(__name__)

_GUARD = Path(__file__).with_name("guard.py")


class Guard:
    """One guard process, shared by all sandboxes of this agent."""

    def __init__(self) -> None:
        self._is_wanted = False
        self._channel: socket.socket | None = None
        self._pid = 0
        self._watched: dict[str, tuple[bytes, list[int]]] = {}
        self._deadlines: dict[str, bytes] = {}

    @property
    def pid(self) -> int:
        """The guard's process id."""
        return self._pid

    def start(self) -> None:
        """Start the process and tell it what is alive. Raises OSError; later calls try again."""
        self._is_wanted = True
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                program = (sys.executable, "-I", "-S", str(_GUARD), "3")
                self._pid = spawn.spawn(program, {0: None, 1: None, 2: 2, 3: theirs.fileno()})
        except OSError:
            ours.close()
            raise
        self._channel = ours
        try:
            for name, (message, fds) in self._watched.items():
                self._tell_of(name, message, fds)
            for message in self._deadlines.values():
                ours.send(message)
        except OSError:
            self._kill()
            raise

    def _tell_of(self, name: str, message: bytes, fds: list[int]) -> None:
        assert self._channel is not None
        try:
            socket.send_fds(self._channel, [message], fds)
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            # Closed without our being told: it must not leave all others without a guard.
            log.error("sandbox %s cannot be guarded: its descriptors are closed", name)

    def watch(self, name: str, cgroups: Sequence[str], pidfd: int, held: tuple[int, ...]) -> None:
        """Guard a sandbox; the descriptors stay the caller's. Raises OSError if nobody does."""
        fds = [pidfd, *held]
        message = json.dumps({"watch": name, "cgroups": list(cgroups)}).encode()
        self._watched[name] = (message, fds)
        self._send(message, fds)

    def deadline(self, name: str, after: float) -> None:
        """Have the sandbox killed `after` seconds from now, unless `done` comes first.

        If there is no guard now, the next one is told.
        """
        message = json.dumps({"deadline": name, "at": time.monotonic() + after}).encode()
        self._deadlines[name] = message
        with contextlib.suppress(OSError):
            self._send(message)

    def done(self, name: str) -> None:
        """The sandbox is gone."""
        if self._watched.pop(name, None):
            self._deadlines.pop(name, None)
            with contextlib.suppress(OSError):
                self._send(json.dumps({"done": name}).encode())

    def _send(self, message: bytes, fds: list[int] | None = None) -> None:
        if not self._is_wanted:
            return
        if self._channel is not None:
            try:
                socket.send_fds(self._channel, [message], fds or [])
                return
            except OSError:  # it was killed
                self._kill()
        self.start()  # the new one is told everything, this message included

    def close(self) -> None:
        """End the guard. It kills what is still watched."""
        self._is_wanted = False
        self._reap()

    def _reap(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)

    def _kill(self) -> None:
        """End it without its ending what it watches: another does that."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self._reap()
