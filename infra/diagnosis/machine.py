"""The machine itself: Python, memory, disk, GPUs."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from pathlib import Path

from infra.diagnosis.check import Check

GIB = 1 << 30
OLDEST_PYTHON = (3, 11)
OLDEST_DRIVER_FOR_CUDA_13 = 580
NEEDED_MEMORY = GIB
NEEDED_DISK = 2 * GIB


def python(home: Path) -> Check:
    """The interpreter that runs Hermes."""
    ok = sys.version_info >= OLDEST_PYTHON
    advice = None if ok else "Install Python 3.11 or newer, and Hermes with it."
    return Check("python", ok, True, f"{platform.python_version()} at {sys.executable}", advice)


def memory(home: Path) -> Check:
    """Memory that is free, or can be freed, at this moment."""
    fields = dict(
        line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines() if line
    )
    total, available = (
        int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable")
    )
    ok = available >= NEEDED_MEMORY
    advice = None if ok else "Free some memory: Hermes with Kafka and PostgreSQL takes about 1 GiB."
    detail = f"{available / GIB:.1f} of {total / GIB:.1f} GiB available"
    return Check("memory", ok, False, detail, advice)


def disk(home: Path) -> Check:
    """Room where Hermes keeps its data."""
    existing = next(path for path in (home, *home.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{free / GIB:.1f} GiB free in {existing}"
    if not os.access(existing, os.W_OK | os.X_OK) or not existing.is_dir():
        advice = f"Make {existing} a folder that this user can write, or set HERMES_HOME to one."
        return Check("disk", False, True, f"{existing} cannot be written", advice)
    if free < NEEDED_DISK:
        advice = f"Free some space in {existing}, or set HERMES_HOME to a folder on a larger disk."
        return Check("disk", False, True, detail, advice)
    return Check("disk", True, True, detail)


def gpu(home: Path) -> Check:
    """NVIDIA GPUs, as the driver's own library lists them."""
    try:
        gpus, driver = _nvml()
    except ImportError:
        devices = sorted(path.name for path in Path("/dev").glob("nvidia[0-9]*"))
        advice = "Install the Python package nvidia-ml-py, so that Hermes can tell GPUs apart."
        if devices:
            return Check("gpu", False, False, f"{', '.join(devices)}, not asked further", advice)
        return Check("gpu", False, False, "no NVIDIA GPU", _WITHOUT_GPU)
    except RuntimeError as error:
        return Check("gpu", False, False, f"no NVIDIA GPU: {error}", _WITHOUT_GPU)
    if not gpus:
        return Check("gpu", False, False, f"driver {driver}, but no GPU", _WITHOUT_GPU)
    detail = f"{', '.join(gpus)}; driver {driver}"
    if int(driver.partition(".")[0]) < OLDEST_DRIVER_FOR_CUDA_13:
        advice = (
            f"Install NVIDIA's driver {OLDEST_DRIVER_FOR_CUDA_13} or newer, "
            "or compile with a system CUDA 12."
        )
        return Check("gpu", False, False, f"{detail}, too old for CUDA 13", advice)
    return Check("gpu", True, False, detail)


_WITHOUT_GPU = (
    "Install NVIDIA's driver if this machine has a GPU; "
    "without one only functions that need no GPU run here."
)


def _nvml() -> tuple[list[str], str]:
    """Each GPU in words, and the driver's version. Raises ImportError, RuntimeError."""
    import pynvml  # noqa: PLC0415  (a package that a machine without a GPU need not have)

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise RuntimeError(str(error)) from error
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        gpus = [
            f"{pynvml.nvmlDeviceGetName(handle)} "
            f"({pynvml.nvmlDeviceGetMemoryInfo(handle).total / GIB:.0f} GiB)"
            for handle in handles
        ]
        return gpus, str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError as error:
        raise RuntimeError(str(error)) from error
    finally:
        pynvml.nvmlShutdown()
