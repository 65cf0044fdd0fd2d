"""Agents in processes of their own, each with one program that does not end by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).parents[2]


class SecondAgent:
    """One that is started and whose program runs. `name` is the owner of its sandbox.

    `limit` is the program's wall limit in seconds, `lock` a descriptor that the sandbox holds,
    `image` that of its containers (none: bubblewrap); `how` is as `sandbox_owner` has it.
    """

    def __init__(
        self,
        name: str,
        attacks: Path,
        image: str,
        *,
        limit: float,
        lock: int | None,
        how: str,
    ) -> None:
        words = [str(attacks), str(limit), "" if lock is None else str(lock), image, how]
        self.name = f"{name}-{os.getpid()}"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.support.sandbox_owner", self.name, *words),
                *("--", "linger", "deaf"),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            pass_fds=() if lock is None else (lock,),
        )
        if (said := self.next_line()) != b"started\n":
            self.end()
            raise AssertionError(f"the second agent says {said!r}")

    def next_line(self) -> bytes:
        """What it says next: `started`, `ended WHY`; empty if it is no more."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def send(self, number: int) -> None:
        """Signal it, and nothing else of it."""
        self.process.send_signal(number)

    def kill_guard(self) -> None:
        """Kill the guard beside it, which ends its sandboxes when it dies."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        (guard,) = [
            int(pid)
            for pid in children.split()
            if b"guard.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(guard, signal.SIGKILL)

    def end(self) -> None:
        """Kill it if it still lives."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class StartAgent(Protocol):
    """Starts one; its name need only be unique within a test."""

    def __call__(
        self, name: str, *, limit: float = 20.0, lock: int | None = None, how: str = ""
    ) -> SecondAgent: ...


@contextlib.contextmanager
def second_agents(attacks: Path, image: str = "") -> Iterator[StartAgent]:
    """What starts them, all of one kind; they end with the context."""
    started: list[SecondAgent] = []

    def start(
        name: str, *, limit: float = 20.0, lock: int | None = None, how: str = ""
    ) -> SecondAgent:
        started.append(SecondAgent(name, attacks, image, limit=limit, lock=lock, how=how))
        return started[-1]

    try:
        yield start
    finally:
        for agent in started:
            agent.end()
