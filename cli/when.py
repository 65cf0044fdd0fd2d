"""Times: RFC 3339 or an age on the way in, local time on the way out."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from cli.problem import usage

_AGE = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_when(text: str, flag: str, now: datetime | None = None) -> str:
    """RFC 3339 UTC for `text`: a time (`2026-01-31T12:00:00Z`) or an age (`90s 10m 2h 7d`)."""
    age = _AGE.fullmatch(text)
    try:
        if age:
            span = timedelta(seconds=float(age[1]) * _SECONDS[age[2]])
            moment = (now or datetime.now(UTC)) - span
        else:
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None:
                raise ValueError("without an offset it could mean any time zone")
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise usage(
            f"{flag} {text!r} is no time; write RFC 3339 such as 2026-01-31T12:00:00Z, "
            "or an age such as 90s, 10m, 2h or 7d"
        ) from None
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime | None:
    """The moment that a server's time means; None where it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, TypeError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def local(text: str | None) -> str:
    """A server's time in the reader's time zone, to the second; a dash where there is none."""
    moment = parse_time(text) if text else None
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else "-"


def elapsed(start: str | None, end: str | None) -> str:
    """How long something took (or takes, without an end), as people write it."""
    begun = parse_time(start) if start else None
    if begun is None:
        return "-"
    over = (parse_time(end) if end else None) or datetime.now(UTC)
    return duration(max((over - begun).total_seconds(), 0.0))


def duration(seconds: float) -> str:
    """Seconds as `1.234 s`, `2 m 05 s` or `3 h 04 m`."""
    if seconds < 60:
        return f"{seconds:.3f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} m"
