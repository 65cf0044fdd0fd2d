"""Control groups: where memory, processes and CPU are bounded for all of a sandbox's processes.

`find` picks version 2 or 1 by what the host offers below the agent's own group, else None. A
sandbox's group is `hermes/<owner>/<name>`; in version 1 it is a folder per controller.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import time
from pathlib import Path
from typing import Protocol

import msgspec

from infra.sandbox.kernel_files import read, write
from infra.sandbox.port import SandboxError, Undying

KILL_PATIENCE = (
    30.0  # seconds; a process in an uninterruptible call may outlive SIGKILL for a while
)


class Usage(msgspec.Struct, frozen=True):
    """What a group counted: out-of-memory kills, refused forks, CPU seconds, bytes now and most."""

    oom_kills: int
    refused_forks: int
    cpu_time: float
    memory: int
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
        self.folders = tuple(f"{base}/{name}" for base in layout.bases)

    def create(self, memory: int, processes: int, cpus: float) -> None:
        """Make the group with its limits. Raises SandboxError and leaves nothing then."""
        try:
            for folder in self.folders:
                try:
                    os.mkdir(folder)  # noqa: PTH102
                except FileNotFoundError:  # the guard of another incarnation tidied up above it
                    os.makedirs(folder)  # noqa: PTH103
            self._layout.limit(self.name, memory, processes, cpus)
        except OSError as error:
            self.remove()
            raise SandboxError(f"cannot make control group {self.name}: {error}") from error

    def admit(self, pid: int) -> None:
        """Move a process inside; its children start there. Raises OSError, too if it has ended."""
        for folder in self.folders:
            write(f"{folder}/cgroup.procs", pid)

    def processes(self) -> list[int]:
        """Process ids inside, as this process sees them."""
        return _processes(self.folders[0])

    def usage(self) -> Usage:
        """The counters; readable until `remove`."""
        return self._layout.usage(self.name)

    async def kill(self) -> None:
        """SIGKILL over and over until the group is empty. Raises Undying after 30 s."""
        deadline = time.monotonic() + KILL_PATIENCE
        pause = 0.0005
        while self._kill_once():
            if time.monotonic() > deadline:
                raise Undying(f"processes of {self.name} do not die: {self.processes()}")
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.05)

    def _kill_once(self) -> bool:
        """Whether there was anybody: every process is in the group of every hierarchy."""
        inside = self.processes()
        for pid in inside:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(inside)

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
            _remove(str(base))
            _remove(str(base.parent))


def _processes(folder: str) -> list[int]:
    try:
        return [int(pid) for pid in read(f"{folder}/cgroup.procs").split()]
    except FileNotFoundError:
        return []
    except OSError as error:
        if error.errno != errno.ENODEV:  # it went while we read it: an engine removes its own
            raise
        return []


def _remove(folder: str) -> None:
    # Not empty: processes or other sandboxes are inside, so it is not ours to remove.
    with contextlib.suppress(OSError):
        os.rmdir(folder)  # noqa: PTH106
