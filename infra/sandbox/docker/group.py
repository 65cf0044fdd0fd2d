"""The control group that the engine has made for a container, bounded by us as all are."""

from __future__ import annotations

import contextlib
from pathlib import Path

from infra.sandbox import cgroup_layouts
from infra.sandbox.cgroups import ControlGroup
from infra.sandbox.docker.profile import OURS
from infra.sandbox.kernel_files import write
from infra.sandbox.port import SandboxError, SandboxLimits

_CONTROL_GROUPS = Path("/sys/fs/cgroup")


def take_over(pid: int, limits: SandboxLimits) -> ControlGroup:
    """The group of process 1. What the engine cannot be asked for is bounded, and what runc used in
    it before is forgotten, so far as the kernel can. Raises SandboxError."""
    try:
        layout, name = cgroup_layouts.of_process(pid)
        layout.limit(name, limits.memory, limits.processes + OURS, limits.cpus)
    except OSError as error:
        raise SandboxError(f"cannot bound a container's control group: {error}") from error
    group = ControlGroup(layout, name)
    for folder in group.folders:
        with contextlib.suppress(OSError):
            write(f"{folder}/memory.max_usage_in_bytes", 0)
        with contextlib.suppress(OSError):
            # Process 1 is to live and tell; with it the engine would remove the counters.
            write(f"{folder}/memory.oom.group", 0)
    return group


def remove_parents(parent: str) -> None:
    """Remove the groups above the containers' (hermes/OWNER) from every hierarchy, if empty."""
    for hierarchy in (_CONTROL_GROUPS, *_CONTROL_GROUPS.iterdir()):
        folder = hierarchy / parent.lstrip("/")
        with contextlib.suppress(OSError):
            folder.rmdir()
            folder.parent.rmdir()
