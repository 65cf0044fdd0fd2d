"""Folders and files that stand in the way."""

from __future__ import annotations

import fcntl
import subprocess
import time
from pathlib import Path

import pytest

from hermes.errors import InvalidRequest
from infra.supervisor.control import read_status
from infra.supervisor.detached import start_detached
from infra.supervisor.errors import AlreadyRunning, HomeUnusable, StartFailed
from infra.supervisor.home import Home
from tests.integration.supervisor.conftest import options, processes_of

pytestmark = pytest.mark.usefixtures("modules")


def test_a_home_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(HomeUnusable, match=r"file.*choose another folder with --home"):
        start_detached(options(file, "steady"))


def test_damaged_ports_are_a_clear_error(home: Path) -> None:
    home.mkdir()
    (home / "ports.json").write_text("{")
    with pytest.raises(HomeUnusable, match=r"ports\.json.*remove it"):
        start_detached(options(home, "steady"))


def test_a_port_out_of_range_is_the_callers_fault(home: Path) -> None:
    with pytest.raises(InvalidRequest, match="70000 is no TCP port"):
        start_detached(options(home, "steady", port=70_000))


def test_a_damaged_status_file_means_that_nothing_runs(home: Path) -> None:
    (home / "run").mkdir(parents=True)
    (home / "run" / "status.json").write_text('{"supervisor": 1}')
    assert read_status(home) is None
    start_detached(options(home, "steady"))


def test_a_role_that_does_not_exist_fails_the_start(home: Path) -> None:
    with pytest.raises(StartFailed, match="absent ended with 1") as failed:
        start_detached(options(home, "steady", "absent"))
    assert "No module named absent" in failed.value.errors[-1].message
    assert processes_of(home) == set()


def test_a_lock_that_a_stranger_holds_names_the_stranger(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.supervisor.home._LOCK_TIMEOUT", 0.2)
    folder = Home(home)
    folder.create()
    with subprocess.Popen(["flock", "--no-fork", folder.lock_file, "sleep", "30"]) as stranger:
        while _unlocked(folder):
            time.sleep(0.02)
        with pytest.raises(AlreadyRunning, match=f"held by process.*{stranger.pid}"):
            folder.lock()
        stranger.kill()


def _unlocked(folder: Home) -> bool:
    with folder.lock_file.open("a") as ours:
        try:
            fcntl.flock(ours, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
