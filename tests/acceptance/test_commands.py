"""Commands about executions, functions, agents, views and the client itself."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import write_shell
from tests.acceptance.rest import Rest
from tests.support.system import HERMES, PASSWORD, System, User

REF = "sue/shell"


@pytest.fixture(scope="module")
def finished(sue: User) -> Any:
    """An execution of sue's that failed with 3 after a line on each stream."""
    sue.hermes("run", REF, "--input", "echo out; echo err >&2; exit 3")
    return sue.json("execution", "inspect", "@last")


@pytest.mark.parametrize(
    ("spaced", "joined"),
    [
        (["execution", "list"], ["execution:list"]),
        (["execution", "inspect", "@last"], ["execution:inspect", "@last"]),
        (["function", "list"], ["function:list"]),
        (["function", "inspect", REF], ["function:inspect", REF]),
        (["agent", "list"], ["agent:list"]),
        (["remote", "whoami"], ["remote:whoami"]),
    ],
)
def test_both_spellings_do_the_same(sue: User, spaced: list[str], joined: list[str]) -> None:
    sue.hermes("run", REF, "--input", "exit 0")
    assert _steady(sue.json(*spaced)) == _steady(sue.json(*joined))
    assert sue.ok(*joined)


def _steady(document: Any) -> Any:
    """Without what changes by itself between two looks."""
    text = json.dumps(document)
    return [
        {k: v for k, v in one.items() if k not in ("seen_at", "running")}
        for one in (json.loads(text) if isinstance(document, list) else [document])
    ]


def test_executions_are_listed_newest_first_and_filtered(sue: User, finished: Any) -> None:
    listed = sue.json("execution", "list", "--all")
    created = [one["created_at"] for one in listed]
    assert created == sorted(created, reverse=True)
    assert len(sue.json("execution", "list", "--limit", "2")) == 2
    failed = sue.json("execution", "list", "--status", "failed", "--all")
    assert finished["id"] in {one["id"] for one in failed}
    assert {one["outcome"] for one in failed} == {"failed"}
    both = sue.json("execution", "list", "--status", "failed", "--status", "succeeded", "--all")
    assert {one["outcome"] for one in both} == {"failed", "succeeded"}
    assert sue.json("execution", "list", "--function", "sue/none") == []
    assert sue.json("execution", "list", "--function", REF, "--limit", "1")
    assert sue.json("execution", "list", "--since", "1h", "--limit", "1")
    assert sue.json("execution", "list", "--until", "2h") == []
    assert sue.json("execution", "list", "--since", "2100-01-01T00:00:00Z") == []
    table = sue.ok("execution", "list", "--limit", "2").decode().splitlines()
    assert len(table) == 3
    assert "STATUS" in table[0].upper()
    for wrong in (["--status", "odd"], ["--since", "soon"], ["--limit", "0"], ["--function", "x"]):
        assert sue.hermes("execution", "list", *wrong).returncode == 2


def test_an_id_may_be_cut_short(sue: User, finished: Any) -> None:
    execution = finished["id"]
    assert sue.json("execution", "inspect", execution[:-2])["id"] == execution
    assert sue.json("execution", "inspect", execution.upper())["id"] == execution
    assert sue.hermes("execution", "inspect", "0").returncode == 2
    shown = sue.ok("execution", "inspect", execution).decode()
    for word in (execution, "failed", "3", "Usage", "Attempts"):
        assert word in shown


def test_output_is_given_raw_to_a_file_or_as_json(sue: User, finished: Any, tmp_path: Path) -> None:
    execution = finished["id"]
    assert sue.ok("execution", "output", execution) == b"out\n"
    assert sue.ok("execution", "output", execution, "--stderr") == b"err\n"
    sue.ok("execution", "output", execution, "-o", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == b"out\n"
    document = sue.json("execution", "output", execution)
    assert document == {
        "stream": "stdout",
        "bytes": 4,
        "sha256": hashlib.sha256(b"out\n").hexdigest(),
        "data_base64": base64.b64encode(b"out\n").decode(),
    }
    sue.ok("run", REF, "--input", "printf '\\377\\000\\033[1m'")
    assert sue.ok("execution", "output", "@last") == b"\xff\0\x1b[1m"


def test_events_are_a_table_with_their_places_in_the_log(sue: User, finished: Any) -> None:
    table = sue.ok("execution", "events", finished["id"]).decode()
    for word in ("requested", "finished", "hermes.executions.default", "OFFSET"):
        assert word in table
    lines = sue.ok("execution", "events", finished["id"], "--json").splitlines()
    events = [json.loads(line) for line in lines]
    assert {e["position"]["topic"] for e in events} == {"hermes.executions.default"}
    followed = sue.ok("execution", "events", finished["id"], "--follow", "--json").splitlines()
    assert [json.loads(line)["id"] for line in followed] == [event["id"] for event in events]


def test_a_replay_keeps_time_unless_told_to_hurry(sue: User) -> None:
    sue.ok("run", REF, "--input", "echo a; sleep 2; echo b; echo c >&2")
    for words, least, most in [((), 1.7, 60), (("--speed", "4"), 0.4, 60)]:
        began = time.monotonic()
        done = sue.hermes("execution", "replay", "@last", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"a\nb\n", b"c\n")
        assert least < time.monotonic() - began < most
    assert sue.ok("execution", "replay", "@last", "--speed", "max") == b"a\nb\n"
    lines = sue.ok("execution", "replay", "@last", "--speed", "max", "--json").splitlines()
    assert json.loads(lines[-1])["event"] == "end"
    for wrong in ("0", "-1", "fast"):
        assert sue.hermes("execution", "replay", "@last", "--speed", wrong).returncode == 2


def test_cancelling_says_what_became_of_it(sue: User, rest: Rest) -> None:
    execution = sue.ok("run", REF, "--async", "--input", "sleep 600").decode().strip()
    assert len(sue.ok("execution", "cancel", execution).decode().splitlines()) == 1
    assert rest.finished(execution)["outcome"] == "cancelled"
    assert sue.hermes("execution", "cancel", execution).returncode == 5
    execution = sue.ok("run", REF, "--async", "--input", "sleep 600").decode().strip()
    assert sue.json("execution", "cancel", execution)["id"] == execution


def test_functions_are_built_deployed_listed_inspected_and_deleted(
    sue: User, tom: User, tmp_path: Path
) -> None:
    folder = write_shell(tmp_path / "made", name="made", scope="public")
    lines = sue.ok("function", "build", str(folder), "--json").splitlines()
    assert json.loads(lines[-1])["outcome"] == "succeeded"
    assert sue.hermes("function", "inspect", "sue/made").returncode == 4
    assert sue.ok("function", "deploy", str(folder)) == b"sue/made:1.0.0\n"
    assert sue.hermes("function", "deploy", str(folder)).returncode == 5
    write_shell(tmp_path / "next", name="made", version="1.0.10", scope="public")
    lines = sue.ok("function", "deploy", str(tmp_path / "next"), "--json").splitlines()
    assert json.loads(lines[-1])["status"] == "built"
    write_shell(tmp_path / "old", name="made", version="1.0.9", scope="public")
    waiting = sue.ok("function", "deploy", str(tmp_path / "old"), "--no-wait", "--json")
    assert json.loads(waiting)["id"] == "sue/made:1.0.9"
    assert sue.json("function", "inspect", "sue/made")["version"] == "1.0.10"
    listed = tom.json("function", "list", "--owner", "sue", "--all")
    assert {"sue/made:1.0.0", "sue/made:1.0.10"} <= {one["id"] for one in listed}
    assert tom.hermes("function", "delete", "sue/made", "--yes").returncode in (2, 3)
    # Without a terminal to ask on, the flag is named.
    unasked = sue.hermes("function", "delete", "made:1.0.0")
    assert (unasked.returncode, b"--yes" in unasked.stderr) == (2, True)
    [deleted] = sue.json("function", "delete", "made:1.0.0", "--yes")
    assert (deleted["id"], deleted["status"]) == ("sue/made:1.0.0", "deleted")
    assert len(sue.json("function", "delete", "made", "--yes")) == 2
    assert sue.hermes("function", "inspect", "sue/made").returncode == 4


def test_a_bad_folder_is_told_line_by_line_before_anything_is_sent(
    sue: User, tmp_path: Path
) -> None:
    folder = write_shell(tmp_path / "x", name="Bad Name", language="perl", limits={"time": 0})
    done = sue.hermes("function", "deploy", str(folder))
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 4
    (folder / "Makefile").unlink()
    assert sue.hermes("function", "build", str(folder)).returncode == 2
    assert sue.hermes("function", "deploy", str(tmp_path / "nowhere")).returncode == 2


def test_what_is_ignored_does_not_travel(sue: User, tmp_path: Path) -> None:
    folder = write_shell(tmp_path / "x", name="ignoring")
    (folder / ".hermesignore").write_text("*.o\n/data/\n")
    (folder / "a.o").write_text("")
    (folder / "data").mkdir()
    (folder / "data" / "x").write_text("")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("secret")
    (folder / "kept").write_text("")
    sue.ok("function", "deploy", str(folder))
    files = sue.ok("run", "sue/ignoring", "--input", "ls -A /fn").decode().split()
    assert "kept" in files
    assert not {"a.o", "data", ".git"} & set(files)


def test_init_asks_for_nothing_when_everything_is_said(sue: User, tmp_path: Path) -> None:
    words = ["function", "init", str(tmp_path), "--name", "made", "--language", "cpp", "--no-gpu"]
    made = sue.json(*words, "--yes")
    assert Path(made["path"]) == tmp_path / "made"
    config = json.loads((tmp_path / "made" / "hermes.config.json").read_text())
    assert (made["config"], config["scope"]) == (config, "public")
    assert sue.hermes(*words, "--yes").returncode == 5
    assert sue.hermes("function", "init", str(tmp_path)).returncode == 2


def test_accounts_from_the_command_line(system: System, admin: User, tmp_path: Path) -> None:
    someone = User(system, "someone", tmp_path)
    assert someone.hermes("remote", "whoami").returncode == 3
    assert someone.hermes("remote", "register", "someone").returncode == 2
    words = ["remote", "register", "someone", "--password-stdin"]
    assert someone.hermes(*words, stdin=b"short").returncode == 2
    assert someone.ok(*words, stdin=PASSWORD.encode()) == b"Logged in as someone\n"
    assert someone.hermes(*words, stdin=PASSWORD.encode()).returncode == 5
    file = tmp_path / "hermes" / "config.json"
    assert file.stat().st_mode & 0o777 == 0o600
    token = someone.token
    assert someone.ok("remote", "whoami") == b"You're someone\n"
    assert set(someone.json("remote", "whoami")) == {"username", "admin", "created_at"}
    assert someone.json("remote", "logout") == {"logged_out": True}
    assert someone.hermes("remote", "whoami").returncode == 3
    assert Rest(system.url, token).get("/users/me").status == 401
    login = ["remote", "login", "someone", "--password-stdin"]
    assert someone.hermes(*login, stdin=b"not the password at all").returncode == 3
    assert someone.json(*login, stdin=PASSWORD.encode() + b"\n")["username"] == "someone"
    leave = ["remote", "unregister", "--password-stdin"]
    assert someone.hermes(*leave, stdin=PASSWORD.encode()).returncode == 2
    left = json.loads(someone.ok(*leave, "--yes", "--json", stdin=PASSWORD.encode()))
    assert left == {"deleted": "someone"}
    assert someone.hermes(*login, stdin=PASSWORD.encode()).returncode == 3


def test_config_version_and_completion(system: System, tmp_path: Path) -> None:
    someone = User(system, "nobody", tmp_path)
    environment = {k: v for k, v in someone.environment.items() if k != "HERMES_URL"}

    def hermes(*words: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [str(HERMES), *words], env=environment, capture_output=True, check=False
        )

    assert hermes("config").stdout.startswith(b"hermes.url: http")
    assert hermes("config", "hermes.url", f"{system.url}/").returncode == 0
    assert hermes("config", "hermes.url").stdout == f"hermes.url: {system.url}\n".encode()
    assert json.loads(hermes("config", "--json").stdout) == {"hermes.url": system.url}
    assert hermes("config", "hermes.nope").returncode == 2
    assert hermes("config", "hermes.url", "ftp://x").returncode == 2
    versions = json.loads(hermes("version", "--json").stdout)
    assert set(versions) == {"client", "server"}
    assert versions["client"] == versions["server"]
    assert hermes("--version").stdout.decode().strip() == f"hermes {versions['client']}"
    for shell in ("bash", "zsh", "fish"):
        assert hermes("completion", shell).stdout
    assert hermes("completion", "tcsh").returncode == 2


def test_agents_and_views_are_shown(sue: User, admin: User) -> None:
    [agent] = sue.json("agent", "list", "--pool", "default")
    assert agent["id"] in sue.ok("agent", "list").decode()
    assert sue.hermes("projection", "status").returncode == 3
    views = admin.json("projection", "status")
    assert all(set(one) >= {"name", "status", "lag", "error"} for one in views)
    assert admin.hermes("projection", "rebuild").returncode == 2
    assert admin.hermes("projection", "rebuild", "unknown", "--yes").returncode == 4
    text = admin.ok("projection", "rebuild", "functions", "--yes").decode()
    assert "verified, swapped" in text


def test_every_part_is_in_the_status_and_the_doctor_is_content(system: System) -> None:
    status = json.loads(system.run("status", "--json").stdout)
    assert (status["url"], status["ready"]) == (system.url, True)
    assert {role["name"] for role in status["roles"]} >= {
        "kafka", "postgres", "api", "builder", "scheduler", "agent", "projector",
    }  # fmt: skip
    for role in status["roles"]:
        assert set(role) == {"name", "status", "pid", "restarts"}
        assert (role["status"], role["restarts"]) == ("ready", 0)
    done = system.run("doctor", "--json")
    checks = json.loads(done.stdout)
    assert done.returncode == 0
    assert all(set(one) == {"name", "ok", "required", "detail", "advice"} for one in checks)
    assert all(one["ok"] for one in checks if one["required"])
