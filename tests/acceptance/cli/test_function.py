from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.acceptance.cli.conftest import Hermes
from tests.support.fake_api import FakeApi
from tests.support.fake_executions import Script
from tests.support.fake_shapes import problem

FAILS = Script(output=[("stderr", b"main.cpp:1: error\n", 0.1)], outcome="failed", exit_code=2)


@pytest.fixture
def folder(hermes: Hermes, tmp_path: Path) -> Path:
    assert hermes("function", "init", "--name", "hello", "--language", "cpp", "--no-gpu").code == 0
    return tmp_path / "hello"


def test_init_writes_a_function_that_the_server_would_take(hermes: Hermes, tmp_path: Path) -> None:
    arguments = ["function", "init", "sub", "--name", "sum", "--language", "cuda", "--gpu"]
    result = hermes(*arguments, "--json")
    config = {
        "functionName": "sum",
        "functionVersion": "1.0.0",
        "language": "cuda",
        "gpuCapable": True,
        "scope": "public",
        "handler": "./a.out",
    }
    assert result.json == {"path": "sub/sum", "config": config}
    assert json.loads((tmp_path / "sub/sum/hermes.config.json").read_text()) == config
    assert (tmp_path / "sub/sum/Makefile").is_file()
    assert (tmp_path / "sub/sum/main.cu").is_file()
    assert hermes(*arguments).code == 5


def test_init_with_yes_takes_the_name_from_the_path(hermes: Hermes, tmp_path: Path) -> None:
    assert hermes("function", "init", "word-count", "--yes").text == "word-count\n"
    config = json.loads((tmp_path / "word-count/hermes.config.json").read_text())
    assert (config["functionName"], config["language"]) == ("word-count", "cpp")


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        ([], "--name"),
        (["--yes"], "--name"),
        (["--name", "x"], "--language"),
        (["--name", "x", "--language", "perl"], "--language"),
        (["--name", "Not A Name", "--yes"], "functionName"),
        (["--name", "../x", "--yes"], "functionName"),
    ],
)
def test_init_without_a_terminal_names_what_is_missing_or_wrong(
    hermes: Hermes, tmp_path: Path, arguments: list[str], flag: str
) -> None:
    result = hermes("function", "init", *arguments)
    assert result.code == 2
    assert flag in result.stderr
    assert not list(tmp_path.glob("*/hermes.config.json"))


def test_deploy_sends_the_folder_and_prints_the_name(
    api: FakeApi, hermes: Hermes, folder: Path
) -> None:
    result = hermes("function", "deploy", "hello")
    assert (result.code, result.text) == (0, "ana/hello:1.0.0\n")
    assert "g++ -o a.out main.cpp" in result.stderr
    sent = api.asked("POST", "/v1/functions")[0]
    assert sent.headers["Content-Type"] == "application/gzip"
    with tarfile.open(fileobj=io.BytesIO(sent.body)) as archive:
        assert {"hermes.config.json", "Makefile", "main.cpp"} <= set(archive.getnames())


def test_deploying_a_version_twice_conflicts_and_says_what_to_do(
    hermes: Hermes, folder: Path
) -> None:
    hermes("function", "deploy", str(folder))
    result = hermes("function", "deploy", str(folder))
    assert result.code == 5
    assert "raise functionVersion" in result.stderr
    assert "hermes function delete" in result.stderr


def test_a_build_that_fails_fails_the_deploy(api: FakeApi, hermes: Hermes, folder: Path) -> None:
    api.build_script = FAILS
    result = hermes("function", "deploy", "hello")
    assert (result.code, result.text) == (1, "")
    assert "main.cpp:1: error" in result.stderr
    assert "make failed with exit code 2" in result.stderr


def test_deploy_as_json_is_the_build_line_by_line_and_the_function_last(
    hermes: Hermes, folder: Path
) -> None:
    *frames, function = hermes("function", "deploy", "hello", "--json").lines
    assert frames[-1]["event"] == "end"
    assert (function["id"], function["status"]) == ("ana/hello:1.0.0", "built")


def test_deploy_need_not_wait(api: FakeApi, hermes: Hermes, folder: Path) -> None:
    result = hermes("function", "deploy", "hello", "--no-wait", "--json")
    assert result.json["status"] == "registered"
    assert [request.method for request in api.requests] == ["POST"]


def test_a_build_log_that_is_not_there_yet_is_waited_for(
    api: FakeApi, hermes: Hermes, folder: Path
) -> None:
    tail = "/v1/builds/01890000-0000-7000-8000-00000000b01d/tail"
    api.instead = [("GET", tail, lambda: problem("not_found", 404, "Not found"))] * 2
    assert hermes("function", "deploy", "hello").code == 0
    assert len(api.asked("GET", tail)) == 3


def test_build_registers_nothing(api: FakeApi, hermes: Hermes, folder: Path) -> None:
    result = hermes("function", "build", "hello")
    assert result.code == 0
    assert "g++ -o a.out main.cpp" in result.text
    assert not api.functions
    api.build_script = FAILS
    assert hermes("function", "build", "hello").code == 1
    failed = hermes("function", "build", "hello", "--json")
    assert (failed.code, failed.lines[-1]["outcome"]) == (1, "failed")


def test_a_folder_that_is_no_function_is_told_line_by_line(
    api: FakeApi, hermes: Hermes, folder: Path
) -> None:
    bad = {"functionName": "X", "functionVersion": "1", "language": "perl", "handler": "a"}
    (folder / "hermes.config.json").write_text(json.dumps(bad))
    result = hermes("function", "deploy", "hello")
    assert result.code == 2
    for name in ("functionName", "functionVersion", "language"):
        assert any(line.startswith(f"  {name}: ") for line in result.stderr.splitlines())
    assert len(hermes("function", "deploy", "hello", "--json").problem["errors"]) == 3
    assert not api.requests
    assert hermes("function", "deploy", "missing").code == 2


def test_list_inspect_and_delete(api: FakeApi, hermes: Hermes) -> None:
    api.add_function("ana/sum:1.0.9")
    api.add_function("ana/sum:1.0.10")
    api.add_function("ana/sum:2.0.0", status="build_failed")
    api.add_function("bob/pi:1.0.0")
    assert len(hermes("function", "list").text.splitlines()) == 5
    assert [f["owner"] for f in hermes("function:list", "--owner", "bob", "--json").json] == ["bob"]
    assert hermes("function", "inspect", "ana/sum", "--json").json["version"] == "1.0.10"
    assert "build_failed" in hermes("function", "inspect", "ana/sum:2.0.0").text
    assert hermes("function", "inspect", "ana/none").code == 4
    assert hermes("function", "delete", "sum").code == 2
    deleted = hermes("function", "delete", "sum:1.0.9", "--yes", "--json").json
    assert [function["id"] for function in deleted] == ["ana/sum:1.0.9"]
    hermes("function", "delete", "sum", "--yes")
    assert set(api.functions) == {"bob/pi:1.0.0"}
