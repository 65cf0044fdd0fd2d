"""The device nodes that a program needs to use one GPU, or one MIG slice, and no other."""

from __future__ import annotations

import logging
import shutil
import subprocess
from pathlib import Path

log = logging.getLogger(__name__)

#: Devices that every CUDA program needs beside its GPU's own.
SHARED_DEVICES = ("/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
_UVM = Path(SHARED_DEVICES[1])
_CAPABILITIES = Path("/proc/driver/nvidia/capabilities")


def make_shared_nodes(tool: str = "nvidia-modprobe", uvm: Path = _UVM) -> None:
    """Load the driver's module for unified memory, without which no CUDA program starts.

    A host that has booted loads it when a CUDA program first asks, which one in a sandbox cannot.
    Without success that is said in the log.
    """
    if uvm.exists():
        return
    found = shutil.which(tool)
    said = f"there is no {tool}"
    if found is not None:
        try:
            done = subprocess.run(
                [found, "-c0", "-u"], capture_output=True, timeout=60, check=False
            )
            said = f"{tool} ended with {done.returncode}: {done.stderr.decode(errors='replace')}"
        except (OSError, subprocess.SubprocessError) as error:
            said = str(error)
    if not uvm.exists():
        log.error("CUDA programs will not start, %s is missing; %s", uvm, said.strip())


def gpu_nodes(minor: int) -> tuple[str, ...]:
    """Of the whole GPU with this minor number."""
    return (f"/dev/nvidia{minor}", *(node for node in SHARED_DEVICES if Path(node).exists()))


def mig_nodes(
    minor: int, gpu_instance: int, compute_instance: int, capabilities: Path = _CAPABILITIES
) -> tuple[str, ...]:
    """Of one MIG slice: the card's own node, and the two that open this slice alone.

    Raises OSError, ValueError if the driver does not name them.
    """
    folder = capabilities / f"gpu{minor}" / "mig" / f"gi{gpu_instance}"
    opens = (folder / "access", folder / f"ci{compute_instance}" / "access")
    return (*gpu_nodes(minor), *(f"/dev/nvidia-caps/nvidia-cap{_minor_in(file)}" for file in opens))


def _minor_in(access: Path) -> int:
    for line in access.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "DeviceFileMinor":
            return int(value)
    raise ValueError(f"{access} names no device")
