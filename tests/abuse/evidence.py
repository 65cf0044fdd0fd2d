"""What the host sees of an enclosed program: the only thing that an attack is judged by.

Programs are found by a variable of their environment, which their children inherit, so that the
same eyes serve for every enclosure.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

TOKEN = "HERMES_ABUSE"
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")

Look = Callable[[list[int]], dict[str, Any]]


class Seen(msgspec.Struct, kw_only=True):
    """One run of an attack, from outside.

    `exit_code` and so on are as the enclosure tells them, `before` and `looked` are what the
    attack's own `look` found before it started and when it held still, `harm` is what happened to
    the canaries, `survivors` are processes that outlived the end, `refusal` is why what a build
    left was not kept (None: it was) and `kept` its files' modes and sizes.
    """

    exit_code: int | None = None
    signal: int | None = None
    oom: bool = False
    processes_limited: bool = False
    killed: str | None = None
    ended: bool = True
    wall: float = 0.0
    received: int = 0
    stdout: bytes = b""
    stderr: bytes = b""
    before: dict[str, Any] = {}
    looked: dict[str, Any] = {}
    harm: list[str] = []
    survivors: int = 0
    refusal: str | None = None
    kept: dict[str, tuple[int, int]] = {}
    secret: str = ""

    @property
    def said(self) -> dict[str, str]:
        """The program's lines `step=result`."""
        lines = self.stdout[: 1 << 20].decode("utf-8", "replace").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


def pids_of(token: str) -> list[int]:
    """Living processes that carry the token."""
    wanted = f"{TOKEN}={token}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # it ended meanwhile
            if wanted in Path(f"/proc/{entry.name}/environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def status_of(pid: int) -> Mapping[str, str]:
    """The fields of /proc/PID/status; empty if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def tasks(pids: list[int]) -> dict[str, Any]:
    """How many tasks there are."""
    return {"tasks": sum(int(status_of(pid).get("Threads", 0)) for pid in pids)}


def resident(pids: list[int]) -> dict[str, Any]:
    """Bytes of memory in use."""
    kib = [status_of(pid).get("VmRSS", "0").split()[0] for pid in pids]
    return {"resident": sum(map(int, kib)) * 1024}


def descriptors(pids: list[int]) -> dict[str, Any]:
    """The most descriptors that one process has open."""
    return {
        "descriptors": max((len([*Path(f"/proc/{pid}/fd").iterdir()]) for pid in pids), default=0)
    }


def cpu(pids: list[int]) -> dict[str, Any]:
    """CPU seconds of the processes and of their children that have ended."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    return {"cpu": ticks / os.sysconf("SC_CLK_TCK")}


def queued(pids: list[int]) -> dict[str, Any]:
    """Bytes that wait in the TCP and UDP sockets of the program's network."""
    found = {}
    for kind in ("tcp", "udp"):
        lines = Path(f"/proc/{pids[0]}/net/{kind}").read_text().splitlines()[1:] if pids else []
        queues = [line.split()[4].split(":") for line in lines]
        found[kind] = sum(int(sent, 16) + int(received, 16) for sent, received in queues)
    return found


def stuffed(folder: str, pattern: str = "stuffed.*") -> Look:
    """Files of an attack in `folder` as the program sees it ("." is where it stands)."""

    def look(pids: list[int]) -> dict[str, Any]:
        files = size = longest = 0
        for entry in _inside(pids, folder, pattern):
            status = entry.lstat()
            files, size = files + 1, size + status.st_blocks * 512
            longest = max(longest, status.st_size)
        return {"files": files, "bytes": size, "longest": longest}

    return look


def _inside(pids: list[int], folder: str, pattern: str) -> Iterable[Path]:
    for pid in pids[:1]:
        top = Path(f"/proc/{pid}/cwd") if folder == "." else Path(f"/proc/{pid}/root{folder}")
        yield from top.glob(pattern)


def privileges(pids: list[int]) -> dict[str, Any]:
    """Whatever a stranger's program should not have."""
    found: set[str] = set()
    for pid in pids:
        status = status_of(pid)
        if not status:
            continue
        if any(int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")):
            found.add("capabilities")
        if "0" in status["Uid"].split() or "0" in status["Gid"].split():
            found.add("root's ids")
        if status["NoNewPrivs"] != "1":
            found.add("may gain privileges")
        if status["Seccomp"] != "2":
            found.add("no filter of system calls")
        if os.getsid(pid) == os.getsid(0):
            found.add("the agent's session")
        found |= {f"the host's {kind} namespace" for kind in NAMESPACES if _shares(pid, kind)}
        found |= set(_loose_mounts(pid))
        visible = sum(path.name.isdecimal() for path in Path(f"/proc/{pid}/root/proc").iterdir())
        if visible > len(pids) + 1:
            found.add(f"sees {visible} processes")
    return {"privileges": sorted(found)}


def _shares(pid: int, kind: str) -> bool:
    return Path(f"/proc/{pid}/ns/{kind}").readlink() == Path(f"/proc/self/ns/{kind}").readlink()


def _loose_mounts(pid: int) -> Iterator[str]:
    for line in Path(f"/proc/{pid}/mounts").read_text().splitlines():
        _, place, kind, options, *_ = line.split()
        words = options.split(",")
        # What hides a file of /proc or all of /sys is on top of others, and looks writable itself.
        if kind in ("mqueue", "devpts") or place.startswith(("/proc", "/sys")):
            continue
        if "rw" in words and place not in ("/work", "/tmp", "/dev/shm", "/dev"):
            yield f"{place} is writable"
        if "nosuid" not in words and "ro" not in words:
            yield f"{place} honours set-id bits"


def end(token: str) -> None:
    """Kill whatever carries the token, over and over until nothing does."""
    for _ in range(100):
        found = pids_of(token)
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
