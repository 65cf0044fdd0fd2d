"""Where control groups are on this host, and the files of version 1 and version 2."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from infra.sandbox.cgroups import Layout, Usage

_PERIOD = 100_000  # microseconds; the kernel's default for CPU quotas
_NEEDED = ("memory", "pids", "cpu")
_HOST = "hermes-host"


class VersionOne:
    """A hierarchy per controller: memory, pids, cpu, cpuacct."""

    version: int = 1

    def __init__(self, bases: dict[str, Path]) -> None:
        self._base = bases
        # Controllers mounted together (cpu,cpuacct) share one folder; pids first, to be read first.
        self.bases: tuple[Path, ...] = tuple(dict.fromkeys((bases["pids"], *bases.values())))

    def limit(self, name: str, memory: int, processes: int, cpus: float) -> None:
        """Swap counts as memory. The kernel without swap accounting has no memsw file."""
        group = self._base["memory"] / name
        _write(group / "memory.limit_in_bytes", memory)
        with contextlib.suppress(FileNotFoundError):
            _write(group / "memory.memsw.limit_in_bytes", memory)
        _write(group / "memory.swappiness", 0)
        _write(self._base["pids"] / name / "pids.max", processes)
        group = self._base["cpu"] / name
        _write(group / "cpu.cfs_period_us", _PERIOD)
        _write(group / "cpu.cfs_quota_us", max(1000, int(cpus * _PERIOD)))

    def usage(self, name: str) -> Usage:
        """Counters of memory, pids and cpuacct."""
        memory = self._base["memory"] / name
        return Usage(
            oom_kills=_table(memory / "memory.oom_control").get("oom_kill", 0),
            refused_forks=_table(self._base["pids"] / name / "pids.events").get("max", 0),
            cpu_time=int((self._base["cpuacct"] / name / "cpuacct.usage").read_text()) / 1e9,
            peak_memory=int((memory / "memory.max_usage_in_bytes").read_text()),
        )


class VersionTwo:
    """One hierarchy for all controllers."""

    version: int = 2

    def __init__(self, base: Path) -> None:
        self.bases: tuple[Path, ...] = (base,)

    def limit(self, name: str, memory: int, processes: int, cpus: float) -> None:
        """No swap, and a group that runs out of memory is killed as a whole."""
        group = self.bases[0] / name
        _write(group / "memory.max", memory)
        with contextlib.suppress(FileNotFoundError):
            _write(group / "memory.swap.max", 0)
        _write(group / "memory.oom.group", 1)
        _write(group / "pids.max", processes)
        _write(group / "cpu.max", f"{max(1000, int(cpus * _PERIOD))} {_PERIOD}")

    def usage(self, name: str) -> Usage:
        """Counters; `memory.peak` came with Linux 5.19."""
        group = self.bases[0] / name
        peak: int | None = None
        with contextlib.suppress(FileNotFoundError):
            peak = int((group / "memory.peak").read_text())
        return Usage(
            oom_kills=_table(group / "memory.events").get("oom_kill", 0),
            refused_forks=_table(group / "pids.events").get("max", 0),
            cpu_time=_table(group / "cpu.stat").get("usage_usec", 0) / 1e6,
            peak_memory=peak,
        )


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
            _write(group / "cgroup.subtree_control", " ".join(f"+{name}" for name in _NEEDED))
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
                _write(host / "cgroup.procs", pid)
        problem = _enable(group)
    return problem


def _table(file: Path) -> dict[str, int]:
    words = (line.split() for line in file.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdigit()}


def _write(file: Path, value: object) -> None:
    with file.open("r+") as stream:
        stream.write(str(value))
