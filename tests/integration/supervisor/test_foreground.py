"""`hermes up` in a terminal and in a pipe, and Ctrl-C."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.supervisor.control import read_status
from tests.integration.supervisor.conftest import options, processes_of

pytestmark = pytest.mark.usefixtures("modules")


@contextmanager
def foreground(home: Path, *names: str, stderr: int) -> Iterator[subprocess.Popen[bytes]]:
    path = os.pathsep.join((str(Path.cwd()), os.environ["PYTHONPATH"]))
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("foreground.py"), options(home, *names).encode()],
        stderr=stderr,
        env={**os.environ, "PYTHONPATH": path, "TERM": "xterm"},
    )
    try:
        deadline = time.monotonic() + 10
        while (status := read_status(home)) is None or not status.ready:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def test_in_a_pipe_every_change_is_a_plain_line(home: Path) -> None:
    with foreground(home, "steady", "polite", stderr=subprocess.PIPE) as process:
        process.send_signal(signal.SIGTERM)
        _, text = process.communicate(timeout=10)
    lines = text.decode().splitlines()
    assert process.returncode == 0
    assert [line.split("  ")[-1].split()[-1] for line in lines if "steady" in line] == [
        "starting",
        "ready",
        "stopping",
        "stopped",
    ]
    assert any(line.startswith("Hermes serves at http://127.0.0.1:") for line in lines)
    assert "\x1b" not in text.decode()


def test_on_a_terminal_a_table_shows_the_roles(home: Path) -> None:
    ours, terminal = pty.openpty()
    with foreground(home, "steady", stderr=terminal) as process:
        os.close(terminal)
        shown = b""
        while b"Ctrl-C stops it" not in shown:
            shown += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    os.close(ours)
    assert b"RESTARTS" in shown


def test_ctrl_c_leaves_nothing(home: Path) -> None:
    with foreground(home, "steady", "polite", stderr=subprocess.DEVNULL) as process:
        assert processes_of(home)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert processes_of(home) == set()


def test_a_second_ctrl_c_does_not_wait_for_a_deaf_role(home: Path) -> None:
    with foreground(home, "deaf", stderr=subprocess.DEVNULL) as process:
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        process.wait(10)
        assert time.monotonic() - started < 3
        assert processes_of(home) == set()
