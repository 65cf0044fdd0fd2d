"""Questions to a GPU's driver, on a thread, since the driver may hang.

A thread that hangs cannot be ended. So there is one for each GPU and never a second one: while it
hangs, every further question is answered at once with GpuHangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from infra.gpu.model import GpuHangs

_T = TypeVar("_T")


class _Question:
    def __init__(self, ask: Callable[[], Any], loop: asyncio.AbstractEventLoop) -> None:
        self.ask = ask
        self.loop = loop
        self.answer: asyncio.Future[Any] = loop.create_future()


class GpuThread:
    """Asks one after the other. The thread begins with the first question."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._questions: SimpleQueue[_Question | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._overdue: set[_Question] = set()

    async def ask(self, question: Callable[[], _T], timeout: float) -> _T:
        """What `question()` returns or raises. Raises GpuHangs after `timeout` seconds."""
        if self._overdue:
            raise GpuHangs("the driver does not answer")
        if self._thread is None:
            # A daemon: one that hangs must not keep the process from its end.
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        asked = _Question(question, asyncio.get_running_loop())
        self._questions.put(asked)
        try:
            async with asyncio.timeout(timeout):
                result: _T = await asked.answer
                return result
        except TimeoutError:
            self._overdue.add(asked)
            raise GpuHangs(f"the driver has not answered for {timeout:g} s") from None

    def close(self) -> None:
        """Have the thread end after what it was asked."""
        if self._thread is not None:
            self._questions.put(None)

    def _work(self) -> None:
        while (asked := self._questions.get()) is not None:
            result: Any = None
            failure: BaseException | None = None
            if not asked.answer.cancelled():
                try:
                    result = asked.ask()
                except Exception as error:
                    failure = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                asked.loop.call_soon_threadsafe(self._answered, asked, result, failure)

    def _answered(self, asked: _Question, result: Any, failure: BaseException | None) -> None:
        self._overdue.discard(asked)
        if asked.answer.done():
            return
        if failure is not None:
            asked.answer.set_exception(failure)
        else:
            asked.answer.set_result(result)
