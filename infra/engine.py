"""The container engine of this host: Docker's API on its local socket, by aiodocker.

Never over TCP: an agent hands descriptors and folders of its own host to containers.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import aiodocker
import aiohttp

from hermes.errors import Unavailable

_SOCKET = "unix:///var/run/docker.sock"
_PATIENCE = 5.0  # seconds until an engine that accepts connections and says nothing is called dead


class EngineUnavailable(Unavailable):
    """No container engine answers here"""


def socket_path() -> Path:
    """The engine's socket: DOCKER_HOST, or Docker's usual one. Raises EngineUnavailable."""
    url = os.environ.get("DOCKER_HOST") or _SOCKET
    scheme, _, path = url.partition("://")
    if scheme != "unix":
        raise EngineUnavailable(f"DOCKER_HOST is {url}; Hermes needs the engine's local socket")
    return Path(path)


async def connect() -> aiodocker.Docker:
    """A client whose engine has just answered, the caller's to close. Raises EngineUnavailable."""
    path = socket_path()
    if not path.is_socket():
        raise EngineUnavailable(f"there is no engine at {path}")
    client = aiodocker.Docker(url=f"unix://{path}")
    try:
        async with asyncio.timeout(_PATIENCE):
            await client.version()
    except (aiodocker.DockerError, aiohttp.ClientError, OSError, TimeoutError) as error:
        await client.close()
        reason = str(error) or type(error).__name__
        raise EngineUnavailable(f"the engine at {path} does not answer: {reason}") from error
    except BaseException:
        await client.close()
        raise
    return client
