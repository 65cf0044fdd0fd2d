"""A synchronous run: request, stream, Ctrl-C, end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli import exit_codes
from cli.client import encode, json_headers
from cli.problem import Problem
from cli.program_output import TailPrinter, describe_end
from cli.prompts import ask, is_interactive
from cli.refs import path
from cli.session import Session
from cli.tail import Entry, Interrupts, Tail

#: A tail asked for right after the acceptance may be ahead of the views for a moment.
_PATIENCE = 30.0
_UNKNOWN = "detached before Hermes said which execution it is; see: hermes execution list"


class _Run:
    """One execution from its acceptance on."""

    def __init__(self, session: Session, tail: Tail, interrupts: Interrupts, raw: bool) -> None:
        self._session = session
        self._tail = tail
        self._interrupts = interrupts
        self._printer = TailPrinter(session.out, raw=raw)
        self._timeout: float | None = None
        self.id: str | None = None

    def accepted_at(self, location: str | None) -> None:
        """Take the id from the answer's `Location`, should the stream break before its events."""
        name = (location or "").rstrip("/").rpartition("/")[2]
        if name:
            self._identify(name)

    def to_the_end(self) -> int:
        """Show everything; the exit code. Ctrl-C asks whether to detach or cancel."""
        while True:
            try:
                for entries in self._tail.batches():
                    self._learn(entries)
                    self._printer.show(entries)
                break
            except KeyboardInterrupt:
                if self.id is None or not self._wants_cancel():
                    return self._detached()
                self._cancel()
        self._printer.finish()
        return self._ended(self._printer.end or {})

    def _learn(self, entries: list[Entry]) -> None:
        """What the events tell about the execution: its id, its limits, its place in the log."""
        for entry in entries:
            if entry.event != "event":
                continue
            data = entry.data.get("data") or {}
            if entry.data.get("kind") == "execution.requested" and data.get("execution_id"):
                self._identify(str(data["execution_id"]))
                self._timeout = (data.get("limits") or {}).get("time")
            if entry.data.get("kind") in ("execution.finished", "execution.rejected"):
                self._session.client.advance(entry.data.get("position") or {})

    def _identify(self, execution_id: str) -> None:
        self.id = execution_id
        self._tail.path = path("executions", execution_id, "tail")

    def _wants_cancel(self) -> bool:
        self._interrupts.cleared()
        if not is_interactive():
            return False
        try:
            with self._interrupts.waiting():
                answer = ask("\nDetach (it runs on) or cancel? [d/c]", "--async")
        except KeyboardInterrupt:
            return False
        return answer.strip().lower().startswith("c")

    def _cancel(self) -> None:
        assert self.id is not None
        try:
            self._session.client.request("POST", path("executions", self.id, "cancel"))
        except Problem as problem:
            if problem.code != "already_finished":
                self._session.out.note(f"not cancelled: {problem}")

    def _detached(self) -> int:
        self._printer.finish()
        if self.id is None:
            words = _UNKNOWN
        else:
            follow = f"hermes execution tail {self.id}"
            words = f"detached from {self.id}; it runs on, follow it with: {follow}"
        self._session.out.note(words)
        return exit_codes.DETACHED

    def _ended(self, end: dict[str, Any]) -> int:
        if self._session.json and self.id is not None:
            execution = self._session.client.get(path("executions", self.id)).json()
            self._session.out.document(execution)
            return exit_codes.for_end(end)
        words = describe_end(end, self._timeout)
        if words:
            self._session.out.note(words)
        if end.get("complete") is False:
            self._session.out.note("some of the output is missing")
        return exit_codes.for_end(end)


def follow_new_execution(
    session: Session, body: Mapping[str, Any], headers: Mapping[str, str], *, raw: bool
) -> int:
    """POST the request and stay until the execution ends; the exit code of `hermes run`."""
    interrupts = Interrupts()
    with interrupts.caught():
        try:
            with interrupts.waiting():
                stream = session.client.stream(
                    "POST",
                    "/v1/executions",
                    body=encode(body),
                    headers=json_headers({"Accept": "text/event-stream", **headers}),
                )
        except KeyboardInterrupt:
            session.out.note(_UNKNOWN)
            return exit_codes.DETACHED
        tail = Tail(
            session.client,
            None,
            opened=stream,
            notify=session.out.note,
            interrupts=interrupts,
            patient=_PATIENCE,
        )
        run = _Run(session, tail, interrupts, raw)
        run.accepted_at(stream.headers.get("Location"))
        try:
            return run.to_the_end()
        except Problem as problem:
            if run.id is not None:
                # Accepted is accepted: from here on a failure to watch is no refusal to run.
                problem.detail += f"; follow it with: hermes execution tail {run.id}"
                problem.exit_code = exit_codes.HERMES_FAILED
            raise
