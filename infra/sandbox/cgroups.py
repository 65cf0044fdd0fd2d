"""Control groups: where memory, processes and CPU are bounded for all of a sandbox's processes.

`find` picks version 2 or 1 by what the host offers below the agent's own group, else None. A
sandbox's group is `hermes/<owner>/<name>`; in version 1 it is a folder per controller.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from infra.sandbox.port import SandboxError

KILL_PATIENCE = (
    30.0  # seconds; a process in an uninterruptible call may outlive SIGKILL for a while
)


class Usage(msgspec.Struct, frozen=True):
    """What a group counted: out-of-memory kills, refused forks, CPU seconds, peak bytes."""

    oom_kills: int
    refused_forks: int
    cpu_time: float
    peak_memory: int | None


class Layout(Protocol):
    """How one version of control groups is laid out on this host."""

    version: int
    bases: tuple[Path, ...]  # the folders `hermes/<owner>`, one per hierarchy

    def limit(self, name: str, memory: int, processes: int, cpus: float) -> None:
        """Write a new group's limits."""

    def usage(self, name: str) -> Usage:
        """Read a group's counters."""


class ControlGroup:
    """One sandbox's group."""

    def __init__(self, layout: Layout, name: str) -> None:
        self._layout = layout
        self.name = name
        self.folders = tuple(base / name for base in layout.bases)

    def create(self, memory: int, processes: int, cpus: float) -> None:
        """Make the group with its limits. Raises SandboxError and leaves nothing then."""
        try:
            for folder in self.folders:
                folder.mkdir(parents=True)
            self._layout.limit(self.name, memory, processes, cpus)
        except OSError as error:
            self.remove()
            raise SandboxError(f"cannot make control group {self.name}: {error}") from error

    def admit(self, pid: int) -> None:
        """Move a process inside; its children start there. Raises OSError, too if it has ended."""
        for folder in self.folders:
            with (folder / "cgroup.procs").open("wb", buffering=0) as entrance:
                entrance.write(b"%d" % pid)

    def processes(self) -> list[int]:
        """Process ids inside, as this process sees them."""
        return [pid for folder in self.folders[:1] for pid in _processes(folder)]

    def usage(self) -> Usage:
        """The counters; readable until `remove`."""
        return self._layout.usage(self.name)

    async def kill(self) -> None:
        """SIGKILL over and over until the group is empty. Raises SandboxError after 30 s."""
        deadline = time.monotonic() + KILL_PATIENCE
        pause = 0.0005
        while kill_once(self.folders):
            if time.monotonic() > deadline:
                raise SandboxError(f"processes of {self.name} do not die: {self.processes()}")
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.05)

    def remove(self) -> None:
        """Remove the empty group."""
        for folder in self.folders:
            _remove(folder)


class ControlGroups:
    """The groups of one owner on this host."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def group(self, name: str) -> ControlGroup:
        """The group of one sandbox, existing or not."""
        return ControlGroup(self.layout, name)

    def names(self) -> set[str]:
        """Names of the groups that exist, whoever made them."""
        return {
            entry.name
            for base in self.layout.bases
            if base.is_dir()
            for entry in base.iterdir()
            if entry.is_dir()
        }

    def remove(self) -> None:
        """Remove the owner's folders where they are empty."""
        for base in self.layout.bases:
            _remove(base)
            _remove(base.parent)


def kill_once(folders: Iterable[Path]) -> bool:
    """SIGKILL everything inside; whether there was anything."""
    alive = False
    for folder in folders:
        for pid in _processes(folder):
            alive = True
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return alive


def _processes(folder: Path) -> list[int]:
    try:
        return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]
    except FileNotFoundError:
        return []


def _remove(folder: Path) -> None:
    # Not empty: processes or other sandboxes are inside, so it is not ours to remove.
    with contextlib.suppress(OSError):
        folder.rmdir()
