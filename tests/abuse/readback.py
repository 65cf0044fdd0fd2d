"""The layers around a living program, read back from the kernel: what is not there is a gap.

Some layers stand behind others, so that no attack notices when one of them goes. This does.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.sandbox.port import MIB
from tests.abuse.evidence import NAMESPACES, status_of
from tests.support.sandboxes import LIMITS

_GROUPS = Path("/sys/fs/cgroup")
_FIRST_USER = 210_001
_OURS = 2  # processes of a sandbox that stand in its group
_SIZES = {
    "/work": LIMITS.work_bytes,
    "/tmp": LIMITS.memory // 8,
    "/dev/shm": LIMITS.memory // 8,
}
_COVERED = ("kallsyms", "keys", "key-users", "kcore", "timer_list", "sysrq-trigger")


def gaps(pids: list[int]) -> dict[str, Any]:
    """As an attack's `look`: what is not as every sandbox has it, for programs with `LIMITS`."""
    found: set[str] = set()
    for pid in pids:
        if status_of(pid).get("Name") == "bomb":
            for layer in (_ids, _namespaces, _limits, _group, _mounts, _covered, _network):
                found.update(layer(pid))
            return {"gaps": sorted(found)}
    return {"gaps": ["the program is not to be found"]}


def _ids(pid: int) -> Iterator[str]:
    status = status_of(pid)
    if any(int(word) < _FIRST_USER for word in (*status["Uid"].split(), *status["Gid"].split())):
        yield "user"
    if status["Groups"] not in ("", status["Gid"].split()[0]):
        yield "supplementary groups"
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        if int(status[name], 16):
            yield name
    if status["NoNewPrivs"] != "1":
        yield "no new privileges"
    filters = "2" if Path(f"/proc/{pid}/root/.hermes").exists() else "1"  # the engine's and ours
    if (status["Seccomp"], status["Seccomp_filters"]) != ("2", filters):
        yield "filter of system calls"
    if os.getsid(pid) == os.getsid(0):
        yield "session"


def _namespaces(pid: int) -> Iterator[str]:
    for kind in NAMESPACES:
        if Path(f"/proc/{pid}/ns/{kind}").readlink() == Path(f"/proc/self/ns/{kind}").readlink():
            yield f"{kind} namespace"


def _limits(pid: int) -> Iterator[str]:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    hard = {line[:26].strip(): line[26:].split()[1] for line in lines}
    wanted = {"Max core file size": 0, "Max file size": LIMITS.file_bytes, "Max open files": 1024}
    for name, most in wanted.items():
        if hard[name] == "unlimited" or int(hard[name]) > most:
            yield name


def _group(pid: int) -> Iterator[str]:
    files = group_files(pid)
    memory = LIMITS.memory
    wanted = {
        "memory.limit_in_bytes": memory, "memory.memsw.limit_in_bytes": memory,
        "memory.swappiness": 0, "memory.kmem.tcp.limit_in_bytes": 16 * MIB,
        "cpu.cfs_quota_us": int(LIMITS.cpus * 100_000), "pids.max": LIMITS.processes + _OURS,
        "memory.max": memory, "memory.swap.max": 0,
    }  # fmt: skip
    for name, most in wanted.items():
        value = files.get(name, "0")
        if not value.isdecimal() or int(value) > most:
            yield name
    if "cpu.max" in files and files["cpu.max"].split()[0] == "max":
        yield "cpu.max"


def group_files(pid: int) -> Mapping[str, str]:
    """The limits in the control groups of a process, by file."""
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            folder = _GROUPS / controller / path.lstrip("/")
            for pattern in ("memory*limit_in_bytes", "memory.swap*", "*.max", "cpu.cfs_quota_us"):
                for file in folder.glob(pattern):
                    if controller in file.name or not controller:
                        found[file.name] = file.read_text().strip()
    return found


def _mounts(pid: int) -> Iterator[str]:
    places: dict[str, tuple[set[str], str]] = {}
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        place, options = before.split()[4:6]
        # The last mount at a place is the one seen.
        places[place] = set(options.split(",")), after.split(" ", 2)[2]
    for place, size in _SIZES.items():
        options, of_all = places.get(place, (set(), ""))
        room = dict(word.partition("=")[::2] for word in of_all.split(","))
        if room.get("size", "").removesuffix("k") != str(size // 1024):
            yield f"size of {place}"
        if room.get("nr_inodes") != str(LIMITS.work_files + 1):
            yield f"files of {place}"
        for option in {"nosuid", "nodev"} - options:
            yield f"{option} of {place}"
    for place in ("/", "/fn"):
        # Without a mount of its own, the function is a part of the image.
        if "ro" not in places.get(place, places["/"])[0]:
            yield f"read-only {place}"


def _covered(pid: int) -> Iterator[str]:
    proc = Path(f"/proc/{pid}/root/proc")
    for name in _COVERED:
        if not Path("/proc", name).exists() or not Path("/proc", name).stat().st_mode & 0o006:
            continue
        if not stat.S_ISCHR((proc / name).stat().st_mode):
            yield f"/proc/{name} covered"
    if any(Path(f"/proc/{pid}/root/sys").glob("*")):
        yield "/sys covered"


def _network(pid: int) -> Iterator[str]:
    names = [
        line.partition(":")[0].strip()
        for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    ]
    # Kernels make idle ends of tunnels in every namespace.
    others = {name for name in names if name.startswith(("eth", "docker", "br", "en", "wl"))}
    if others:
        yield f"network without {', '.join(sorted(others))}"
