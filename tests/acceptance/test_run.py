"""`hermes run`: input, output and exit codes against the real system."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.acceptance.conftest import write_shell
from tests.acceptance.rest import Rest
from tests.support.system import HERMES, ROOT, System, User
from tests.support.terminal import Terminal

REF = "sue/shell"


@pytest.mark.parametrize(
    ("script", "code", "words"),
    [
        ("exit 0", 0, b""),
        ("exit 7", 7, b""),
        ("exit 255", 255, b""),
        ("kill -9 $$", 128 + 9, b"SIGKILL"),
        ("kill -11 $$", 128 + 11, b"SIGSEGV"),
        ("kill -6 $$", 128 + 6, b"SIGABRT"),
        ("(setsid sleep 600 &); exit 3", 3, b""),
        ("exec >&- 2>&-; sleep 0.2; exit 4", 4, b""),
    ],
)
def test_the_exit_code_is_the_programs_or_says_what_became_of_it(
    sue: User, script: str, code: int, words: bytes
) -> None:
    done = sue.hermes("run", REF, "--input", script)
    assert (done.returncode, words in done.stderr) == (code, True)
    assert bool(done.stderr) == bool(words)


@pytest.fixture(scope="module")
def small(sue: User, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A function with small limits."""
    limits = {"memory": 64 << 20, "output": 1000, "processes": 20, "cpus": 0.5, "time": 20}
    folder = write_shell(tmp_path_factory.mktemp("small") / "x", name="small", limits=limits)
    return sue.ok("function", "deploy", str(folder)).decode().strip()


def test_memory_beyond_the_limit_ends_a_run_and_says_so(sue: User, small: str) -> None:
    done = sue.hermes(
        "run", small, "--input", "head -c 200000000 /dev/zero | tail -c 200000000 | wc -c"
    )
    assert done.returncode == 125
    assert b"memory" in done.stderr
    execution = sue.json("execution", "inspect", "@last")
    assert (execution["status"], execution["outcome"]) == ("finished", "out_of_memory")
    assert execution["limits"]["memory"] == 64 << 20
    assert 48 << 20 < execution["usage"]["peak_memory"] <= 64 << 20


@pytest.mark.parametrize("stream", [1, 2])
def test_exactly_the_limit_of_output_may_be_written_to_each_stream(
    sue: User, small: str, stream: int
) -> None:
    full = sue.hermes("run", small, "--input", "head -c 1000 /dev/zero | tee /dev/stderr")
    assert (full.returncode, full.stdout, full.stderr) == (0, bytes(1000), bytes(1000))
    over = sue.hermes("run", small, "--input", f"head -c 1001 /dev/zero >&{stream}; sleep 9")
    assert over.returncode == 125
    assert (over.stdout if stream == 1 else over.stderr[:1000]) == bytes(1000)
    execution = sue.json("execution", "inspect", "@last")
    assert execution["outcome"] == "output_limit"
    assert execution["output"]["stdout" if stream == 1 else "stderr"]["bytes"] == 1000


def test_a_run_beyond_its_time_is_124(sue: User) -> None:
    done = sue.hermes("run", REF, "--input", "echo begun; sleep 600", "--timeout", "0.5")
    assert (done.returncode, done.stdout) == (124, b"begun\n")
    assert b"timed out" in done.stderr
    assert sue.json("execution", "inspect", "@last")["limits"]["time"] == 0.5


def test_both_streams_are_exact_and_apart(sue: User) -> None:
    odd = bytes(range(256)) * 3 + b"\r\n\x1b[31m\xff\xfe"
    done = sue.hermes("run", "sue/shell:1.0.0", stdin=b"cat; printf 'err\\377\\0' >&2\n" + odd)
    assert (done.returncode, done.stdout, done.stderr) == (0, odd, b"err\xff\0")


def test_the_input_comes_from_a_pipe_a_file_a_dash_or_the_command_line(
    sue: User, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_bytes(b"echo file\n")
    assert sue.ok("run", REF, stdin=b"echo pipe\n") == b"pipe\n"
    assert sue.ok("run", REF, "--file", str(script)) == b"file\n"
    assert sue.ok("run", REF, "-f", "-", stdin=b"echo dash\n") == b"dash\n"
    assert sue.ok("run", REF, "--input", "echo text", stdin=b"echo pipe\n") == b"text\n"
    assert sue.ok("function", "run", REF, "--input", "echo long") == b"long\n"
    assert sue.ok("function:run", REF, "--input", "echo colon") == b"colon\n"
    assert sue.ok("run", REF, "--input", "") == b""
    assert sue.ok("run", REF, stdin=b"") == b""


def test_an_input_of_many_mebibytes_arrives_whole(sue: User, tmp_path: Path) -> None:
    script = b"exec sha256sum\n"
    data = script + random.Random(1).randbytes(20 * 1024 * 1024)
    file = tmp_path / "big"
    file.write_bytes(data)
    digest = hashlib.sha256(data.removeprefix(script)).hexdigest()
    assert sue.ok("run", REF, "--file", str(file)).split()[0].decode() == digest
    inspected = sue.json("execution", "inspect", "@last")
    assert inspected["input"] == {
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def test_an_input_above_100_mebibytes_is_refused(sue: User, tmp_path: Path) -> None:
    file = tmp_path / "huge"
    with file.open("wb") as target:
        target.truncate(100 * 1024 * 1024 + 1)
    done = sue.hermes("run", REF, "--file", str(file))
    assert done.returncode == 2
    assert b"100 MiB" in done.stderr or b"104857600" in done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run", "no-slash"], 2),
        (["run", REF, "--input", "a", "--file", "b"], 2),
        (["run", REF, "--file", "/does/not/exist"], 2),
        (["run", REF, "--timeout", "0"], 2),
        (["run", REF, "--timeout", "1e9"], 2),
        (["run", REF, "--gpu"], 2),
        (["run", REF, "--pool", "nowhere"], 2),
        (["run", "sue/missing"], 4),
        (["run", "nobody/shell"], 4),
        (["run", f"{REF}:9.9.9"], 4),
        (["function", "inspect", "sue/missing"], 4),
        (["function", "delete", "missing", "--yes"], 4),
        (["execution", "inspect", "01890000-0000-7000-8000-000000000000"], 4),
        (["execution", "output", "01890000-0000-7000-8000-000000000000"], 4),
        (["execution", "tail", "01890000-0000-7000-8000-000000000000"], 4),
        (["execution", "events", "01890000-0000-7000-8000-000000000000"], 4),
        (["execution", "replay", "01890000-0000-7000-8000-000000000000"], 4),
        (["execution", "cancel", "01890000-0000-7000-8000-000000000000"], 4),
        (["execution", "inspect", "no-such-execution"], 4),
        (["execution", "frobnicate"], 2),
    ],
)
def test_what_is_refused_says_why_once_and_with_json_as_one_problem(
    sue: User, words: list[str], code: int
) -> None:
    done = sue.hermes(*words)
    assert (done.returncode, done.stdout) == (code, b""), done.stderr
    assert done.stderr.startswith(b"hermes: ")
    done = sue.hermes(*words, "--json")
    assert done.returncode == code
    problem = json.loads(done.stdout or done.stderr)
    assert problem["type"].startswith("urn:hermes:problem:")
    assert set(problem) == {"type", "title", "status", "detail", "instance", "errors"}


def test_a_foreign_token_is_3_and_a_server_that_is_not_there_6(
    sue: User, system: System, tmp_path: Path
) -> None:
    for changes, code in [
        ({"HERMES_TOKEN": "hms_wrong"}, 3),
        ({"XDG_CONFIG_HOME": str(tmp_path)}, 3),
        ({"HERMES_URL": "http://127.0.0.1:1"}, 6),
    ]:
        for words in (["run", REF, "--input", ""], ["execution", "list"], ["remote", "whoami"]):
            done = subprocess.run(
                [str(HERMES), *words],
                env=sue.environment | changes,
                capture_output=True,
                check=False,
            )
            assert (done.returncode, done.stdout) == (code, b""), (words, done.stderr)


def test_the_same_idempotency_key_runs_once(sue: User) -> None:
    words = ["run", REF, "--idempotency-key", "run-once", "--input"]
    first = sue.ok(*words, "date +%N")
    assert sue.ok(*words, "date +%N") == first
    assert sue.hermes(*words, "date").returncode == 5
    ids = {sue.ok(*words, "date +%N", "--async") for _ in range(2)}
    assert len(ids) == 1


def test_json_is_the_streams_events_line_by_line_and_then_the_execution(sue: User) -> None:
    done = sue.hermes("run", REF, "--input", "echo hi; exit 4", "--json")
    assert done.returncode == 4
    *frames, execution = [json.loads(line) for line in done.stdout.splitlines()]
    assert {frozenset(frame) for frame in frames} == {frozenset(("event", "id", "data"))}
    assert frames[0]["data"]["kind"] == "execution.requested"
    assert frames[-1]["event"] == "end"
    assert (execution["status"], execution["exit_code"]) == ("finished", 4)
    accepted = sue.json("run", REF, "--async", "--input", "")
    assert accepted["kind"] == "run"
    assert len(accepted["id"]) == 36


def test_ctrl_c_without_a_terminal_leaves_the_run_alone(sue: User, rest: Rest) -> None:
    process = sue.spawn("run", REF, "--input", "echo begun; sleep 1; echo done")
    assert process.stdout is not None
    assert process.stdout.read(6) == b"begun\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    execution = sue.json("execution", "list", "--limit", "1")[0]["id"]
    assert execution.encode() in stderr
    assert rest.finished(execution)["outcome"] == "succeeded"
    assert sue.ok("execution", "output", execution) == b"begun\ndone\n"


@pytest.mark.parametrize(
    ("answer", "code", "outcome"), [("c", 125, "cancelled"), ("d", 130, "succeeded")]
)
def test_ctrl_c_on_a_terminal_asks_whether_to_detach_or_to_cancel(
    sue: User, rest: Rest, answer: str, code: int, outcome: str
) -> None:
    terminal = Terminal(
        [str(HERMES), "run", REF, "--input", "echo begun; sleep 4"], sue.environment, ROOT
    )
    terminal.expect("begun", timeout=60)
    terminal.type("\x03")
    terminal.expect("etach", timeout=60)
    terminal.type(f"{answer}\n")
    assert terminal.end(timeout=60) == code, terminal.shown
    execution = sue.json("execution", "list", "--limit", "1")[0]["id"]
    assert rest.finished(execution)["outcome"] == outcome


def test_ctrl_c_twice_on_a_terminal_detaches(sue: User, rest: Rest) -> None:
    terminal = Terminal(
        [str(HERMES), "run", REF, "--input", "echo begun; sleep 3"], sue.environment, ROOT
    )
    terminal.expect("begun", timeout=60)
    terminal.type("\x03")
    terminal.expect("etach", timeout=60)
    terminal.type("\x03")
    assert terminal.end(timeout=60) == 130, terminal.shown
    execution = sue.json("execution", "list", "--limit", "1")[0]["id"]
    assert rest.finished(execution)["outcome"] == "succeeded"


def test_on_a_terminal_the_input_is_asked_for_and_control_characters_are_shown_escaped(
    sue: User,
) -> None:
    terminal = Terminal([str(HERMES), "run", REF], sue.environment, ROOT)
    terminal.expect("Input:", timeout=60)
    terminal.type("printf 'a\\033]0;owned\\007b\\n'\n")
    terminal.expect("owned", timeout=60)
    assert terminal.end(timeout=60) == 0
    assert b"\x1b]0;owned\x07" not in terminal.shown
    raw = Terminal(
        [str(HERMES), "run", REF, "--raw", "--input", "printf '\\033]0;own\\007'"],
        sue.environment,
        ROOT,
    )
    assert raw.end(timeout=60) == 0
    assert b"\x1b]0;own\x07" in raw.shown


def test_the_reader_may_go_away(sue: User) -> None:
    process = sue.spawn("run", REF, "--input", "yes | head -c 5000000")
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(60) == 128 + signal.SIGPIPE


def test_output_comes_live(sue: User) -> None:
    process = sue.spawn("run", REF, "--input", "echo one; sleep 3; echo two")
    assert process.stdout is not None
    assert process.stdout.read(4) == b"one\n"
    came = time.monotonic()
    assert process.stdout.read() == b"two\n"
    assert time.monotonic() - came > 1.5
    assert process.wait(60) == 0
    process.communicate()


def test_a_program_sees_its_folder_and_nothing_of_the_server(sue: User, system: System) -> None:
    script = "pwd; id -u; env | sort; ls /fn; ls -A /work /tmp; echo more > /work/x && cat /work/x"
    lines = sue.ok("run", REF, "--input", script).decode().splitlines()
    assert lines[0] == "/work"
    assert lines[1] != "0"
    assert "more" in lines
    assert "shell" in lines
    assert not [line for line in lines if "HERMES" in line or str(system.home) in line]
    look = f"ls {system.home}; cat /etc/shadow; echo > /fn/x; ls /home /root; exit 0"
    done = sue.hermes("run", REF, "--input", look)
    assert done.stdout == b""
    network = "cat /proc/net/route /proc/net/dev | grep -v '|' | grep -cv 'lo:' ; exit 0"
    assert sue.ok("run", REF, "--input", network).split()[0] in (b"0", b"1")
