"""What this host brings to its pool."""

from __future__ import annotations

import os
from pathlib import Path

import hermes
from hermes.domain.resources import Inventory
from hermes.settings import Settings
from infra.gpu import HostGpu
from infra.toolchain.find import toolchain_for


def take_inventory(settings: Settings, gpus: dict[str, HostGpu]) -> Inventory:
    """Cores and memory as the kernel gives them, toolchains as they are found."""
    cores = len(os.sched_getaffinity(0))
    return Inventory(
        slots=settings.slots or 2 * cores,
        cpus=float(cores),
        memory=_memory(),
        gpus=tuple(host_gpu.gpu for host_gpu in gpus.values()),
        sandbox=settings.sandbox,
        toolchains=tuple(
            f"{found.name}-{found.version}"
            for language in ("cpp", "cuda")
            if (found := toolchain_for(language, settings.home)) is not None
        ),
        version=hermes.__version__,
    )


def _memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) * 1024
    return 0
