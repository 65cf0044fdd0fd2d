"""The tail itself, in this process: what only shows with other time limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import client as client_module
from cli import tail as tail_module
from cli.client import Client
from cli.problem import Problem
from cli.sse import Frame
from cli.store import Positions
from cli.tail import Tail, decode
from tests.support.fake_api import FakeApi
from tests.support.fake_executions import Script, chunk
from tests.support.fake_shapes import problem

ID = "01890000-0000-7000-8000-00000000000a"
PATH = f"/v1/executions/{ID}/tail"


@pytest.fixture
def client(api: FakeApi, tmp_path: Path) -> Client:
    api.add_execution(ID, Script(output=[("stdout", b"a", 0.1), ("stdout", b"b", 0.2)]))
    return Client(api.url, "token-of-ana", Positions(tmp_path))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(client_module, "STREAM_TIMEOUT", 0.3)
    monkeypatch.setattr(tail_module, "BACKOFF", (0.01, 0.01, 0.01))
    yield


def read(client: Client) -> tuple[list[str], list[str]]:
    """The events' names and the notes."""
    notes: list[str] = []
    tail = Tail(client, PATH, notify=notes.append)
    return [entry.event for entries in tail.batches() for entry in entries], notes


EVENTS = ["event", "event", "output", "output", "event", "end"]


@pytest.mark.usefixtures("impatient")
def test_a_connection_that_falls_silent_is_given_up_and_resumed(
    api: FakeApi, client: Client
) -> None:
    api.cuts, api.cuts_are_silent = [3], True
    events, notes = read(client)
    assert events == EVENTS
    assert notes == ["no answer in time; trying again"]


@pytest.mark.usefixtures("impatient")
def test_a_tail_that_gets_nowhere_gives_up_in_the_end(api: FakeApi, client: Client) -> None:
    api.cuts = [2] + [0] * 10
    with pytest.raises(Problem, match="gave up after 4 tries") as caught:
        read(client)
    assert caught.value.exit_code == 6
    assert len(api.asked("GET", PATH)) == 4


@pytest.mark.usefixtures("impatient")
def test_every_event_that_comes_through_starts_the_tries_anew(api: FakeApi, client: Client) -> None:
    api.cuts = [0, 0, 1, 0, 0, 1, 0, 0, 1]
    assert read(client)[0] == EVENTS


def test_output_that_comes_twice_is_taken_once(api: FakeApi, client: Client) -> None:
    again = ("output", chunk(0, "stdout", 0, b"a", 0.1))
    api.executions[ID].frames.insert(3, again)
    assert read(client)[0] == EVENTS


def test_a_resume_token_that_is_refused_ends_the_tail(api: FakeApi, client: Client) -> None:
    api.cuts = [3]
    tail = Tail(client, PATH, notify=lambda _: None)
    batches = tail.batches()
    next(batches)
    api.instead = [("GET", PATH, lambda: problem("invalid_cursor", 400, "No such token"))]
    with pytest.raises(Problem, match="No such token"):
        list(batches)


@pytest.mark.parametrize("data", ["", "[]", "{"])
def test_a_stream_of_nonsense_is_told(client: Client, data: str) -> None:
    with pytest.raises(Problem, match="not JSON"):
        decode(Frame("event", "", data))
