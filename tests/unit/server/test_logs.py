"""Log lines hold no secret and stay one line."""

from __future__ import annotations

import logging

from hermes.server.logs import OneLine, Seldom


def line(message: str, *args: object) -> str:
    record = logging.LogRecord("hermes", logging.WARNING, "", 0, message, args, None)
    return OneLine("%(levelname)s %(message)s").format(record)


def test_tokens_and_passwords_are_redacted() -> None:
    shown = line("got %s from %s", "hms_abc-DEF_123", "postgresql://hermes:secret@127.0.0.1/x")
    assert shown == "WARNING got [redacted] from postgresql://[redacted]@127.0.0.1/x"
    assert line("Authorization: Bearer abc") == "WARNING Authorization: [redacted]"


def test_a_record_is_one_printable_line() -> None:
    assert line("a\nb\x1b[31mred\x00") == "WARNING a | b?[31mred?"


def test_a_repeated_message_passes_seldom() -> None:
    seldom = Seldom(period=5.0)
    record = logging.LogRecord("aiokafka", logging.ERROR, "", 0, "away %s", ("x",), None)
    record.created = 100.0
    assert [seldom.filter(record), seldom.filter(record)] == [True, False]
    record.created = 106.0
    assert seldom.filter(record)
