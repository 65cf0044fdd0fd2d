"""The errors that the driver reports of this host's GPUs (Xids), as they come."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from types import TracebackType
from typing import Self

from infra.gpu import GpuFault, GpuLibrary, Xid

log = logging.getLogger(__name__)

_WAIT = 1.0
_AFTER_FAULT = 5.0


class XidWatch:
    """Asks the driver on a thread of its own, as long as the `with` block lasts."""

    def __init__(self, library: GpuLibrary) -> None:
        self._library = library
        self._loop = asyncio.get_running_loop()
        self._reported: asyncio.Queue[Xid | None] = asyncio.Queue()
        self._closed = threading.Event()
        # A daemon: a driver that hangs must not keep the process from its end.
        self._thread = threading.Thread(target=self._watch, name="gpu-xids", daemon=True)

    async def __aenter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and wait for the driver's last answer, but not for ever."""
        self._closed.set()
        await asyncio.to_thread(self._thread.join, 2 * _WAIT)

    async def next(self) -> Xid | None:
        """The next error; None if the driver could not be asked, so that errors may be missed."""
        return await self._reported.get()

    def _watch(self) -> None:
        while not self._closed.is_set():
            try:
                xid = self._library.next_xid(_WAIT)
            except GpuFault as error:
                log.error("errors of the GPUs are not seen now: %s", error)
                self._hand_over(None)
                self._closed.wait(_AFTER_FAULT)
            else:
                if xid is not None:
                    self._hand_over(xid)

    def _hand_over(self, xid: Xid | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(self._reported.put_nowait, xid)
