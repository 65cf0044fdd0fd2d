"""`hermes up` as a library: starts, second starts, crashes and ends, with real processes."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.supervisor.control import read_status, read_up, stop
from infra.supervisor.detached import start_detached
from infra.supervisor.errors import AlreadyRunning, PortTaken, StartFailed
from infra.supervisor.results import RoleStatus
from tests.integration.supervisor.conftest import options, processes_of

pytestmark = pytest.mark.usefixtures("modules")


def eventually(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


def role(home: Path, name: str) -> RoleStatus:
    status = read_status(home)
    assert status is not None
    return next(role for role in status.roles if role.name == name)


def test_up_returns_when_every_role_serves(home: Path) -> None:
    result = start_detached(options(home, "steady", "polite"))
    status = read_status(home)
    assert status is not None
    assert status.ready
    assert status.url == result.url == f"http://127.0.0.1:{result.ports.api}"
    assert [(r.name, r.status) for r in status.roles] == [
        ("kafka", "external"),
        ("postgres", "external"),
        ("steady", "ready"),
        ("polite", "ready"),
    ]
    assert processes_of(home) == {r.pid for r in status.roles if r.pid}


def test_down_leaves_no_process_and_a_second_down_has_nothing_to_stop(home: Path) -> None:
    result = start_detached(options(home, "steady", "polite"))
    assert stop(home) is True
    assert processes_of(home) == set()
    assert not Path(f"/proc/{result.pid}").exists()
    assert read_status(home) is None
    assert stop(home) is False


def test_a_second_up_takes_the_same_ports(home: Path) -> None:
    first = start_detached(options(home, "steady"))
    stop(home)
    second = start_detached(options(home, "steady"))
    assert (second.url, second.ports) == (first.url, first.ports)
    assert second.pid != first.pid


def test_a_chosen_port_is_kept(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert start_detached(options(home, "steady", port=port)).ports.api == port
    stop(home)
    assert start_detached(options(home, "steady")).ports.api == port


def test_two_ups_at_once_on_one_folder_are_refused(home: Path) -> None:
    result = start_detached(options(home, "steady"))
    with pytest.raises(AlreadyRunning, match=str(result.pid)):
        start_detached(options(home, "steady"))
    assert read_up(home) == result


def test_a_taken_port_is_a_clear_error(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken, match=f"{port}.*--port"):
            start_detached(options(home, "steady", port=port))
    assert read_status(home) is None


def test_a_role_that_cannot_start_fails_the_start_with_its_log(home: Path) -> None:
    lines: list[str] = []
    with pytest.raises(StartFailed, match=r"broken ended with 3; see .*broken\.log") as failed:
        start_detached(options(home, "steady", "broken"), lines.append)
    assert lines == ["broken ended with 3, it is started again"] * 4
    assert failed.value.errors[-1].message == "no such thing as a licence"
    assert processes_of(home) == set()
    assert read_status(home) is None


def test_a_killed_role_is_started_again_and_counted(home: Path) -> None:
    start_detached(options(home, "steady", "polite"))
    before = role(home, "steady").pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    eventually(lambda: role(home, "steady").status == "ready" and role(home, "steady").restarts > 0)
    assert role(home, "steady").restarts == 1
    assert role(home, "steady").pid != before
    assert role(home, "polite").restarts == 0


def test_kill_9_of_the_supervisor_leaves_no_orphan(home: Path) -> None:
    result = start_detached(options(home, "steady", "deaf"))
    assert processes_of(home)
    os.kill(result.pid, signal.SIGKILL)
    eventually(lambda: not processes_of(home), 2.0)
    assert read_status(home) is None
    again = start_detached(options(home, "steady"))
    assert again.ports == result.ports


def test_a_role_that_ignores_sigterm_is_killed(home: Path) -> None:
    start_detached(options(home, "deaf"))
    started = time.monotonic()
    assert stop(home) is True
    assert 7 < time.monotonic() - started < 12
    assert processes_of(home) == set()


def test_a_stale_status_is_recognised(home: Path) -> None:
    start_detached(options(home, "steady"))
    status_file = home / "run" / "status.json"
    stale = status_file.read_bytes()
    stop(home)
    # The supervisor's pid, but another process: this test itself.
    pid = stale.split(b'"pid":')[1].split(b",")[0]
    status_file.write_bytes(stale.replace(b'"pid":' + pid, b'"pid":%d' % os.getpid()))
    assert read_status(home) is None
    assert stop(home) is False
    start_detached(options(home, "steady"))


def test_roles_get_their_settings_and_not_the_clients_token(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERMES_TOKEN", "secret")
    result = start_detached(options(home, "environment", sandbox="docker"))
    environment = (home / "environment").read_text().splitlines()
    assert f"HERMES_PORT={result.ports.api}" in environment
    assert f"HERMES_HOME={home}" in environment
    assert f"HERMES_BLOBS={home}/blobs" in environment
    assert "HERMES_SANDBOX=docker" in environment
    assert "HERMES_KAFKA=127.0.0.1:1" in environment
    assert not [line for line in environment if line.startswith("HERMES_TOKEN")]


def test_a_log_stays_bounded(home: Path) -> None:
    start_detached(options(home, "talkative"))
    rotated = home / "logs" / "talkative.log.1"
    eventually(rotated.exists, 20.0)
    assert rotated.stat().st_size < 40 << 20
