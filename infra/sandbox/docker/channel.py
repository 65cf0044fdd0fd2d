"""The agent's end of the channel to process 1 of one container, which is `guard.c`.

One connection is taken, then nobody listens any more: the socket that the program sees is dead.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec

from infra.sandbox.docker.profile import SOCKET
from infra.sandbox.port import SandboxError

_GO, _KILL = 1, 2
_ORDER = struct.Struct("=iiq")  # what, unused, milliseconds
_REPORT = struct.Struct("=ii")  # wait status, whether the guard kept the limit
_PEER = struct.Struct("3i")  # pid, uid, gid


class Report(msgspec.Struct, frozen=True):
    """How the program ended, as `os.wait` says it."""

    status: int
    timed_out: bool


class Channel:
    """`folder` is shown to the container; `user` is its user's id. Raises OSError."""

    def __init__(self, folder: Path, user: int) -> None:
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._listener: socket.socket | None = None
        self._connection: socket.socket | None = None
        try:
            self._listener = _socket()
            path = f"/proc/self/fd/{self._folder}/{SOCKET}"  # short, as addresses must be
            self._listener.bind(path)
            os.chmod(path, 0o600)  # noqa: PTH101
            os.chown(path, user, user)
            self._listener.listen(1)
        except BaseException:
            self.close()
            raise
        self._user = user

    async def ready(self, *, through_runtime: bool = False) -> int:
        """Wait until process 1 has said so: its process id. Raises SandboxError, OSError.

        `through_runtime`: a runtime connects in its name (gVisor's does), and its id is returned.
        """
        assert self._listener is not None
        await _readable(self._listener)
        self._connection, _ = self._listener.accept()
        self._connection.setblocking(False)
        self._stop_listening()
        credentials = self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        pid: int
        pid, user, _ = _PEER.unpack(credentials)
        if pid == 0 or (user != self._user and not through_runtime):
            raise SandboxError("the engine runs its containers where this agent does not see them")
        await _readable(self._connection)
        if self._connection.recv(16) != b"ready":
            raise SandboxError("process 1 of the container ended before it was ready")
        return pid

    def fileno(self) -> int:
        """To watch for reports; only once ready."""
        assert self._connection is not None
        return self._connection.fileno()

    def go(self, stdin: int, stdout: int, stderr: int, rules: int, limit: float) -> None:
        """Release the program, under the filter of system calls that the file `rules` holds.

        It is killed after `limit` seconds even if we are dead by then.
        """
        self._tell(_GO, int(limit * 1000), (stdin, stdout, stderr, rules))

    def kill(self) -> None:
        """Have the program and all it started die; before go process 1 ends instead."""
        self._tell(_KILL)

    def report(self) -> Report | None:
        """What it said; None once it is dead. Call when there is something to read."""
        if self._connection is None:
            return None
        try:
            said = self._connection.recv(_REPORT.size + 1)
        except OSError:
            return None
        if len(said) != _REPORT.size:
            return None
        status, timed_out = _REPORT.unpack(said)
        return Report(status, bool(timed_out))

    def close(self) -> None:
        """Hang up: process 1 ends, at the latest when its program's time is over."""
        if self._connection is not None:
            self._connection.close()
        self._stop_listening()
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def _tell(self, what: int, limit: int = 0, fds: Sequence[int] = ()) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):  # it is dead already
                socket.send_fds(self._connection, [_ORDER.pack(what, 0, limit)], list(fds))

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            with contextlib.suppress(OSError):
                os.unlink(SOCKET, dir_fd=self._folder)


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.setblocking(False)
    return made


async def _readable(waiting: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(waiting.fileno(), event.set)
    try:
        await event.wait()
    finally:
        loop.remove_reader(waiting.fileno())
