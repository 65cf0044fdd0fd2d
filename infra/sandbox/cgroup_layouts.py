"""Where control groups are on this host, and the files of version 1 and version 2."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from infra.sandbox.cgroups import Layout, Usage
from infra.sandbox.kernel_files import read, read_table, write
from infra.sandbox.port import MIB, SandboxError

_PERIOD = 100_000  # microseconds; the kernel's default for CPU quotas
_NEEDED = ("memory", "pids", "cpu")
_HOST = "hermes-host"
# Version 1 charges what waits in TCP's buffers to a limit of its own or to nobody. Past it a socket
# takes no more than its first packet, and sockets themselves count as memory.
_TCP_BYTES = 16 * MIB


class VersionOne:
    """A hierarchy per controller: memory, pids, cpu, cpuacct."""

    version: int = 1

    def __init__(self, bases: dict[str, Path]) -> None:
        self._base = {controller: str(base) for controller, base in bases.items()}
        # Controllers mounted together (cpu,cpuacct) share one folder; pids first, to be read first.
        self.bases: tuple[Path, ...] = tuple(dict.fromkeys((bases["pids"], *bases.values())))

    def limit(self, name: str, memory: int, processes: int, cpus: float) -> None:
        """Swap counts as memory. The kernel without swap accounting has no memsw file."""
        group = f"{self._base['memory']}/{name}"
        write(f"{group}/memory.limit_in_bytes", memory)
        with contextlib.suppress(FileNotFoundError):
            write(f"{group}/memory.memsw.limit_in_bytes", memory)
        write(f"{group}/memory.swappiness", 0)
        with contextlib.suppress(FileNotFoundError):
            write(f"{group}/memory.kmem.tcp.limit_in_bytes", _TCP_BYTES)
        write(f"{self._base['pids']}/{name}/pids.max", processes)
        write(f"{self._base['cpu']}/{name}/cpu.cfs_quota_us", _quota(cpus))

    def usage(self, name: str) -> Usage:
        """Counters of memory, pids and cpuacct."""
        memory = f"{self._base['memory']}/{name}"
        return Usage(
            oom_kills=read_table(f"{memory}/memory.oom_control").get(b"oom_kill", 0),
            refused_forks=read_table(f"{self._base['pids']}/{name}/pids.events").get(b"max", 0),
            cpu_time=int(read(f"{self._base['cpuacct']}/{name}/cpuacct.usage")) / 1e9,
            memory=int(read(f"{memory}/memory.usage_in_bytes")),
            peak_memory=int(read(f"{memory}/memory.max_usage_in_bytes")),
        )


class VersionTwo:
    """One hierarchy for all controllers."""

    version: int = 2

    def __init__(self, base: Path) -> None:
        self.bases: tuple[Path, ...] = (base,)

    def limit(self, name: str, memory: int, processes: int, cpus: float) -> None:
        """No swap, and a group that runs out of memory is killed as a whole."""
        group = f"{self.bases[0]}/{name}"
        write(f"{group}/memory.max", memory)
        with contextlib.suppress(FileNotFoundError):
            write(f"{group}/memory.swap.max", 0)
        write(f"{group}/memory.oom.group", 1)
        write(f"{group}/pids.max", processes)
        write(f"{group}/cpu.max", f"{_quota(cpus)} {_PERIOD}")

    def usage(self, name: str) -> Usage:
        """Counters; `memory.peak` came with Linux 5.19."""
        group = f"{self.bases[0]}/{name}"
        peak: int | None = None
        with contextlib.suppress(FileNotFoundError):
            peak = int(read(f"{group}/memory.peak"))
        return Usage(
            oom_kills=read_table(f"{group}/memory.events").get(b"oom_kill", 0),
            refused_forks=read_table(f"{group}/pids.events").get(b"max", 0),
            cpu_time=read_table(f"{group}/cpu.stat").get(b"usage_usec", 0) / 1e6,
            memory=int(read(f"{group}/memory.current")),
            peak_memory=peak,
        )


def _quota(cpus: float) -> int:
    """Microseconds of CPU in a period; the kernel takes no less than a thousand."""
    return max(1000, int(cpus * _PERIOD))


def find(
    owner: str,
    mountinfo: Path = Path("/proc/self/mountinfo"),
    membership: Path = Path("/proc/self/cgroup"),
) -> tuple[Layout | None, str]:
    """The layout usable by this process, its folders made; else None. With it, why in words."""
    mounts = _mounts(mountinfo.read_text())
    own = _own_paths(membership.read_text())
    wanted = (*_NEEDED, "cpuacct")
    if all(controller in mounts and controller in own for controller in wanted):
        bases = {name: _inside(*mounts[name], own[name]) / "hermes" / owner for name in wanted}
        problem = _make(bases.values())
        return (None, problem) if problem else (VersionOne(bases), "version 1")
    if "" in mounts and "" in own:
        group = _inside(*mounts[""], own[""].removesuffix(f"/{_HOST}"))
        problem = _delegate(group) or _make((group / "hermes",))
        problem = problem or _enable(group / "hermes") or _make((group / "hermes" / owner,))
        problem = problem or _enable(group / "hermes" / owner)
        if problem:
            return None, problem
        return VersionTwo(group / "hermes" / owner), "version 2"
    return None, "no control groups are mounted"


def of_process(pid: int, mountinfo: Path = Path("/proc/self/mountinfo")) -> tuple[Layout, str]:
    """Layout and name of the group that a process is in, somebody else having made it.

    Raises OSError if it has ended, SandboxError if its group is not to be seen from here.
    """
    mounts = _mounts(mountinfo.read_text())
    paths = _own_paths(Path(f"/proc/{pid}/cgroup").read_text())
    wanted = (*_NEEDED, "cpuacct")
    if all(controller in mounts and controller in paths for controller in wanted):
        groups = {name: _inside(*mounts[name], paths[name]) for name in wanted}
    elif "" in mounts and "" in paths:
        groups = {"": _inside(*mounts[""], paths[""])}
    else:
        raise SandboxError("no control groups are mounted")
    names = {group.name for group in groups.values()}
    if len(names) != 1 or not all(group.is_dir() for group in groups.values()):
        raise SandboxError(f"process {pid} is in no control group of its own")
    bases = {controller: group.parent for controller, group in groups.items()}
    layout: Layout = VersionTwo(bases[""]) if "" in bases else VersionOne(bases)
    return layout, names.pop()


def _mounts(mountinfo: str) -> dict[str, tuple[Path, str]]:
    """Per controller ("" for version 2): where it is mounted, and which group is its root there."""
    found: dict[str, tuple[Path, str]] = {}
    for line in mountinfo.splitlines():
        fields, _, tail = line.partition(" - ")
        kind, _, options = tail.split(" ", 2)
        root, target = fields.split(" ")[3:5]
        if kind == "cgroup2":
            found.setdefault("", (Path(target), root))
        elif kind == "cgroup":
            for controller in options.split(","):
                found.setdefault(controller, (Path(target), root))
    return found


def _own_paths(membership: str) -> dict[str, str]:
    paths: dict[str, str] = {}
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def _inside(mount: Path, root: str, path: str) -> Path:
    # In a container the mount shows a part of the hierarchy, while the path may start at the top.
    if root != "/" and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    return mount / path.lstrip("/")


def _make(folders: Iterable[Path]) -> str:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return f"cannot make {folder}: {error.strerror}"
    return ""


def _enable(group: Path) -> str:
    """Let the groups below `group` use the controllers."""
    try:
        available = (group / "cgroup.controllers").read_text().split()
        missing = [name for name in _NEEDED if name not in available]
        if missing:
            return f"controllers {', '.join(missing)} are not available in {group}"
        enabled = (group / "cgroup.subtree_control").read_text().split()
        if any(name not in enabled for name in _NEEDED):
            enabling = " ".join(f"+{name}" for name in _NEEDED)
            write(f"{group}/cgroup.subtree_control", enabling)
    except OSError as error:
        return f"cannot enable controllers in {group}: {error.strerror}"
    return ""


def _delegate(group: Path) -> str:
    """As `_enable`; a group with processes of its own cannot (unless it is the top), so those move
    into a group beside the sandboxes, as in any container that runs containers."""
    problem = _enable(group)
    if problem and (group / "cgroup.procs").exists() and "not available" not in problem:
        host = group / _HOST
        if _make((host,)):
            return problem
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                write(f"{host}/cgroup.procs", pid)
        problem = _enable(group)
    return problem
