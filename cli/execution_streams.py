"""An execution's streams: its tail, its replay, its events."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from cli.client import Query
from cli.problem import usage
from cli.program_output import TailPrinter, describe_end
from cli.refs import path
from cli.session import Session
from cli.tail import Entry, Tail
from cli.when import local, parse_time


def show_tail(session: Session, target: str, query: Query, *, raw: bool) -> None:
    """Output and, for programs, all events; until the end, or what is there."""
    printer = TailPrinter(session.out, raw=raw)
    for entries in Tail(session.client, target, query=query, notify=session.out.note).batches():
        printer.show(entries)
    _close(session, printer)


def show_replay(session: Session, target: str, speed: float | None, *, raw: bool) -> None:
    """The same entries with the pauses that lay between them; `speed` None = no pauses."""
    printer = TailPrinter(session.out, raw=raw)
    query = [("follow", "false")]
    pace = Pace(speed)
    for entries in Tail(session.client, target, query=query, notify=session.out.note).batches():
        for entry in entries:
            pace.wait_for(entry)
            printer.show([entry])
    _close(session, printer)


class Pace:
    """When an entry is due: as long after the first one as it was then, divided by the speed."""

    def __init__(self, speed: float | None) -> None:
        self._speed = speed
        self._first: tuple[datetime, float] | None = None

    def wait_for(self, entry: Entry) -> None:
        """Sleep until the entry is due."""
        moment = parse_time(str(entry.data.get("time") or entry.data.get("occurred_at") or ""))
        if self._speed is None or moment is None:
            return
        if self._first is None:
            if entry.event == "output" or entry.data.get("kind") == "execution.started":
                self._first = (moment, time.monotonic())
            return
        then, begun = self._first
        due = begun + (moment - then).total_seconds() / self._speed
        time.sleep(max(due - time.monotonic(), 0.0))


def parse_speed(text: str) -> float | None:
    """A factor above 0; None for `max`."""
    if text == "max":
        return None
    try:
        speed = float(text.removesuffix("x"))
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise usage(f"--speed {text!r} is no speed; write a number above 0, such as 10, or max")
    return speed


def show_events(session: Session, execution_id: str, *, follow: bool) -> None:
    """The events in the order of the log; then, following, those that come."""
    events_path = path("executions", execution_id, "events")
    events = list(session.client.pages(events_path, limit=None))
    if session.json:
        for event in events:
            session.out.document(event)
    elif not follow:
        session.out.rows(_COLUMNS, map(_row, events))
    else:
        session.out.line(_LINE.format(*_COLUMNS).rstrip())
        for event in events:
            session.out.line(_LINE.format(*_row(event)).rstrip())
    if follow:
        _follow_events(session, execution_id, {_place(event) for event in events})


def _follow_events(session: Session, execution_id: str, seen: set[tuple[Any, ...]]) -> None:
    tail = Tail(session.client, path("executions", execution_id, "tail"), notify=session.out.note)
    for entries in tail.batches():
        for entry in entries:
            place = _place(entry.data)
            if entry.event != "event" or place in seen:
                continue
            seen.add(place)
            if session.json:
                session.out.document(entry.data)
            else:
                session.out.line(_LINE.format(*_row(entry.data)).rstrip())


_COLUMNS = ("TIME", "EVENT", "ATTEMPT", "TOPIC", "PARTITION", "OFFSET", "ACTOR", "NOTE")
#: Fixed widths, for rows that come one by one.
_LINE = "{:<19}  {:<28}  {:<7}  {:<28}  {:<9}  {:<8}  {:<16}  {}"


def _row(event: dict[str, Any]) -> tuple[str, ...]:
    position = event.get("position") or {}
    data = event.get("data") or {}
    attempt = data.get("attempt")
    notes = [str(data[key]) for key in ("outcome", "reason") if data.get(key)]
    if event.get("superseded"):
        notes.insert(0, "superseded")
    return (
        local(event.get("occurred_at")),
        f"{event.get('kind')}/{event.get('version')}",
        "" if attempt is None else str(attempt),
        str(position.get("topic", "")),
        str(position.get("partition", "")),
        str(position.get("offset", "")),
        _actor(event.get("actor")),
        ", ".join(notes),
    )


def _actor(actor: Any) -> str:
    if isinstance(actor, dict):
        return str(actor.get("name") or actor.get("id") or "")
    return str(actor or "")


def _place(event: dict[str, Any]) -> tuple[Any, ...]:
    position = event.get("position") or {}
    return (position.get("topic"), position.get("partition"), position.get("offset"))


def _close(session: Session, printer: TailPrinter) -> None:
    printer.finish()
    words = describe_end(printer.end) if printer.end and not session.json else None
    if words:
        session.out.note(words)
