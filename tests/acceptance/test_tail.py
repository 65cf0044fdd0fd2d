"""Event streams: their order, their end, and resuming at every event."""

from __future__ import annotations

import base64
import json
import time

import pytest
import urllib3

from tests.acceptance.rest import SHELL, Frame, Rest, built, source
from tests.support.system import User

SCRIPT = "for i in 1 2 3; do echo out$i; echo err$i >&2; sleep 0.1; done; exit 2"
OUTPUT = {"attempt", "seq", "stream", "offset", "time", "data"}


def written(frames: list[Frame], stream: str) -> bytes:
    """What a stream's output events hold, which must be without gap or overlap."""
    data = b""
    for frame in frames:
        if frame.event == "output" and frame.data["stream"] == stream:
            assert frame.data["offset"] == len(data)
            data += base64.b64decode(frame.data["data"])
    return data


@pytest.fixture(scope="module")
def execution(rest: Rest) -> str:
    accepted = rest.run(SCRIPT)
    rest.finished(accepted["id"])
    return str(accepted["id"])


@pytest.fixture(scope="module")
def whole(rest: Rest, execution: str) -> list[Frame]:
    """All events of it."""
    return rest.tail(execution)


def test_everything_comes_in_one_order(whole: list[Frame]) -> None:
    names = [frame.name for frame in whole if frame.name != "execution.queued"]
    assert names[:4] == [
        f"execution.{name}" for name in ("requested", "scheduled", "claimed", "started")
    ]
    assert names[-2:] == ["execution.finished", "end"]
    assert set(names[4:-2]) == {"output"}
    output = [frame.data for frame in whole if frame.event == "output"]
    assert [chunk["seq"] for chunk in output] == list(range(len(output)))
    assert all(set(chunk) == OUTPUT for chunk in output)
    assert written(whole, "stdout") == b"out1\nout2\nout3\n"
    assert written(whole, "stderr") == b"err1\nerr2\nerr3\n"
    assert whole[-1].data == {
        "status": "finished",
        "outcome": "failed",
        "exit_code": 2,
        "signal": None,
        "last_seq": len(output) - 1,
        "complete": True,
    }
    assert len({frame.id for frame in whole}) == len(whole)


def test_it_resumes_behind_every_event_without_loss_or_repetition(
    rest: Rest, execution: str, whole: list[Frame]
) -> None:
    for number, frame in enumerate(whole[:-1]):
        assert rest.tail(execution, Last_Event_ID=frame.id) == whole[number + 1 :]
        rest_of_it = rest.tail(execution, "?follow=false", Last_Event_ID=frame.id)
        assert rest_of_it == whole[number + 1 :]
    assert rest.tail(execution, Last_Event_ID=whole[-1].id) == []


def test_a_live_stream_and_one_that_resumes_again_and_again_show_the_same(rest: Rest) -> None:
    fields = {"function": SHELL, "input": SCRIPT}
    sse = {"Accept": "text/event-stream"}
    live = list(rest.frames("/executions", method="POST", document=fields, **sse))
    assert live[0].name == "execution.requested"
    execution = live[0].data["correlation_id"]
    assert rest.tail(execution) == live

    accepted = rest.run(SCRIPT)["id"]
    pieces: list[Frame] = []
    while not pieces or pieces[-1].event != "end":
        resume = {"Last_Event_ID": pieces[-1].id} if pieces else {}
        frames = rest.frames(f"/executions/{accepted}/tail", **resume)
        pieces.append(next(frames))
        frames.close()
    assert pieces == rest.tail(accepted)


def test_since_leaves_out_the_output_before(rest: Rest, execution: str, whole: list[Frame]) -> None:
    for since in (0, 1, 3):
        frames = rest.tail(execution, f"?since={since}")
        seqs = [frame.data["seq"] for frame in frames if frame.event == "output"]
        assert seqs == [
            frame.data["seq"]
            for frame in whole
            if frame.event == "output" and frame.data["seq"] >= since
        ]
        assert frames[-1] == whole[-1]
    beyond = rest.tail(execution, "?since=1000")
    assert [frame for frame in beyond if frame.event == "output"] == []
    assert beyond[-1].event == "end"


def test_without_following_it_stops_at_what_is_there(rest: Rest) -> None:
    execution = rest.run("echo there; sleep 600")["id"]
    rest.when(execution, "running")
    deadline = time.monotonic() + 60
    frames = rest.tail(execution, "?follow=false")
    while frames[-1].event != "output":
        assert time.monotonic() < deadline
        time.sleep(0.2)
        frames = rest.tail(execution, "?follow=false")
    assert written(frames, "stdout") == b"there\n"
    assert frames[-1].event == "output"
    rest.post(f"/executions/{execution}/cancel").json(202)
    end = rest.tail(execution, Last_Event_ID=frames[-1].id)
    assert [frame.name for frame in end] == [
        "execution.cancel_requested",
        "execution.finished",
        "end",
    ]
    assert end[-1].data["outcome"] == "cancelled"


def test_a_silent_stream_shows_that_it_lives(rest: Rest, sue: User) -> None:
    execution = rest.run("sleep 600")["id"]
    rest.when(execution, "running")
    pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(16))
    headers = {"Authorization": f"Bearer {sue.token}"}
    url = f"{rest.url}/v1/executions/{execution}/tail"
    answer = pool.request("GET", url, headers=headers, preload_content=False)
    seen = b""
    # A heartbeat comes at most 15 s after what came before; the socket's timeout would end this.
    while b"\n:" not in seen:
        seen += answer.read1(4096)
    answer.close()
    rest.post(f"/executions/{execution}/cancel")


@pytest.mark.parametrize(
    ("query", "headers", "code"),
    [
        ("?since=-1", {}, "invalid_request"),
        ("?since=x", {}, "invalid_request"),
        ("?follow=maybe", {}, "invalid_request"),
        ("", {"Last_Event_ID": "made-up"}, "invalid_cursor"),
        ("", {"Last_Event_ID": "A" * 40}, "invalid_cursor"),
    ],
)
def test_what_is_no_place_in_the_stream_is_refused(
    rest: Rest, execution: str, query: str, headers: dict[str, str], code: str
) -> None:
    rest.get(f"/executions/{execution}/tail{query}", **headers).problem(400, code)


def test_another_executions_resume_token_is_refused(rest: Rest, whole: list[Frame]) -> None:
    other = rest.finished(rest.run("echo other")["id"])["id"]
    answer = rest.get(f"/executions/{other}/tail", Last_Event_ID=whole[3].id)
    answer.problem(400, "invalid_cursor")


def test_a_stream_of_what_cannot_be_accepted_is_a_problem(rest: Rest) -> None:
    sse = {"Accept": "text/event-stream"}
    rest.post("/executions", {"function": "sue/missing"}, **sse).problem(404, "not_found")
    rest.post("/executions", {}, **sse).problem(422, "invalid_input")


def test_a_run_that_no_agent_can_take_ends_rejected_with_its_reason(rest: Rest) -> None:
    gpu = {"count": 3, "name": "*no such card*"}
    rest.deploy(source("wants-gpus", gpuCapable=True, gpu=gpu)).json(202)
    function = built(rest, "/functions/sue/wants-gpus/1.0.0")
    assert function["gpu"] == {**gpu, "memory": None, "compute_capability": None}
    accepted = rest.post("/executions", {"function": "sue/wants-gpus"}).json(202)
    frames = rest.tail(accepted["id"])
    names = [frame.name for frame in frames if frame.name != "execution.queued"]
    assert names == ["execution.requested", "execution.rejected", "end"]
    end = frames[-1].data
    assert (end["status"], end["outcome"], end["exit_code"]) == ("rejected", None, None)
    done = rest.finished(accepted["id"])
    assert "3 GPUs" in done["reason"]
    assert done["gpu"] == function["gpu"]
    assert (done["attempts"], done["started_at"], done["usage"]) == ([], None, None)
    without = rest.post("/executions", {"function": "sue/wants-gpus", "gpu": False}).json(202)
    assert rest.finished(without["id"])["outcome"] == "succeeded"


def test_output_of_many_mebibytes_streams_whole(rest: Rest) -> None:
    script = "head -c 8000000 /dev/zero | tr '\\0' x; head -c 1000000 /dev/zero >&2"
    execution = rest.run(script)["id"]
    frames = rest.tail(execution)
    assert written(frames, "stdout") == b"x" * 8_000_000
    assert written(frames, "stderr") == bytes(1_000_000)
    assert frames[-1].data["complete"] is True
    assert max(len(json.dumps(f.data)) for f in frames) < 400_000


def test_the_command_lines_tail_follows_stops_and_starts_later(sue: User, rest: Rest) -> None:
    execution = rest.run("echo one; sleep 2; echo two >&2; sleep 600")["id"]
    rest.when(execution, "running")
    process = sue.spawn("execution", "tail", execution)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(4) == b"one\n"
    assert process.stderr.read(4) == b"two\n"
    shown = sue.hermes("execution", "tail", execution, "--no-follow")
    assert (shown.returncode, shown.stdout) == (0, b"one\n")
    later = sue.hermes("execution", "tail", execution, "--no-follow", "--since", "1")
    assert (later.stdout, later.stderr) == (b"", b"two\n")
    sue.ok("execution", "cancel", execution)
    process.communicate(timeout=60)
    lines = sue.ok("execution", "tail", execution, "--json").splitlines()
    frames = [json.loads(line) for line in lines]
    assert all(set(frame) == {"event", "id", "data"} for frame in frames)
    assert frames[-1]["event"] == "end"
    assert sue.hermes("execution:tail", execution).stdout == b"one\n"
