"""Exit codes: one table for every command, and what `hermes run` makes of an execution's end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

OK: Final = 0
FAILURE: Final = 1
USAGE: Final = 2
FORBIDDEN: Final = 3
NOT_FOUND: Final = 4
CONFLICT: Final = 5
UNREACHABLE: Final = 6
TIMED_OUT: Final = 124
HERMES_FAILED: Final = 125
DETACHED: Final = 130
SIGNAL_BASE: Final = 128
BROKEN_PIPE: Final = SIGNAL_BASE + 13

_BY_STATUS: Final = {
    400: USAGE,
    401: FORBIDDEN,
    403: FORBIDDEN,
    404: NOT_FOUND,
    409: CONFLICT,
    413: USAGE,
    415: USAGE,
    416: USAGE,
    422: USAGE,
    502: UNREACHABLE,
    503: UNREACHABLE,
    504: UNREACHABLE,
}


def for_status(status: int) -> int:
    """The exit code for an HTTP status that is an error."""
    return _BY_STATUS.get(status, FAILURE)


def for_refused_run(exit_code: int) -> int:
    """A run that was never accepted ends with 2 to 6: 1 would look like the program's own code."""
    return UNREACHABLE if exit_code == FAILURE else exit_code


def for_end(end: Mapping[str, Any]) -> int:
    """The exit code of `hermes run` for the data of the tail's `end` event."""
    outcome = end.get("outcome")
    if outcome == "succeeded":
        return OK
    if outcome == "timed_out":
        return TIMED_OUT
    if outcome != "failed":
        return HERMES_FAILED
    if end.get("exit_code") is not None:
        return int(end["exit_code"]) & 0xFF
    if end.get("signal") is not None:
        return SIGNAL_BASE + int(end["signal"])
    return FAILURE
