"""The GPUs of this host: what they are, how they are asked, and how one is given to one sandbox."""

from __future__ import annotations

import logging
from pathlib import Path

from infra.gpu.absent import NoGpus
from infra.gpu.fake import FakeNvml
from infra.gpu.locks import lock
from infra.gpu.model import (
    GpuBusy,
    GpuCondition,
    GpuFault,
    GpuHangs,
    GpuReading,
    HostGpu,
    NoDriver,
    Xid,
)
from infra.gpu.nvml import Nvml
from infra.gpu.port import GpuLibrary

log = logging.getLogger(__name__)

__all__ = [
    "FakeNvml",
    "GpuBusy",
    "GpuCondition",
    "GpuFault",
    "GpuHangs",
    "GpuLibrary",
    "GpuReading",
    "HostGpu",
    "NoDriver",
    "NoGpus",
    "Nvml",
    "Xid",
    "lock",
    "open_library",
]


def open_library(fakes: int = 0, name: str = "", steering: Path | None = None) -> GpuLibrary:
    """The driver's library, or with `fakes` so many GPUs that only say so (see FakeNvml).

    A host without a driver, or with a broken one, has no GPUs; the latter is said in the log.
    """
    if fakes:
        return FakeNvml(fakes, name, steering)
    try:
        return Nvml()
    except NoDriver:
        return NoGpus()
    except GpuFault as error:
        log.error("no GPU of this host can be used: %s", error)
        return NoGpus()
