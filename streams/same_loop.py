"""Faust's Kafka consumer in the event loop of its app, where Faust starts a thread beside it.

The thread costs: every fetch crosses it twice, with a dozen futex calls and a fight for the
interpreter's lock at each crossing. Measured per event of a doorbell, on two busy cores: 1.17 ms of
CPU and 16 ms from append to handler with the thread, 0.90 ms and 12 ms without. What the thread is
for, heartbeats while handlers block the loop, is no concern of ours: no handler blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from faust.transport.drivers import aiokafka as driver
from mode.utils.futures import maybe_async


class _TaskInPlaceOfThread:
    """What Faust's service takes for the thread that runs it."""

    def __init__(self, service: Any) -> None:
        self._service = service
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to serve."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """The service has ended already when this is called."""

    async def _run(self) -> None:
        try:
            # What ends it has been reported by Faust, to the app as well.
            with contextlib.suppress(Exception):
                await self._service._serve()
        finally:
            self._service.set_shutdown()


class _ConsumerService(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    async def call_thread(
        self, fun: Callable[..., Awaitable[Any] | Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Just call it: there is no other side."""
        return await maybe_async(fun(*args, **kwargs))

    async def _gather_remaining_tasks(self) -> None:
        """In a thread's own loop all tasks would be the consumer's; in this one they are not."""


class _Consumer(driver.Consumer):  # type: ignore[misc]
    def _new_consumer_thread(self) -> _ConsumerService:
        return _ConsumerService(
            self,
            loop=self.loop,
            thread_loop=self.loop,
            beacon=self.beacon,
            Worker=_TaskInPlaceOfThread,
        )


class SameLoopTransport(driver.Transport):  # type: ignore[misc]
    """Faust's transport for Kafka; set it as `app.transport`."""

    Consumer = _Consumer
