from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.cli.conftest import COMMAND, Hermes
from tests.support.fake_api import FakeApi
from tests.support.fake_executions import Script
from tests.support.fake_shapes import problem

REF = "ana/echo:1.0.0"


def sent(api: FakeApi) -> dict[str, object]:
    document = json.loads(api.asked("POST", "/v1/executions")[-1].body)
    assert isinstance(document, dict)
    return document


def test_both_streams_arrive_exactly_as_the_program_wrote_them(
    api: FakeApi, hermes: Hermes
) -> None:
    odd = bytes(range(256))
    api.script = Script(output=[("stdout", odd, 0.1), ("stderr", b"\x1b[31m\xff", 0.2)])
    result = hermes("run", REF)
    assert (result.code, result.stdout) == (0, odd)
    assert result.error_bytes == b"\x1b[31m\xff"


def test_a_run_costs_one_request(api: FakeApi, hermes: Hermes) -> None:
    hermes("run", REF, "--input", "1")
    assert len(api.requests) == 1
    assert api.requests[0].headers["Accept"] == "text/event-stream"


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        (Script(outcome="succeeded", exit_code=0), 0, ""),
        (Script(outcome="failed", exit_code=7), 7, ""),
        (Script(outcome="failed", exit_code=None, signal=11), 139, "signal 11 (SIGSEGV)"),
        (Script(outcome="timed_out", exit_code=None), 124, "timed out after 600 s"),
        (Script(outcome="out_of_memory", exit_code=None), 125, "out of memory"),
        (Script(outcome="output_limit", exit_code=None), 125, "output limit"),
        (Script(outcome="cancelled", exit_code=None), 125, "cancelled"),
        (Script(outcome="build_missing", exit_code=None), 125, "deploy the function again"),
        (Script(outcome="lost", exit_code=None), 125, "lost"),
        (Script(status="rejected", outcome=None, exit_code=None), 125, "rejected"),
        (Script(complete=False), 0, "output is missing"),
    ],
)
def test_the_exit_code_tells_how_it_ended(
    api: FakeApi, hermes: Hermes, script: Script, code: int, words: str
) -> None:
    api.script = script
    result = hermes("run", REF)
    assert result.code == code
    assert words in result.stderr
    assert bool(result.stderr) == bool(words)


@pytest.mark.parametrize(
    ("arguments", "stdin", "expected"),
    [
        (["--input", "5 1"], b"", {"input": "5 1"}),
        (["--input", ""], b"", {}),
        ([], b"piped", {"input": "piped"}),
        (["--file", "-"], b"\xff\x00", {"input_base64": "/wA="}),
        (["--file", "in.txt"], b"", {"input": "grüße\n"}),
    ],
)
def test_the_input_travels_as_text_or_base64(
    api: FakeApi,
    hermes: Hermes,
    tmp_path: Path,
    arguments: list[str],
    stdin: bytes,
    expected: dict[str, str],
) -> None:
    (tmp_path / "in.txt").write_text("grüße\n", encoding="utf-8")
    assert hermes("run", REF, *arguments, stdin=stdin).code == 0
    assert sent(api) == {"function": REF, **expected}


def test_a_large_input_goes_ahead_as_a_blob(api: FakeApi, hermes: Hermes, tmp_path: Path) -> None:
    data = os.urandom(1024 * 1024 + 1)
    (tmp_path / "big").write_bytes(data)
    assert hermes("run", REF, "-f", "big").code == 0
    digest = hashlib.sha256(data).hexdigest()
    assert api.blobs == {digest: data}
    assert sent(api) == {"function": REF, "input_blob": digest}


def test_an_input_of_one_mebibyte_needs_no_blob(api: FakeApi, hermes: Hermes) -> None:
    assert hermes("run", REF, stdin=b"x" * 1024 * 1024).code == 0
    assert not api.blobs


def test_what_the_user_wishes_for_is_asked_for(api: FakeApi, hermes: Hermes) -> None:
    wishes = ["--gpu-count", "2", "--gpu-memory", "16GiB", "--gpu-name", "*A100*"]
    limits = ["--timeout", "2.5", "--compute-capability", "8.0", "--pool", "fast"]
    hermes("function", "run", "ana/echo", *wishes, *limits, "--idempotency-key", "k-1")
    assert sent(api) == {
        "function": "ana/echo",
        "timeout": 2.5,
        "pool": "fast",
        "gpu": {"count": 2, "memory": 16 * 2**30, "name": "*A100*", "computeCapability": "8.0"},
    }
    assert api.requests[0].headers["Idempotency-Key"] == "k-1"


@pytest.mark.parametrize("flag", [("--gpu", True), ("--no-gpu", False)])
def test_gpu_or_none(api: FakeApi, hermes: Hermes, flag: tuple[str, bool]) -> None:
    hermes("run", REF, flag[0])
    assert sent(api)["gpu"] is flag[1]


def test_async_prints_the_id_alone(api: FakeApi, hermes: Hermes) -> None:
    api.script = Script(holds=True)
    result = hermes("run", REF, "--async")
    assert result.text == "01890000-0000-7000-8000-000000000000\n"
    assert hermes("run", REF, "-a", "--json").json["status"] == "running"


def test_json_is_the_tail_line_by_line_and_the_execution_last(api: FakeApi, hermes: Hermes) -> None:
    api.script = Script(output=[("stdout", b"hi", 0.1)], outcome="failed", exit_code=3)
    result = hermes("--json", "run", REF)
    assert result.code == 3
    *frames, execution = result.lines
    assert [frame["event"] for frame in frames] == ["event", "event", "output", "event", "end"]
    assert all(set(frame) == {"event", "id", "data"} for frame in frames)
    assert execution["exit_code"] == 3
    # Read-your-writes: the last read waits for the event that ended the execution.
    asked = api.requests[-1]
    assert asked.headers["Hermes-After"] == "hermes.executions.default/0/9"


@pytest.mark.parametrize("cuts", [[0], [1], [2], [3], [1, 1, 1, 1], [0, 0, 0, 2]])
def test_a_dropped_connection_loses_and_doubles_nothing(
    api: FakeApi, hermes: Hermes, cuts: list[int]
) -> None:
    lines = [("stdout", f"line {n}\n".encode(), n / 10) for n in range(20)]
    api.script = Script(output=lines)
    api.cuts = list(cuts)
    result = hermes("run", REF)
    assert result.code == 0
    assert result.stdout == b"".join(data for _, data, _ in lines)
    resumed = api.asked("GET", "/v1/executions/01890000-0000-7000-8000-000000000000/tail")
    assert len(resumed) == len(cuts)


def test_a_server_that_stays_away_is_told_apart_from_the_program(
    api: FakeApi, hermes: Hermes
) -> None:
    api.script = Script(output=[("stdout", b"x", 0.1)])
    api.cuts = [3]
    tail = "/v1/executions/01890000-0000-7000-8000-000000000000/tail"
    api.instead = [("GET", tail, lambda: problem("forbidden", 403, "Not allowed"))]
    result = hermes("run", REF)
    assert (result.code, result.stdout) == (125, b"x")
    assert "hermes execution tail 01890000-0000-7000-8000-000000000000" in result.stderr


@pytest.mark.parametrize(
    ("refusal", "code"),
    [
        (("unauthenticated", 401, "A valid token is needed"), 3),
        (("not_found", 404, "Not found"), 4),
        (("not_built", 409, "The function has no successful build"), 5),
        (("invalid_input", 422, "The input is not valid"), 2),
        (("internal", 500, "Hermes failed"), 6),
        (("rate_limited", 429, "Too many requests"), 6),
        (("unavailable", 503, "The log cannot be reached"), 6),
    ],
)
def test_a_refused_run_ends_with_two_to_six(
    api: FakeApi, hermes: Hermes, refusal: tuple[str, int, str], code: int
) -> None:
    api.instead = [("POST", "/v1/executions", lambda: problem(*refusal))]
    result = hermes("run", REF)
    assert (result.code, result.stdout) == (code, b"")
    assert result.stderr.startswith(f"hermes: {refusal[2]}")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["echo"],
        ["ana/echo:1.0"],
        [REF, "--input", "a", "--file", "b"],
        [REF, "--file", "missing.txt"],
        [REF, "--file", "."],
        [REF, "--timeout", "0"],
        [REF, "--timeout", "nan"],
        [REF, "--no-gpu", "--gpu-count", "1"],
        [REF, "--gpu-count", "0"],
        [REF, "--gpu-memory", "lots"],
        [REF, "--idempotency-key", ""],
        [REF, "--idempotency-key", "two words"],
        [],
    ],
)
def test_a_wrong_command_line_is_refused_before_anything_is_sent(
    api: FakeApi, hermes: Hermes, arguments: list[str]
) -> None:
    result = hermes("run", *arguments)
    assert result.code == 2
    assert result.stderr.startswith("hermes: invalid usage: ")
    assert not api.requests


def test_ctrl_c_without_a_terminal_detaches(
    api: FakeApi, environment: dict[str, str], tmp_path: Path
) -> None:
    api.script = Script(output=[("stdout", b"so far", 0.1)], holds=True)
    process = subprocess.Popen(
        [*COMMAND, "run", REF],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.read(6) == b"so far"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert b"hermes execution tail 01890000-0000-7000-8000-000000000000" in stderr
    assert not api.asked("POST", "/v1/executions/01890000-0000-7000-8000-000000000000/cancel")


def test_ctrl_c_before_the_server_has_answered_says_that_it_may_run(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [*COMMAND, "run", REF],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment, "HERMES_URL": url},
            cwd=tmp_path,
        )
        connection, _ = silent.accept()
        assert connection.recv(4)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=10)
        connection.close()
    assert process.returncode == 130
    assert b"hermes execution list" in stderr


def test_a_reader_that_leaves_early_is_no_error(
    api: FakeApi, environment: dict[str, str], tmp_path: Path
) -> None:
    api.script = Script(output=[("stdout", b"y\n" * 100_000, 0.1)] * 5)
    command = " ".join(COMMAND)
    done = subprocess.run(
        ["bash", "-c", f"{command} run {REF} </dev/null | head -c 2; echo ${{PIPESTATUS[0]}}"],
        capture_output=True,
        env=environment,
        cwd=tmp_path,
        timeout=20,
        check=True,
    )
    assert done.stdout == b"y\n141\n"
    assert done.stderr == b""
