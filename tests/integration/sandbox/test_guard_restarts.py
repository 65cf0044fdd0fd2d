"""A guard that cannot be started for now is started as soon as it can be."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.sandbox.guard_client import Guard


@contextlib.contextmanager
def no_descriptors_left() -> Iterator[None]:
    """Every new descriptor is one too many (EMFILE)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Child:
    """A process to guard."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(["sleep", "60"])
        self.pidfd = os.pidfd_open(self.process.pid)

    def close(self) -> None:
        self.process.kill()
        self.process.wait(5)
        os.close(self.pidfd)


@pytest.fixture
def child() -> Iterator[Child]:
    made = Child()
    yield made
    made.close()


@pytest.fixture
def guard() -> Iterator[Guard]:
    made = Guard()
    yield made
    made.close()


def kill(guard: Guard) -> None:
    os.kill(guard.pid, signal.SIGKILL)
    os.waitid(os.P_PID, guard.pid, os.WEXITED | os.WNOWAIT)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_one_whose_first_start_failed_is_started_by_the_first_to_be_watched(
    guard: Guard, child: Child
) -> None:
    before = descriptors()
    with no_descriptors_left(), pytest.raises(OSError, match="Too many open files"):
        guard.start()
    assert descriptors() == before
    guard.watch("it", (), child.pidfd, ())
    guard.deadline("it", 0.1)
    assert child.process.wait(5) == -signal.SIGKILL


def test_one_that_cannot_be_replaced_is_so_later_and_told_everything(
    guard: Guard, child: Child
) -> None:
    guard.start()
    kill(guard)
    with no_descriptors_left():
        with pytest.raises(OSError, match="Too many open files"):
            guard.watch("it", (), child.pidfd, ())
        guard.deadline("it", 0.1)
        guard.done("another")
    other = Child()
    guard.watch("other", (), other.pidfd, ())
    assert child.process.wait(5) == -signal.SIGKILL
    assert other.process.poll() is None
    guard.done("other")
    other.close()


def test_what_ends_while_there_is_no_guard_disturbs_nobody(guard: Guard, child: Child) -> None:
    guard.start()
    guard.watch("it", (), child.pidfd, ())
    kill(guard)
    with no_descriptors_left():
        guard.done("it")
    guard.close()
    assert child.process.poll() is None


def test_one_that_is_closed_stays_so(guard: Guard, child: Child) -> None:
    guard.start()
    pid = guard.pid
    guard.close()
    guard.watch("it", (), child.pidfd, ())
    guard.done("it")
    assert guard.pid == pid
