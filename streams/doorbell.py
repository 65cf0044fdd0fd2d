"""Faust, with care: its stream rings whenever the partition has news, and the fold does the rest.

A Faust offset never means that work is done: a handler folds the event (or reads the gap before
it) and wakes the role; what is owed is derived from the folded state. So an event that comes twice,
late or not at all (the role's own tick catches up) does no harm. See docs/adr for the settings.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import faust
from faust.types import StreamT

from hermes.domain import codec
from hermes.domain.events import Recorded
from hermes.errors import LogUnavailable
from streams.fold import LogFold
from streams.same_loop import SameLoopTransport

log = logging.getLogger(__name__)


class _App(faust.App):  # type: ignore[misc]
    def _create_directories(self) -> None:
        """It keeps nothing on disk, and would leave a folder for each boot of an agent."""


class Doorbell:
    """One Faust app, for one role and the partitions that it follows."""

    def __init__(
        self,
        app_id: str,
        bootstrap: str,
        folds: list[LogFold[Any, Any]],
        ring: Callable[[], None],
        on_assigned: Callable[[bool], Awaitable[None]] | None = None,
    ) -> None:
        """`ring` is called after every folded event; `on_assigned(True)` when this process has
        the partitions, `(False)` when they went to another."""
        self._folds = {fold.topic: fold for fold in folds}
        self._ring = ring
        self._on_assigned = on_assigned
        self._app = _App(
            app_id,
            broker=[f"kafka://{server}" for server in bootstrap.split(",")],
            value_serializer="raw",
            key_serializer="raw",
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            consumer_auto_offset_reset="latest",
            broker_max_poll_interval=1_000_000.0,
            # Longer than joining the group may take, and no longer: a broker may be gone.
            broker_request_timeout=15.0,
            broker_session_timeout=6.0,
            broker_heartbeat_interval=2.0,
            broker_rebalance_timeout=10.0,
            broker_commit_interval=5.0,
            store="memory://",
        )
        self._app.transport = SameLoopTransport(self._app.conf.broker_consumer, self._app)
        for topic in self._folds:
            self._app.agent(
                self._app.topic(topic, value_serializer="raw", key_serializer="raw"),
                name=f"{app_id}.{topic}",
                concurrency=1,
            )(self._on_events)
        if on_assigned is not None:
            self._app.on_partitions_assigned.connect(self._assigned)
            self._app.on_partitions_revoked.connect(self._revoked)

    async def start(self) -> None:
        """Join the group. The broker must answer (Faust cannot wait for it); probe it first."""
        self._app.finalize()
        await self._app.start()

    async def stop(self) -> None:
        """Leave the group."""
        await self._app.stop()

    async def watch(self) -> None:
        """Return only by raising: a crashed app cannot be mended, its process must end."""
        while not self._app.should_stop:  # noqa: ASYNC110 - Faust offers no event for it
            await asyncio.sleep(0.5)
        raise LogUnavailable(f"Faust stopped: {self._app.crash_reason!r}")

    async def _on_events(self, stream: StreamT[bytes]) -> None:
        async for event in stream.events():
            message = event.message
            try:
                await self._fold(message)
            except LogUnavailable as error:
                # The tick reads it later; Faust must not see an exception.
                log.warning("could not read on: %s", error)
            except Exception as error:
                log.exception("folding failed")
                await self._app.crash(error)
                return
            self._ring()

    async def _fold(self, message: Any) -> None:
        fold = self._folds[message.topic]
        if message.offset < fold.state.next_offset:
            return
        record = Recorded(
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            log_time=round(message.timestamp * 1000),
            key=(message.key or b"").decode("utf-8", "replace"),
            event=codec.decode(message.value),
        )
        if not fold.take(record):
            await fold.advance(message.offset + 1)

    async def _assigned(self, app: Any, assigned: set[Any], **_: Any) -> None:
        # An empty assignment also fires the signal.
        mine = {tp.topic for tp in assigned} & self._folds.keys()
        if self._on_assigned is not None and mine:
            await self._on_assigned(True)

    async def _revoked(self, app: Any, revoked: set[Any], **_: Any) -> None:
        if self._on_assigned is not None and {tp.topic for tp in revoked} & self._folds.keys():
            await self._on_assigned(False)
