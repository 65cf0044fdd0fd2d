"""Compile the guard in the image that builds run in, on hosts without a compiler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp

from infra.sandbox.port import SandboxError

_PATIENCE = 120.0  # seconds


def compile_in_image(
    client: aiodocker.Docker, image: str | None
) -> Callable[[Path, tuple[str, ...]], Awaitable[None]] | None:
    """Runs a command with a folder of ours at /work; None without an image. The source is ours, so
    this container is not that of a stranger."""
    if image is None:
        return None

    async def run(folder: Path, command: tuple[str, ...]) -> None:
        config: dict[str, Any] = {
            "Image": image,
            "Entrypoint": [command[0]],
            "Cmd": list(command[1:]),
            "User": "0:0",  # the folder is root's
            "NetworkDisabled": True,
            "HostConfig": {
                "NetworkMode": "none",
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges:true"],
                "LogConfig": {"Type": "none", "Config": {}},
                "Tmpfs": {"/tmp": "rw,nosuid,nodev"},  # noqa: S108
                "Mounts": [{"Type": "bind", "Source": str(folder), "Target": "/work"}],
            },
        }
        try:
            async with asyncio.timeout(_PATIENCE):
                container = await client.containers.create(config)
                try:
                    await container.start()
                    ended = await container.wait()
                finally:
                    await container.delete(force=True, v=True)
        except (aiodocker.DockerError, aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SandboxError(f"cannot compile the containers' guard: {error!r}") from error
        if ended["StatusCode"] != 0:
            raise SandboxError(f"the compiler of {image} does not compile the containers' guard")

    return run
