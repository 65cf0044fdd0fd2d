"""What holds for every command: help, errors, global options, hostile servers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from aiohttp import web

from tests.acceptance.cli.conftest import COMMAND, Hermes
from tests.support.fake_api import FakeApi
from tests.support.fake_executions import Script
from tests.support.fake_shapes import problem

COMMANDS = [
    "up", "down", "status", "doctor", "config", "remote register", "remote login", "remote logout",
    "remote whoami", "remote unregister", "function init", "function build", "function deploy",
    "function list", "function inspect", "function delete", "function run", "run",
    "execution list", "execution inspect", "execution output", "execution tail",
    "execution events", "execution replay", "execution cancel", "agent list", "gpu list",
    "audit gpus", "projection status", "projection rebuild", "version", "completion",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(hermes: Hermes, command: str) -> None:
    result = hermes(*command.split(), "--help")
    assert (result.code, result.stderr) == (0, "")
    assert "--json" in result.text
    assert "--url" in result.text


def test_the_overview_names_every_command(hermes: Hermes) -> None:
    overview = hermes("--help")
    assert overview.stdout == hermes().stdout
    assert overview.code == 0
    assert hermes("help").stdout == overview.stdout
    assert hermes("help", "run").stdout == hermes("run", "--help").stdout
    for command in COMMANDS:
        assert command.split()[0] in overview.text
    assert "inspect" in hermes("execution").text


def test_the_version_is_one_line(hermes: Hermes) -> None:
    assert hermes("--version").text.startswith("hermes ")


@pytest.mark.parametrize(
    "arguments",
    [["frobnicate"], ["execution:frobnicate"], ["--frobnicate"], ["run", "a/b", "--frob"]],
)
def test_an_unknown_word_is_a_usage_error(hermes: Hermes, arguments: list[str]) -> None:
    result = hermes(*arguments)
    assert result.code == 2
    assert result.stderr.startswith("hermes: invalid usage: No such ")
    assert len(result.stderr.splitlines()) == 1
    assert hermes(*arguments, "--json").problem["status"] == 400


def test_global_options_may_stand_anywhere(api: FakeApi, hermes: Hermes) -> None:
    nowhere = {"HERMES_URL": "http://127.0.0.1:1"}
    for arguments in (
        ["--url", api.url, "--json", "execution", "list"],
        ["execution", "--url", api.url, "--json", "list"],
        ["execution", "list", "--json", "--url", api.url],
        ["--url", api.url, "execution:list", "--json"],
        ["--json", "--url", "http://127.0.0.1:2", "execution:list", "--url", api.url + "/"],
    ):
        result = hermes(*arguments, env=nowhere)
        assert (result.code, result.stdout) == (0, b"[]\n")


def test_a_server_that_is_not_there_ends_with_six(hermes: Hermes) -> None:
    nowhere = {"HERMES_URL": "http://127.0.0.1:1"}
    for arguments in (["execution", "list"], ["run", "ana/echo"], ["remote", "whoami"]):
        result = hermes(*arguments, env=nowhere)
        assert result.code == 6
        assert result.stderr.startswith("hermes: cannot reach Hermes: http://127.0.0.1:1: ")
    assert hermes("version", "--json", env=nowhere).json["server"] is None


def test_an_error_is_a_line_and_a_line_for_each_part(api: FakeApi, hermes: Hermes) -> None:
    errors = [("limits.time", "is too long"), ("gpu", "there is none")]
    api.instead = [
        (
            "POST",
            "/v1/executions",
            lambda: problem("invalid_input", 422, "Not valid", "two things", errors),
        )
    ] * 2
    assert hermes("run", "ana/echo").stderr.splitlines() == [
        "hermes: Not valid: two things",
        "  limits.time: is too long",
        "  gpu: there is none",
    ]
    result = hermes("run", "ana/echo", "--json")
    assert result.problem["type"] == "urn:hermes:problem:invalid_input"
    assert result.problem["errors"][1] == {"field": "gpu", "message": "there is none"}
    assert result.stdout == b""


def test_bytes_that_are_no_text_are_refused_or_sent_as_they_are(
    api: FakeApi, hermes: Hermes
) -> None:
    odd = os.fsdecode(b"\xff")
    assert hermes("run", "ana/echo", "--pool", odd).code == 2
    assert hermes("function", "list", "--owner", odd).code == 2
    assert hermes("run", "ana/echo", "--input", odd).code == 0
    assert b'"input_base64":"/w=="' in api.requests[-1].body


def test_closed_streams_and_poor_locales_are_no_trouble(
    api: FakeApi, environment: dict[str, str], tmp_path: Path
) -> None:
    api.add_function("ana/x:1.0.0", language="☃")
    for redirection in ("", ">&-", "2>&-", ">&- 2>&- <&-"):
        command = " ".join([*COMMAND, "function", "list", redirection])
        done = subprocess.run(
            command,
            shell=True,
            capture_output=True,
            env={**environment, "LC_ALL": "C", "PYTHONIOENCODING": "latin-1"},
            cwd=tmp_path,
            timeout=20,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert ("ana/x:1.0.0" in done.stdout.decode()) == (">&-" not in redirection.split())


def test_a_server_cannot_write_to_the_terminal(api: FakeApi, hermes: Hermes) -> None:
    evil = "\x1b]0;owned\x07\n\u202e"
    api.instead = [("GET", "/v1/users/me", lambda: problem("forbidden", 403, evil, evil))]
    stderr = hermes("remote", "whoami").stderr
    assert "\x1b" not in stderr
    assert "\u202e" not in stderr
    assert [line[:2] for line in stderr.splitlines()[1:]] == ["  ", "  "]
    api.agents = [{"id": evil, "pool": "[red]x[/red]", "state": "online", "gpus": []}]
    table = hermes("agent", "list").text
    assert "\x1b" not in table
    assert "[red]x[/red]" in table
    assert len(table.splitlines()) == 2


@pytest.mark.parametrize("body", ["", "null", "[1]", "<html>", '{"title": 3, "errors": [7]}'])
def test_an_answer_that_is_no_problem_document_is_still_told(
    api: FakeApi, hermes: Hermes, body: str
) -> None:
    api.instead = [("GET", "/v1/users/me", lambda: web.Response(status=403, text=body))]
    result = hermes("remote", "whoami")
    assert result.code == 3
    assert result.stderr.startswith("hermes: ")


def test_an_answer_that_is_no_json_is_told(api: FakeApi, hermes: Hermes) -> None:
    api.instead = [("GET", "/v1/users/me", lambda: web.Response(text="<html>"))]
    result = hermes("remote", "whoami")
    assert (result.code, result.stderr.startswith("hermes: unexpected answer")) == (1, True)


def test_a_token_does_not_follow_a_redirect(api: FakeApi, hermes: Hermes) -> None:
    away = {"Location": f"{api.url}/v1/executions"}
    api.instead = [("GET", "/v1/users/me", lambda: web.Response(status=307, headers=away))]
    assert hermes("remote", "whoami").code == 1
    assert len(api.requests) == 1


def test_agents_and_projections(api: FakeApi, hermes: Hermes) -> None:
    gpu = {"uuid": "GPU-1", "state": "free"}
    api.agents = [{"id": "host-1", "pool": "default", "state": "online", "gpus": [gpu]}]
    assert "1 of 1 free" in hermes("agent", "list", "--pool", "default").text
    assert hermes("agent:list", "--json").json == api.agents
    assert "free" in hermes("gpu", "list").text
    assert hermes("gpu:list", "--json").json == [gpu]
    running = {"name": "executions", "status": "running", "lag": 0, "error": None}
    api.projections = [running]
    assert hermes("projection", "status").code == 0
    api.projections = [running, {**running, "name": "functions", "status": "stopped"}]
    assert hermes("projection", "status", "--json").code == 1
    assert hermes("projection", "rebuild").code == 2
    rebuilt = hermes("projection", "rebuild", "executions", "--yes")
    assert rebuilt.text == "executions: verified, swapped (42 events)\n"
    assert hermes("projection", "rebuild", "--yes", "--json").json == [
        {"name": "executions", "events": 42, "verified": True},
        {"name": "functions", "events": 42, "verified": True},
    ]
    assert hermes("projection", "rebuild", "none", "--yes").code == 4


def test_a_reason_has_a_column_where_there_is_one(api: FakeApi, hermes: Hermes) -> None:
    well = {"uuid": "GPU-1", "state": "free", "reason": None}
    sick = {"uuid": "GPU-2", "state": "drained", "reason": "Xid 79\nboo"}
    api.agents = [{"id": "host-1", "pool": "default", "state": "online", "gpus": [well]}]
    for noun in ("gpu", "agent"):
        assert "REASON" not in hermes(noun, "list").text
    api.agents[0]["gpus"] = [well, sick, {**sick, "uuid": "GPU-3"}]
    head, first, second, _ = hermes("gpu", "list").text.splitlines()
    assert head.split()[-1] == "REASON"
    assert first.split()[-1] == "-"
    assert second.endswith("Xid 79^Jboo")
    head, row = hermes("agent", "list").text.splitlines()
    assert head.split()[-1] == "REASON"
    assert "1 of 3 free" in row
    assert row.endswith("  Xid 79^Jboo")


AUDIT = {
    "proved": True,
    "failures": 0,
    "user_time_us": 1_500_001,
    "device_time_us": 1_500_001,
    "pools": [{"pool": "default", "records": 9, "leases": 1, "time_us": 1_500_001}],
    "devices": [{"gpu": "GPU-1", "name": "H200", "leases": 1, "time_us": 1_500_001}],
    "users": [{"user": "ana", "leases": 1, "time_us": 1_500_001}],
    "functions": [{"function": "ana/echo:1.0.0", "leases": 1, "time_us": 1_500_001}],
    "open_leases": [
        {
            "gpu": "GPU-1", "pool": "default", "execution": "0189", "attempt": 2, "user": "bob",
            "function": "ana/echo:1.0.0", "agent": "host-1",
            "since": "2026-01-31T12:00:00.000000Z", "lost": True,
        }
    ],
    "findings": [],
}  # fmt: skip


def test_an_audit_of_gpus_ends_with_zero_where_it_is_proved(api: FakeApi, hermes: Hermes) -> None:
    api.audit = AUDIT
    result = hermes("audit", "gpus", "--pool", "default")
    assert result.code == 0
    assert api.asked("GET", "/v1/audit/gpus")[0].query == [("pool", "default")]
    for words in ("GPU-1", "ana/echo:1.0.0", "bob", "2 (lost)", "2026-01-31 12:00:00"):
        assert words in result.text
    same = "users had GPUs for 1.500001 s, GPUs were had for 1.500001 s."
    assert result.text.splitlines()[-1].startswith("Proved: ")
    assert result.text.splitlines()[-1].endswith(same)
    assert hermes("audit:gpus", "--json").json == AUDIT


def test_an_audit_of_gpus_that_is_not_proved_ends_with_one(api: FakeApi, hermes: Hermes) -> None:
    finding = {
        "kind": "overlap", "pool": "default", "gpu": "GPU-1", "message": "two had it\x1b[2J",
        "position": {"topic": "hermes.executions.default", "partition": 0, "offset": 7},
    }  # fmt: skip
    api.audit = {**AUDIT, "proved": False, "failures": 1, "findings": [finding]}
    result = hermes("audit", "gpus")
    assert result.code == 1
    assert "hermes.executions.default/0/7" in result.text
    assert "\x1b" not in result.text
    assert result.text.splitlines()[-1].startswith("NOT proved (1 failures)")
    assert hermes("audit", "gpus", "--json").code == 1
    api.audit = {}
    assert hermes("audit", "gpus").code == 1


def test_config_shows_and_sets_the_url(hermes: Hermes, tmp_path: Path) -> None:
    unset = {"HERMES_URL": ""}
    assert hermes("config", env=unset).text == "hermes.url: http://127.0.0.1:9090\n"
    assert hermes("config", "hermes.url", "https://h.test/x/", env=unset).code == 0
    assert hermes("config", "--json", env=unset).json == {"hermes.url": "https://h.test/x"}
    assert json.loads((tmp_path / "config/hermes/config.json").read_text()) == {
        "url": "https://h.test/x"
    }
    for bad in (
        "",
        "h.test",
        "ftp://h",
        "http://",
        "http://u:p@h",
        "http://h:99999",
        "http://h/?q",
    ):
        assert hermes("config", "hermes.url", bad, env=unset).code == 2
    assert hermes("config", "docker.username", env=unset).code == 2


def test_a_running_server_of_this_machine_is_found(
    api: FakeApi, hermes: Hermes, tmp_path: Path
) -> None:
    (tmp_path / ".hermes/run").mkdir(parents=True)
    (tmp_path / ".hermes/run/status.json").write_text(json.dumps({"up": {"url": api.url}}))
    assert hermes("execution", "list", env={"HERMES_URL": ""}).code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(hermes: Hermes, shell: str) -> None:
    assert "_HERMES_COMPLETE" in hermes("completion", shell).text
    assert hermes("completion", "tcsh").code == 2


def test_completion_knows_the_commands(hermes: Hermes) -> None:
    asking = {"_HERMES_COMPLETE": "complete_bash", "COMP_WORDS": "hermes exec", "COMP_CWORD": "1"}
    assert "execution" in hermes(env=asking).text.split()
    deeper = {**asking, "COMP_WORDS": "hermes execution re", "COMP_CWORD": "2"}
    assert hermes(env=deeper).text.split() == ["replay"]


def test_on_a_terminal_control_characters_are_visible(
    api: FakeApi, environment: dict[str, str], tmp_path: Path
) -> None:
    api.script = Script(output=[("stdout", b"\x1b[2Jgr\xc3", 0.1), ("stdout", b"\xbc\xff\n", 0.2)])
    command = " ".join([*COMMAND, "run", "ana/echo", "--input", "x"])
    for flag, expected in (("", b"^[[2Jgr\xc3\xbc\\xff"), ("--raw", b"\x1b[2Jgr\xc3\xbc\xff")):
        done = subprocess.run(
            ["script", "-qec", f"{command} {flag}", "/dev/null"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**environment, "TERM": "xterm"},
            cwd=tmp_path,
            timeout=20,
            check=True,
        )
        assert done.stdout == expected + b"\r\n"
