"""`hermes up`, `down` and `status`: a second start finds everything again."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import write_shell
from tests.acceptance.rest import Rest
from tests.support.system import HERMES, UP_TIMEOUT, System


@pytest.fixture
def other() -> Iterator[System]:
    """A Hermes of the test's own, stopped."""
    other = System()
    yield other
    other.stop()


def test_nothing_runs_in_a_new_folder(tmp_path: Path, other: System) -> None:
    status = other.run("status", "--json")
    assert (status.returncode, json.loads(status.stdout)["ready"]) == (6, False)
    assert other.run("status").returncode == 6
    down = other.run("down", "--json")
    assert (down.returncode, json.loads(down.stdout)) == (0, {"stopped": False})
    assert other.run("down", "--home", str(tmp_path)).returncode == 0


def test_a_second_up_finds_everything_again(other: System) -> None:
    up = other.run("up", "--detach", "--json", timeout=UP_TIMEOUT)
    started = json.loads(up.stdout)
    assert set(started) == {"url", "home", "pid", "ports"}
    assert set(started["ports"]) == {"api", "kafka", "postgres"}
    assert started["home"] == str(other.home)
    assert (other.home.stat().st_mode & 0o077) == 0
    other.url = started["url"]
    user = other.user("first")
    assert user.json("remote", "whoami")["admin"] is True
    folder = write_shell(other.folder / "shell", limits={"time": 30})
    user.ok("function", "deploy", str(folder))
    assert user.ok("run", "first/shell", "--input", "echo before; exit 0") == b"before\n"
    before = {
        words: user.json(*words.split())
        for words in ("execution list", "function list", "execution inspect @last")
    }
    running = user.ok("run", "first/shell", "--async", "--input", "sleep 600").decode().strip()

    again = other.run("up", "--detach")
    assert (again.returncode, again.stdout) == (1, b"")
    assert str(started["pid"]).encode() in again.stderr

    down = other.run("down", "--json")
    assert (down.returncode, json.loads(down.stdout)) == (0, {"stopped": True})
    assert other.leftovers() == []
    assert user.hermes("execution", "list").returncode == 6
    assert other.run("status").returncode == 6

    up = other.run("up", "--detach", timeout=UP_TIMEOUT)
    assert (up.returncode, up.stdout.decode()) == (0, f"{other.url}\n"), up.stderr
    assert json.loads(other.run("status", "--json").stdout)["ready"] is True
    rest = Rest(other.url, user.token)
    # It was stopped under way and is tried again, until its time is over or it is cancelled.
    assert user.hermes("execution", "cancel", running).returncode in (0, 5)
    assert rest.finished(running)["outcome"] in ("cancelled", "lost")
    listed = user.json("execution", "list")
    assert [one for one in listed if one["id"] != running] == before["execution list"]
    assert user.json("function", "list") == before["function list"]
    last = before["execution inspect @last"]
    assert user.json("execution", "inspect", last["id"]) == last
    assert user.ok("execution", "output", last["id"]) == b"before\n"
    assert user.ok("execution", "tail", last["id"]) == b"before\n"
    assert user.ok("run", "first/shell", "--input", "echo after") == b"after\n"


def test_a_port_that_is_taken_is_told(other: System) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        up = other.run("up", "--detach", "--port", str(port), timeout=UP_TIMEOUT)
    assert (up.returncode, up.stdout) == (1, b"")
    assert str(port).encode() in up.stderr
    assert b"--port" in up.stderr
    up = other.run("up", "--detach", "--json", "--port", "70000")
    assert up.returncode in (1, 2)
    assert json.loads(up.stderr or up.stdout)["type"].startswith("urn:hermes:problem:")


def test_in_the_foreground_it_runs_until_it_is_interrupted(other: System) -> None:
    environment = {**other.environment, "XDG_CONFIG_HOME": str(other.folder / "operator")}
    with subprocess.Popen(
        [str(HERMES), "up", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        assert Rest(started["url"], None).ask("GET", "/readyz").status == 200
        process.send_signal(2)
        process.communicate(timeout=60)
    assert process.returncode in (0, 130)
    assert other.leftovers() == []
