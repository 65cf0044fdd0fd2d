"""A tail that outlives its connection: it resumes where it stood, no byte lost or doubled."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

from cli.client import Client, ConnectionLost, Query, Stream
from cli.problem import Problem
from cli.sse import BrokenStream, Frame, Parser

#: Pauses between tries in seconds, 27 s in all; an event that comes through starts them anew.
BACKOFF = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0)
#: Answers that may be another one soon: a server that starts, a broker away.
_PASSING = frozenset({429, 500, 502, 503, 504})


class Entry(NamedTuple):
    """One event of a tail, with its data decoded. `id` resumes after it."""

    event: str
    id: str
    data: dict[str, Any]


class Interrupts:
    """Ctrl-C that cannot tear an event apart: it lands while waiting, never while writing.

    The second Ctrl-C lands at once, so a blocked terminal holds nobody up.
    """

    def __init__(self) -> None:
        self._waiting = False
        self._pending = 0

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Within this block SIGINT is ours, unless our parent had it ignored (`nohup`, `&`)."""
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
            yield
            return
        before = signal.signal(signal.SIGINT, self._handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Within this block KeyboardInterrupt may be raised."""
        self._waiting = True
        try:
            if self._pending:
                raise KeyboardInterrupt
            yield
        finally:
            self._waiting = False

    def cleared(self) -> None:
        """The user was heard; the next Ctrl-C is a first one again."""
        self._pending = 0

    def _handle(self, _signal: int, _frame: FrameType | None) -> None:
        self._pending += 1
        if self._waiting or self._pending > 1:
            raise KeyboardInterrupt


class Tail:
    """The events of one execution or build, in order, across as many connections as it takes.

    `opened` is a stream that is there already; `path` may then be None until an event tells it.
    `patient` = seconds in which 404 means "not yet".
    """

    def __init__(
        self,
        client: Client,
        path: str | None,
        *,
        notify: Callable[[str], None],
        query: Query = (),
        opened: Stream | None = None,
        interrupts: Interrupts | None = None,
        patient: float = 0.0,
    ) -> None:
        self._client = client
        self.path = path
        self._query = query
        self._follow = ("follow", "false") not in query
        self._opened = opened
        self._notify = notify
        self._interrupts = interrupts or Interrupts()
        self._patient_until = time.monotonic() + patient
        self._resume: str | None = None
        self._seen: tuple[int, int] = (-1, -1)

    def batches(self) -> Iterator[list[Entry]]:
        """Events in batches as they arrive, until `end`, or what is there if not following."""
        failures = 0
        while True:
            try:
                for entries in self._connection():
                    failures = 0
                    yield entries
                    if entries[-1].event == "end":
                        return
                if not self._follow:
                    return
                raise ConnectionLost("the server ended the tail early")
            except ConnectionLost as error:
                cause = str(error)
            except Problem as problem:
                if not self._may_pass(problem):
                    raise
                cause = problem.title
            if failures == len(BACKOFF) or self.path is None:
                raise Problem(
                    "connection lost",
                    f"{cause}; gave up after {failures + 1} tries",
                    code="unavailable",
                    status=503,
                )
            if failures or self._resume:
                self._notify(f"{cause}; trying again")
            with self._interrupts.waiting():
                time.sleep(BACKOFF[failures])
            failures += 1

    def _connection(self) -> Iterator[list[Entry]]:
        stream = self._opened or self._open()
        self._opened = None
        parser = Parser()
        chunks = stream.chunks()
        try:
            while True:
                with self._interrupts.waiting():
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                decoded = [decode(frame) for frame in parser.feed(chunk)]
                entries = [entry for entry in decoded if not self._repeated(entry)]
                if entries:
                    self._resume = entries[-1].id or self._resume
                    yield entries
        except BrokenStream as error:
            raise Problem("unexpected answer", str(error)) from None
        finally:
            stream.close()

    def _open(self) -> Stream:
        headers = {"Accept": "text/event-stream"}
        query = self._query
        if self._resume:
            headers["Last-Event-ID"] = self._resume
            query = [pair for pair in query if pair[0] != "since"]
        with self._interrupts.waiting():
            assert self.path is not None
            return self._client.stream("GET", self.path, query=query, headers=headers)

    def _repeated(self, entry: Entry) -> bool:
        """Whether this output was had before: its place in the stream is the last word."""
        if entry.event != "output":
            return False
        place = (int(entry.data.get("attempt") or 0), int(entry.data.get("seq") or 0))
        if place <= self._seen:
            return True
        self._seen = place
        return False

    def _may_pass(self, problem: Problem) -> bool:
        if problem.status == 404:
            return time.monotonic() < self._patient_until
        return problem.status in _PASSING and (self._resume is not None or problem.status != 503)


def decode(frame: Frame) -> Entry:
    """The event with its data; a Problem where that is no JSON object."""
    try:
        data = json.loads(frame.data)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise Problem("unexpected answer", f"the data of a {frame.event!r} event is not JSON")
    return Entry(frame.event, frame.id, data)
