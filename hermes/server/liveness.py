"""Which agents are alive, by their heartbeats. Soft state: nothing is decided by it here."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from streams.heartbeats import Heartbeat, HeartbeatReader


class Liveness:
    """The newest heartbeat of every agent of a pool."""

    def __init__(self, bootstrap: str, topic: str, lease: float) -> None:
        self._reader = HeartbeatReader(bootstrap, topic, self._take)
        self._lease = lease
        self._since = time.monotonic()
        self._seen: dict[str, tuple[Heartbeat, float, datetime]] = {}

    async def start(self) -> None:
        """Stand at the end of the topic."""
        await self._reader.start()
        self._since = time.monotonic()

    async def follow(self) -> None:
        """Read for ever."""
        await self._reader.follow()

    async def stop(self) -> None:
        """Disconnect."""
        await self._reader.stop()

    def state(self, agent: str, incarnation: str) -> str:
        """online or draining, as the agent says; lost after a lease's time of silence."""
        found = self._seen.get(agent)
        if found is None or found[0].incarnation != incarnation:
            # Only silence that we have listened to proves anything.
            return "lost" if time.monotonic() - self._since > self._lease else "online"
        heartbeat, heard, _ = found
        return "lost" if time.monotonic() - heard > self._lease else heartbeat.state

    def seen_at(self, agent: str) -> datetime | None:
        """When the agent was last heard of."""
        found = self._seen.get(agent)
        return found[2] if found else None

    def _take(self, heartbeat: Heartbeat) -> None:
        self._seen[heartbeat.agent] = (heartbeat, time.monotonic(), datetime.now(UTC))
