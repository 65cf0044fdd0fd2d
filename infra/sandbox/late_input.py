"""The input of a program whose sandbox stood before the input was known: a pipe, filled at `go`."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os

from infra.sandbox.port import WARM_INPUT


class LateInput:
    """The pipe; `read` is the program's end, `write` ours."""

    def __init__(self, owner: int | None) -> None:
        """`owner` is the program's user, so that it can open /dev/stdin. Raises OSError."""
        self.read, self.write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self.write, False)
        # A larger one than a user without privileges may have: then `fill` goes on beside the loop.
        with contextlib.suppress(PermissionError):
            fcntl.fcntl(self.write, fcntl.F_SETPIPE_SZ, WARM_INPUT)
        if owner is not None:
            os.fchown(self.read, owner, owner)
        self._rest = memoryview(b"")

    def fill(self, source: int | None) -> None:
        """Put in what `source` holds from its position on, and the end. Does not block."""
        if source is not None:
            content = bytearray()
            while piece := os.read(source, WARM_INPUT):
                content += piece
            self._rest = memoryview(content)
        self._go_on()
        if self.write >= 0:
            asyncio.get_running_loop().add_writer(self.write, self._go_on)

    def close_read(self) -> None:
        """Once the program has its end."""
        if self.read >= 0:
            os.close(self.read)
            self.read = -1

    def close(self) -> None:
        """Close both ends; what did not fit in yet is gone."""
        self.close_read()
        self._close_write()

    def _close_write(self) -> None:
        if self.write >= 0:
            with contextlib.suppress(RuntimeError):  # no loop runs: then it watches nothing
                asyncio.get_running_loop().remove_writer(self.write)
            os.close(self.write)
            self.write = -1

    def _go_on(self) -> None:
        try:
            while self._rest:
                self._rest = self._rest[os.write(self.write, self._rest) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # the program does not want it
            pass
        self._close_write()
