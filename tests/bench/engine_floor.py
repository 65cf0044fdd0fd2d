"""What the same programs cost with the container engine alone: create, attach, start, read, remove.

As a careful person would do it by hand: no network, nothing else that takes time.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import aiodocker

from infra.engine import connect


class EngineFloor:
    """`open`, measure, `close`. `image` is the one that Hermes runs programs in."""

    def __init__(self, image: str, folder: Path) -> None:
        self._image = image
        self._folder = folder
        self._client: aiodocker.Docker | None = None

    async def open(self) -> None:
        """Connect. Raises EngineUnavailable."""
        self._client = await connect()

    async def close(self) -> None:
        """Disconnect."""
        if self._client is not None:
            await self._client.close()

    async def first_byte(self, name: str) -> float:
        """Seconds from asking for a container to the first byte of the program `name`."""
        assert self._client is not None
        begun = time.perf_counter()
        container = await self._client.containers.create(self._config(name))
        try:
            stream = container.attach(stdout=True, stderr=True)
            async with stream:
                await container.start()
                message = await stream.read_out()
                assert message is not None
                return time.perf_counter() - begun
        finally:
            await container.delete(force=True)

    async def rate(self, name: str, concurrency: int, seconds: float) -> float:
        """Containers a second, each removed, with `concurrency` at a time."""
        begun = time.perf_counter()
        done = 0

        async def worker() -> None:
            nonlocal done
            while time.perf_counter() - begun < seconds:
                await self.first_byte(name)
                done += 1

        await asyncio.gather(*(worker() for _ in range(concurrency)))
        return done / (time.perf_counter() - begun)

    def _config(self, name: str) -> dict[str, object]:
        return {
            "Image": self._image,
            "Cmd": [f"/fn/{name}"],
            "NetworkDisabled": True,
            "HostConfig": {
                "Binds": [f"{self._folder / name}:/fn:ro"],
                "NetworkMode": "none",
                "LogConfig": {"Type": "none"},
            },
        }
