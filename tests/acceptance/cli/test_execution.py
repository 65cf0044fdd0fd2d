from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.acceptance.cli.conftest import COMMAND, Hermes
from tests.support.fake_api import FakeApi
from tests.support.fake_executions import Script, event, position

FIRST = "01890000-0000-7000-8000-00000000000a"
LAST = "01890000-0000-7000-8000-00000000000b"
OTHER = "01990000-0000-7000-8000-00000000000c"


@pytest.fixture
def history(api: FakeApi) -> FakeApi:
    output = [("stdout", b"one\n", 0.1), ("stderr", b"oops\n", 0.2), ("stdout", b"two\n", 0.7)]
    api.add_execution(FIRST, Script(output=output))
    api.add_execution(LAST, Script(output=output, outcome="failed", exit_code=3))
    return api


def test_both_spellings_of_a_command_do_the_same(history: FakeApi, hermes: Hermes) -> None:
    spaced, joined = hermes("execution", "list"), hermes("execution:list")
    assert spaced.code == joined.code == 0
    assert spaced.stdout == joined.stdout


def test_the_list_is_a_table_with_the_newest_first(history: FakeApi, hermes: Hermes) -> None:
    head, first, second = hermes("execution", "list").text.splitlines()
    assert head.split() == ["ID", "STATUS", "EXIT", "START", "ELAPSED", "FUNCTION"]
    assert first.split() == [
        LAST, "failed", "3", "2026-01-31", "12:00:00", "3.000", "s", "ana/echo:1.0.0",
    ]  # fmt: skip
    assert second.startswith(FIRST)


def test_list_filters_go_to_the_server(history: FakeApi, hermes: Hermes) -> None:
    filters = ["--status", "failed", "--status", "running", "--function", "ana/echo"]
    times = ["--since", "2026-01-31T13:00:00+01:00", "--until", "2h"]
    result = hermes("execution", "list", *filters, *times, "--limit", "3", "--json")
    assert result.code == 0
    query = api_query(history)
    assert query[:4] == [
        ("status", "failed"),
        ("status", "running"),
        ("function", "ana/echo"),
        ("since", "2026-01-31T12:00:00.000000Z"),
    ]
    assert query[4][0] == "until"
    assert query[5:] == [("limit", "3")]


def api_query(api: FakeApi) -> list[tuple[str, str]]:
    return api.asked("GET", "/v1/executions")[-1].query


def test_all_pages_make_one_json_array(api: FakeApi, hermes: Hermes) -> None:
    for number in range(450):
        api.add_execution(f"01890000-0000-7000-8000-{number:012x}", Script())
    assert len(hermes("execution", "list", "--json").json) == 50
    assert len(hermes("execution", "list", "--json", "--limit", "201").json) == 201
    everything = hermes("execution", "list", "--json", "--all").json
    assert len({execution["id"] for execution in everything}) == 450


def test_inspect_shows_fields_attempts_and_usage(history: FakeApi, hermes: Hermes) -> None:
    text = hermes("execution", "inspect", LAST).text
    for words in (LAST, "ana/echo:1.0.0", "host-1", "GPU-1", "3.0 MiB", "1.250 s", "600 s"):
        assert words in text
    assert hermes("execution", "inspect", LAST, "--json").json["id"] == LAST


SAMPLES = [
    {"time": second, "utilisation": busy, "memory": 1, "power": 1.0}
    for second, busy in enumerate([0, 0.5, 1, 7, -1, "x"])
]
GPU_USAGE = {
    "gpu_time": 12.5, "gpu_peak_memory": 3 * 2**30, "gpu_utilisation": 0.625, "gpu_energy": 450.04,
    "gpu_samples": [*SAMPLES, None, {"time": 1}],
}  # fmt: skip


def test_inspect_shows_what_a_run_used_of_its_gpus(api: FakeApi, hermes: Hermes) -> None:
    shape = api.add_execution(FIRST, Script()).shape
    assert "GPU over time" not in hermes("execution", "inspect", FIRST).text
    shape["usage"] = {**(shape["usage"] or {}), **GPU_USAGE}
    text = hermes("execution", "inspect", FIRST, env={"LANG": "C.UTF-8"}).text
    for words in ("12.500 GPU-seconds", "3.0 GiB", "62% in the mean", "450.0 J"):
        assert words in text
    assert "|▁▅██▁| to 4.0 s" in text
    assert hermes("execution", "inspect", FIRST, "--json").json["usage"] == shape["usage"]


@pytest.mark.parametrize(
    "poor", [{"TERM": "linux"}, {"LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1"}]
)
def test_a_terminal_without_block_characters_gets_a_chart_in_ascii(
    api: FakeApi, hermes: Hermes, poor: dict[str, str]
) -> None:
    shape = api.add_execution(FIRST, Script()).shape
    shape["usage"] = {**(shape["usage"] or {}), **GPU_USAGE}
    result = hermes("execution", "inspect", FIRST, env=poor)
    assert b"|_+##_| to 4.0 s" in result.stdout
    assert result.stdout.isascii()


def test_last_is_the_newest_and_prefixes_go_as_they_are(history: FakeApi, hermes: Hermes) -> None:
    history.add_execution(OTHER, Script(), kind="build")
    assert hermes("execution", "inspect", "@last", "--json").json["id"] == LAST
    assert hermes("execution", "inspect", OTHER[:4], "--json").json["id"] == OTHER


def test_an_ambiguous_prefix_is_a_usage_error(history: FakeApi, hermes: Hermes) -> None:
    assert hermes("execution", "inspect", "0189").code == 2


def test_what_does_not_exist_ends_with_four(api: FakeApi, hermes: Hermes) -> None:
    assert hermes("execution", "inspect", "0189").code == 4
    assert hermes("execution", "inspect", "@last").code == 4


@pytest.mark.parametrize("name", ["", "last", "../users/me", "0189/cancel", "x" * 40])
def test_what_cannot_be_an_id_never_reaches_the_server(
    api: FakeApi, hermes: Hermes, name: str
) -> None:
    assert hermes("execution", "cancel", name).code == 4
    assert not api.requests


def test_tail_shows_both_streams_and_how_it_ended(history: FakeApi, hermes: Hermes) -> None:
    history.executions[FIRST].script.signal = 9
    result = hermes("execution", "tail", FIRST)
    assert (result.code, result.text, result.stderr) == (0, "one\ntwo\n", "oops\n")


def test_tail_follows_until_the_end(
    api: FakeApi, environment: dict[str, str], tmp_path: Path
) -> None:
    execution = api.add_execution(FIRST, Script(output=[("stdout", b"x", 0.1)], holds=True))
    process = subprocess.Popen(
        [*COMMAND, "execution", "tail", FIRST],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.read(1) == b"x"
    execution.end()
    _, stderr = process.communicate(timeout=10)
    assert (process.returncode, stderr) == (0, b"")


def test_tail_without_follow_leaves_a_running_execution(api: FakeApi, hermes: Hermes) -> None:
    api.add_execution(FIRST, Script(output=[("stdout", b"x", 0.1)], holds=True))
    result = hermes("execution", "tail", FIRST, "--no-follow", "--since", "7")
    assert (result.code, result.stdout) == (0, b"x")
    asked = api.asked("GET", f"/v1/executions/{FIRST}/tail")[0]
    assert asked.query == [("follow", "false"), ("since", "7")]


@pytest.mark.parametrize("follow", ["--follow", "--no-follow"])
def test_a_tail_resumes_after_a_drop(history: FakeApi, hermes: Hermes, follow: str) -> None:
    history.cuts = [3, 0, 1]
    result = hermes("execution", "tail", FIRST, follow, "--since", "0")
    assert (result.code, result.text) == (0, "one\ntwo\n")
    asked = history.asked("GET", f"/v1/executions/{FIRST}/tail")
    assert [request.headers.get("Last-Event-ID") for request in asked] == [
        None, "after-2", "after-2", "after-3",
    ]  # fmt: skip
    assert ("since", "0") not in asked[1].query


def test_ctrl_c_on_a_tail_ends_with_130(
    api: FakeApi, environment: dict[str, str], tmp_path: Path
) -> None:
    api.add_execution(FIRST, Script(output=[("stdout", b"x", 0.1)], holds=True))
    process = subprocess.Popen(
        [*COMMAND, "execution", "tail", FIRST],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    assert process.stdout.read(1) == b"x"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert (process.returncode, stderr) == (130, b"")


def test_gaps_and_new_attempts_are_told(api: FakeApi, hermes: Hermes) -> None:
    extra = [
        ("attempt", {"attempt": 2, "reason": "lease_expired"}),
        ("gap", {"attempt": 1, "from_seq": 0, "to_seq": 4, "reason": "expired"}),
    ]
    api.add_execution(FIRST, Script(extra=extra))
    stderr = hermes("execution", "tail", FIRST).stderr
    assert "attempt 2 begins (lease_expired)" in stderr
    assert "output 0 to 4 is missing (expired)" in stderr


def test_replay_keeps_the_pauses(history: FakeApi, hermes: Hermes) -> None:
    begun = time.monotonic()
    result = hermes("execution", "replay", FIRST)
    slow = time.monotonic() - begun
    begun = time.monotonic()
    assert hermes("execution", "replay", FIRST, "--speed", "max").stdout == result.stdout
    fast = time.monotonic() - begun
    assert result.text == "one\ntwo\n"
    # From its start (12:00:00.03) to its last output (12:00:00.70).
    assert slow - fast == pytest.approx(0.67, abs=0.3)


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "nan", "inf"])
def test_a_speed_must_be_above_zero(api: FakeApi, hermes: Hermes, speed: str) -> None:
    assert hermes("execution", "replay", FIRST, "--speed", speed).code == 2


def test_output_is_the_bytes_of_one_stream(history: FakeApi, hermes: Hermes) -> None:
    assert hermes("execution", "output", FIRST).stdout == b"one\ntwo\n"
    assert hermes("execution", "output", FIRST, "--stderr").stdout == b"oops\n"
    document = hermes("execution", "output", FIRST, "--json").json
    assert document == {
        "stream": "stdout",
        "bytes": 8,
        "sha256": hashlib.sha256(b"one\ntwo\n").hexdigest(),
        "data_base64": "b25lCnR3bwo=",
    }


def test_output_can_go_to_a_file(history: FakeApi, hermes: Hermes, tmp_path: Path) -> None:
    result = hermes("execution", "output", FIRST, "-o", "out.txt")
    assert (result.code, result.stdout) == (0, b"")
    assert (tmp_path / "out.txt").read_bytes() == b"one\ntwo\n"
    assert hermes("execution", "output", FIRST, "-o", "no/such/folder").code == 2


def test_a_broken_download_goes_on_where_it_broke(api: FakeApi, hermes: Hermes) -> None:
    data = bytes(range(256)) * 100
    api.add_execution(FIRST, Script(output=[("stdout", data, 0.1)]))
    api.output_cuts = [10_000, 0, 1]
    result = hermes("execution", "output", FIRST)
    assert (result.code, result.stdout) == (0, data)
    asked = api.asked("GET", f"/v1/executions/{FIRST}/output/stdout")
    assert [request.headers.get("Range") for request in asked] == [
        None, "bytes=10000-", "bytes=10000-", "bytes=10001-",
    ]  # fmt: skip


def test_events_show_where_they_stand_and_which_were_superseded(
    history: FakeApi, hermes: Hermes
) -> None:
    history.events[FIRST] = [
        event("execution.requested", {}, 1),
        event("execution.finished", {"attempt": 1, "outcome": "lost"}, 12, superseded=True),
    ]
    head, first, second = hermes("execution", "events", FIRST).text.splitlines()
    assert {"TOPIC", "PARTITION", "OFFSET"} <= set(head.split())
    assert "execution.requested/1" in first
    assert "hermes.executions.default  0          12" in second
    assert "superseded, lost" in second
    assert [line["position"]["offset"] for line in events_json(hermes)] == [1, 12]


def events_json(hermes: Hermes) -> list[dict[str, dict[str, int]]]:
    return hermes("execution", "events", FIRST, "--json").lines


def test_events_follow_without_repeating(history: FakeApi, hermes: Hermes) -> None:
    history.events[FIRST] = [event("execution.requested", {}, 1)]
    lines = hermes("execution", "events", FIRST, "--follow", "--json").lines
    assert [line["kind"] for line in lines] == [
        "execution.requested", "execution.started", "execution.finished",
    ]  # fmt: skip


def test_cancel_says_so_and_a_second_one_conflicts(api: FakeApi, hermes: Hermes) -> None:
    api.add_execution(FIRST, Script(holds=True))
    assert hermes("execution", "cancel", FIRST).text == f"Cancelling {FIRST}\n"
    result = hermes("execution", "cancel", FIRST)
    assert result.code == 5
    assert result.stderr == "hermes: The execution has already finished\n"


def test_views_that_lag_behind_an_own_write_are_read_all_the_same(
    api: FakeApi, hermes: Hermes, tmp_path: Path
) -> None:
    hermes("run", "ana/echo", "--async")
    positions = json.loads((tmp_path / "config/hermes/positions.json").read_bytes())
    assert positions[api.url]["hermes.executions.default/0"][0] == 1
    api.views_lag = True
    assert hermes("execution", "list").code == 0
    api.views_lag = False
    hermes("execution", "list")
    assert "Hermes-After" not in api.requests[-1].headers
    assert position(1)["offset"] == 1
