"""Rebuilding views: ask for it, show how far it is, say how it ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from cli import exit_codes
from cli.problem import Problem
from cli.refs import path
from cli.session import Session

_POLL = 0.3
#: Seconds in which the projector has to take the request up.
_START = 30.0


def views(session: Session) -> list[dict[str, Any]]:
    """All projections: name, status, lag, error, rebuild."""
    items: list[dict[str, Any]] = session.client.request("GET", "/v1/projections").json()["items"]
    return items


def rebuild_all(session: Session, names: Sequence[str]) -> int:
    """Rebuild one after another; the exit code is a failure if one was not verified."""
    results = []
    for name in names:
        session.client.request("POST", path("projections", name, "rebuild"))
        results.append(_follow(session, name))
    if session.json:
        session.out.document(results)
    verified = all(result["verified"] for result in results)
    return exit_codes.OK if verified else exit_codes.FAILURE


def _follow(session: Session, name: str) -> dict[str, Any]:
    deadline = time.monotonic() + _START
    shown = ""
    while True:
        progress = _progress(session, name)
        state = str(progress.get("status") or "requested")
        if state in ("done", "failed"):
            return _result(session, name, progress)
        if state == "requested" and time.monotonic() > deadline:
            raise Problem("the rebuild does not start", f"{name}: is the projector running?")
        text = f"{name}: {state}, {progress.get('events_done', 0)} events"
        if text != shown and not session.json:
            session.out.note(text)
            shown = text
        time.sleep(_POLL)


def _progress(session: Session, name: str) -> dict[str, Any]:
    for view in views(session):
        if view.get("name") == name:
            return view.get("rebuild") or {}
    raise Problem("not found", f"there is no projection {name!r}", code="not_found", status=404)


def _result(session: Session, name: str, progress: dict[str, Any]) -> dict[str, Any]:
    events, verified = progress.get("events_done"), bool(progress.get("verified"))
    if not session.json:
        if verified:
            session.out.line(f"{name}: verified, swapped ({events} events)")
        else:
            cause = progress.get("error") or f"{progress.get('differences')} rows differ"
            session.out.line(f"{name}: failed: {cause}; the old view still serves")
    return {"name": name, "events": events, "verified": verified}
