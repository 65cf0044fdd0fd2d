from __future__ import annotations

import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from cli.address import check_secrecy, check_url, resolve_url
from cli.problem import Problem
from cli.store import ClientFile, Positions


def test_the_client_file_is_for_its_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ClientFile(tmp_path / "new").set_token("http://a", "secret")
    finally:
        os.umask(before)
    file = tmp_path / "new" / "config.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in file.parent.iterdir()] == ["config.json"]


def test_a_link_in_place_of_the_file_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("{}")
    (tmp_path / "config.json").symlink_to(target)
    ClientFile(tmp_path).set_token("http://a", "secret")
    assert target.read_text() == "{}"
    assert not (tmp_path / "config.json").is_symlink()


def test_each_url_has_its_own_token(tmp_path: Path) -> None:
    file = ClientFile(tmp_path)
    file.set_url("http://a")
    file.set_token("http://a", "one")
    file.set_token("http://b", "two")
    file.set_token("http://a", None)
    assert (file.url(), file.token("http://a"), file.token("http://b")) == ("http://a", None, "two")


def test_what_another_version_wrote_is_kept(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"later": [1], "tokens": {"x": {"new": "form"}}}')
    file = ClientFile(tmp_path)
    file.set_url("http://a")
    assert file.token("x") is None
    assert json.loads(file.path.read_text())["later"] == [1]


@pytest.mark.parametrize("content", ["", "[]", "{", "\xff"])
def test_a_damaged_file_is_told_and_not_overwritten(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content, encoding="latin-1")
    with pytest.raises(Problem, match="damaged"):
        ClientFile(tmp_path).set_url("http://a")
    assert (tmp_path / "config.json").read_text(encoding="latin-1") == content


def test_readers_never_see_half_a_file(tmp_path: Path) -> None:
    file = ClientFile(tmp_path)
    file.set_token("http://a", "x" * 100_000)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            file.set_token("http://a", "x" * 100_000)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(50):
            assert file.token("http://a") == "x" * 100_000
    finally:
        stop.set()
        writer.join()


def test_positions_are_kept_per_partition_and_only_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    positions = Positions(tmp_path)
    positions.advance("http://a", "hermes.registry/0/7")
    positions.advance("http://a", "hermes.executions.default/0/41")
    positions.advance("http://a", "hermes.executions.default/0/42")
    positions.advance("http://b", "not a position")
    assert positions.after("http://a") == "hermes.registry/0/7,hermes.executions.default/0/42"
    assert positions.after("http://b") is None
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    assert positions.after("http://a") is None


def test_positions_never_fail_a_command(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    positions = Positions(tmp_path / "file" / "folder")
    positions.advance("http://a", "t/0/1")
    positions.forget("http://a")
    (tmp_path / "positions.json").write_text(
        '{"http://a": {"t/0": [1], "u/0": "x", "v/0": [1, 2]}}'
    )
    assert Positions(tmp_path).after("http://a") is None


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9090",
        "http://localhost",
        "http://[::1]:1",
        "http://127.9.9.9",
        "https://h",
    ],
)
def test_secrets_may_go_where_nobody_listens(url: str) -> None:
    check_secrecy(check_url(url, "--url"))


@pytest.mark.parametrize(
    "url",
    ["http://h", "http://10.0.0.1", "http://127.0.0.1.evil.test", "http://localhost.evil.test"],
)
def test_secrets_do_not_go_over_a_network_in_clear(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Problem, match="https"):
        check_secrecy(url)
    monkeypatch.setenv("HERMES_INSECURE", "1")
    check_secrecy(url)


def test_flag_before_environment_before_file_before_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HERMES_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HERMES_URL", "")
    assert resolve_url(None) == "http://127.0.0.1:9090"
    (tmp_path / "home/run").mkdir(parents=True)
    (tmp_path / "home/run/status.json").write_text('{"up": {"url": "http://127.0.0.1:1234"}}')
    assert resolve_url(None) == "http://127.0.0.1:1234"
    ClientFile().set_url("http://file")
    assert resolve_url(None) == "http://file"
    monkeypatch.setenv("HERMES_URL", "http://environment/")
    assert resolve_url(None) == "http://environment"
    assert resolve_url("http://flag") == "http://flag"
