"""The pipes between the agent and one sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os

from infra.sandbox.command import ARGUMENTS, FILTER, GO, STATUS, STDERR
from infra.sandbox.late_input import LateInput
from infra.sandbox.port import LATER

_OUTPUT_PIPE = 1 << 20  # bytes; fewer switches between the program and its reader
_DIAGNOSTICS = 4096  # bytes kept; the tools say one line


class OutputPipes:
    """Stdout and stderr; `childs_stdout` and `childs_stderr` are the ends to give to the program.

    With `owner` the program, a user of that id, can open /dev/stdout. Raises OSError.
    """

    def __init__(self, owner: int | None) -> None:
        self._open: list[int] = []
        self._childs: list[int] = []
        try:
            self.stdout, self.childs_stdout = self._from_child()
            self.stderr, self.childs_stderr = self._from_child()
            for fd in (self.childs_stdout, self.childs_stderr):
                with contextlib.suppress(PermissionError):  # the host's allowance is used up
                    fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _OUTPUT_PIPE)
                if owner is not None:
                    os.fchown(fd, owner, owner)
        except OSError:  # no descriptors left
            self.close()
            raise

    def close_childs_ends(self) -> None:
        """Once the child has them."""
        while self._childs:
            os.close(self._childs.pop())

    def close(self) -> None:
        """Close our ends."""
        self.close_childs_ends()
        while self._open:
            os.close(self._open.pop())

    def _to_child(self) -> tuple[int, int]:
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        self._open.append(ours)
        self._childs.append(theirs)
        return theirs, ours

    def _from_child(self) -> tuple[int, int]:
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(ours, False)
        self._open.append(ours)
        self._childs.append(theirs)
        return ours, theirs


class Pipes(OutputPipes):
    """Output, status and go. `for_child` are the ends to give away, then `close_childs_ends`."""

    def __init__(self, stdin: int, owner: int | None) -> None:
        """`stdin` LATER: the program gets a pipe, which `give_input` fills."""
        self._late: LateInput | None = None
        self._read = b""
        super().__init__(owner)
        try:
            self._status, childs_status = self._from_child()
            self._diagnostics, childs_diagnostics = self._from_child()
            childs_go, self.go = self._to_child()
            childs_arguments, self._arguments = self._to_child()
            if stdin == LATER:
                self._late = LateInput(owner)
                stdin = self._late.read
        except OSError:  # no descriptors left
            self.close()
            raise
        self.for_child: dict[int, int | None] = {
            0: stdin,
            1: self.childs_stdout,
            2: childs_diagnostics,
            STDERR: self.childs_stderr,
            STATUS: childs_status,
            GO: childs_go,
            ARGUMENTS: childs_arguments,
        }

    def give_filter(self, fd: int) -> None:
        """Add the system call filter's descriptor, which becomes ours to close."""
        self._childs.append(fd)
        self.for_child[FILTER] = fd

    def give_arguments(self, arguments: bytes) -> None:
        """Let bwrap read its arguments to their end. Raises OSError if it is dead."""
        while arguments:
            arguments = arguments[os.write(self._arguments, arguments) :]
        self._open.remove(self._arguments)
        os.close(self._arguments)

    def give_input(self, source: int) -> None:
        """Let the program read what `source` holds (LATER: nothing), if its stdin is a pipe."""
        if self._late is not None:
            self._late.fill(None if source == LATER else source)

    def close_childs_ends(self) -> None:
        """Once the child has them."""
        super().close_childs_ends()
        if self._late is not None:
            self._late.close_read()

    async def status_line(self) -> bytes:
        """The next line of status, without its end; empty when the sandbox is dead."""
        loop = asyncio.get_running_loop()
        while b"\n" not in self._read:
            readable = asyncio.Event()
            loop.add_reader(self._status, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(self._status)
            chunk = os.read(self._status, 256)
            if not chunk:
                return b""
            self._read += chunk
        line, _, self._read = self._read.partition(b"\n")
        return line

    def status(self) -> bytes:
        """What else the dead sandbox said in status."""
        self._read += _drain(self._status)
        return self._read

    def diagnostics(self) -> str:
        """What the tools said on their own stderr: the shell, unshare, bwrap."""
        return _drain(self._diagnostics).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Close our ends."""
        super().close()
        if self._late is not None:
            self._late.close()


def _drain(fd: int) -> bytes:
    try:
        return os.read(fd, _DIAGNOSTICS)
    except BlockingIOError:
        return b""
