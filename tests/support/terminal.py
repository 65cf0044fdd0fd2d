"""A program on a terminal: what it shows is read, what a person would type is typed."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path


class Terminal:
    """A process whose three streams are one pseudo-terminal, which is also its session's."""

    def __init__(self, command: list[str], env: dict[str, str], cwd: Path) -> None:
        self._master, slave = pty.openpty()
        self._process = subprocess.Popen(
            # setsid --ctty makes the terminal the one that Ctrl-C comes from.
            ["setsid", "--ctty", "--wait", *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**env, "TERM": "xterm"},
            cwd=cwd,
        )
        os.close(slave)
        self.shown = b""

    def expect(self, text: str, timeout: float = 15.0) -> None:
        """Wait until the text has been shown since the last call."""
        wanted = text.encode()
        deadline = time.monotonic() + timeout
        seen = b""
        while wanted not in seen:
            left = deadline - time.monotonic()
            ready = select.select([self._master], [], [], max(left, 0))[0]
            data = self._read() if ready else b""
            assert data, f"{text!r} was not shown, but {seen!r}"
            seen += data
            self.shown += data

    def type(self, text: str) -> None:
        """Type it; `\\x03` is Ctrl-C."""
        os.write(self._master, text.encode())

    def end(self, timeout: float = 15.0) -> int:
        """Read to the program's end; its exit code."""
        deadline = time.monotonic() + timeout
        while select.select([self._master], [], [], max(deadline - time.monotonic(), 0))[0]:
            data = self._read()
            if not data:
                break
            self.shown += data
        try:
            return self._process.wait(max(deadline - time.monotonic(), 0.1))
        finally:
            self.close()

    def close(self) -> None:
        """Hang up; a program that is still there is ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def _read(self) -> bytes:
        try:
            return os.read(self._master, 65536)
        except OSError:  # Linux tells so that nobody has the other side open any more.
            return b""
