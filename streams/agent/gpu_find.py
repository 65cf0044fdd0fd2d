"""The GPUs that this host offers when its agent starts."""

from __future__ import annotations

import hashlib
import logging

from hermes.settings import Settings
from infra.gpu import GpuFault, GpuLibrary, HostGpu, NoGpus, open_library
from infra.gpu.calls import GpuThread

log = logging.getLogger(__name__)

# A driver that was not used yet initialises every GPU first, some seconds each.
_PATIENCE = 120.0


async def find_gpus(settings: Settings) -> tuple[GpuLibrary, dict[str, HostGpu]]:
    """What asks them, and they by UUID. A driver that is there and fails is said in the log: the
    host then offers no GPUs."""
    thread = GpuThread("gpu-inventory")

    def look() -> tuple[GpuLibrary, dict[str, HostGpu]]:
        library = open_library(settings.fake_gpus, _name(settings), settings.fake_gpus_file)
        return library, library.inventory()

    try:
        library, gpus = await thread.ask(look, _PATIENCE)
    except GpuFault as error:
        log.error("no GPU of this host can be used: %s", error)
        return NoGpus(), {}
    finally:
        thread.close()
    for uuid, found in gpus.items():
        what = f"{found.gpu.name} {found.gpu.mig or ''}".strip()
        log.info("GPU %s: %s, %d MiB", uuid, what, found.gpu.memory >> 20)
    return library, gpus


def _name(settings: Settings) -> str:
    """Two Hermes on a host may both call their agent by its name; their fake GPUs differ."""
    digest = hashlib.sha256(str(settings.home).encode()).hexdigest()
    return f"{settings.agent}-{digest[:8]}"
