"""What this host brings to its pool."""

from __future__ import annotations

import os
from pathlib import Path

import hermes
from hermes.domain.resources import Inventory
from hermes.settings import Settings
from infra.gpu import HostGpu
from streams.agent.enclosure import Enclosure


async def take_inventory(
    settings: Settings, enclosure: Enclosure, gpus: dict[str, HostGpu]
) -> Inventory:
    """Cores and memory as the kernel gives them, toolchains as they are found."""
    cores = len(os.sched_getaffinity(0))
    return Inventory(
        slots=settings.slots or 2 * cores,
        cpus=float(cores),
        memory=_memory(),
        gpus=tuple(host_gpu.gpu for host_gpu in gpus.values()),
        sandbox=enclosure.name,
        toolchains=tuple(
            f"{found.name}-{found.version}" for found in await enclosure.toolchains.available()
        ),
        version=hermes.__version__,
    )


def _memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) * 1024
    return 0
