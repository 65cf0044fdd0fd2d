"""What the engine and its machine are like, asked once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiodocker
import aiohttp

from infra.engine import EngineUnavailable
from infra.sandbox.docker.profile import Host

_PATIENCE = 15.0  # seconds


async def look_at(client: aiodocker.Docker, owner: str, runtime: str | None) -> Host:
    """Raises EngineUnavailable."""
    try:
        async with asyncio.timeout(_PATIENCE):
            info = await client.system.info()
    except (aiodocker.DockerError, aiohttp.ClientError, OSError, TimeoutError) as error:
        raise EngineUnavailable(f"the engine does not tell of itself: {error!r}") from error
    if runtime is not None and runtime not in info["Runtimes"]:
        raise EngineUnavailable(f"the engine has no runtime {runtime}")
    by_files = info["CgroupDriver"] == "cgroupfs"
    return Host(
        cpus=info["NCPU"],
        cgroup_version=int(info["CgroupVersion"]),
        # By systemd, groups are units, and their parent would have to be one too.
        cgroup_parent=f"/hermes/{owner}" if by_files else None,
        cdi=_devices(info),
        runtime=runtime,
    )


def _devices(info: Mapping[str, Any]) -> frozenset[str]:
    """The devices that the engine knows by CDI; older ones do not say."""
    if not info.get("CDISpecDirs"):
        return frozenset()
    found = info.get("DiscoveredDevices") or []
    return frozenset(str(device["ID"]) for device in found if device.get("Source") == "cdi")
