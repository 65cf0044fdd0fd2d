"""Log lines: one per record, without secrets, without control characters."""

from __future__ import annotations

import logging
import re
import sys

_SECRETS = re.compile(r"hms_[A-Za-z0-9_-]+|(?<=://)[^/@\s]+(?=@)|(?i:bearer)\s+\S+")
_OUTAGE_PERIOD = 5.0


class OneLine(logging.Formatter):
    """Redacts tokens and passwords in URLs, and keeps a record, traceback included, on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one printable line."""
        line = _SECRETS.sub("[redacted]", super().format(record)).replace("\n", " | ")
        return "".join(c if c.isprintable() else "?" for c in line)


class Seldom(logging.Filter):
    """Lets the same message of a library pass once in a while: an outage repeats it endlessly."""

    def __init__(self, period: float = _OUTAGE_PERIOD) -> None:
        super().__init__()
        self._period = period
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written."""
        last = self._last.get(record.msg, float("-inf"))
        if record.created - last < self._period:
            return False
        if len(self._last) > 1000:
            self._last.clear()
        self._last[record.msg] = record.created
        return True


def configure_logging() -> None:
    """Warnings and above to stderr; Kafka's client seldom repeats itself."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    seldom = Seldom()
    for name in ("aiokafka", "kafka"):
        logging.getLogger(name).setLevel(logging.WARNING)
    handler.addFilter(lambda r: not r.name.startswith("aiokafka") or seldom.filter(r))
