"""Bytes at the edge: JSON records to events and back. Never raises on what a stranger wrote."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from hermes.domain.events import CATALOGUE, Event, EventData, Malformed
from hermes.domain.ids import is_id
from hermes.domain.times import timestamp
from hermes.errors import LogError

MAX_EVENT_BYTES = 1024 * 1024
# An escaped NUL: legal JSON, but no PostgreSQL text can hold it, and no event of ours has one.
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class _Envelope(msgspec.Struct, kw_only=True):
    id: str
    kind: str
    occurred_at: datetime
    actor: str = ""
    causation_id: str | None = None
    correlation_id: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Written(msgspec.Struct):
    id: str
    kind: str
    occurred_at: str
    actor: str
    causation_id: str | None
    correlation_id: str | None
    data: EventData


_encoder = msgspec.json.Encoder()
_envelope = msgspec.json.Decoder(_Envelope)
_data: dict[str, msgspec.json.Decoder[EventData]] = {
    kind: msgspec.json.Decoder(cls) for kind, cls in CATALOGUE.items()
}
_newest: dict[str, int] = {}
for _kind in CATALOGUE:
    _name, _, _version = _kind.partition("/")
    _newest[_name] = max(_newest.get(_name, 0), int(_version))


def encode(event: Event) -> bytes:
    """The record's value: one JSON object, times in UTC with microseconds."""
    return _encoder.encode(
        _Written(
            event.id,
            event.kind,
            timestamp(event.occurred_at),
            event.actor,
            event.causation_id,
            event.correlation_id,
            event.data,
        )
    )


def decode(value: bytes | None) -> Event | Malformed:
    """The event in a record's value, or why there is none.

    Raises LogError only for a newer version of a known kind: whoever reads on would fold wrongly.
    """
    if value is None or len(value) > MAX_EVENT_BYTES:
        return Malformed("no value, or one over 1 MiB")
    if b"\\u0000" in value and _ESCAPED_NUL.search(value):
        return Malformed("holds a NUL character")
    try:
        envelope = _envelope.decode(value)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        return Malformed(f"not an event: {error}")
    decoder = _data.get(envelope.kind)
    if decoder is None:
        _refuse_newer_version(envelope.kind)
        return Malformed(f"unknown kind {envelope.kind[:100]!r}")
    try:
        data = decoder.decode(envelope.data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        return Malformed(f"{envelope.kind}: {error}")
    if not is_id(envelope.id):
        return Malformed("its id is not a UUIDv7")
    if envelope.occurred_at.tzinfo is None:
        return Malformed("occurred_at has no time zone")
    try:
        occurred_at = envelope.occurred_at.astimezone(UTC)
    except OverflowError:
        return Malformed("occurred_at lies outside the calendar")
    return Event(
        id=envelope.id,
        kind=envelope.kind,
        occurred_at=occurred_at,
        actor=envelope.actor,
        causation_id=envelope.causation_id,
        correlation_id=envelope.correlation_id,
        data=data,
    )


def _refuse_newer_version(kind: str) -> None:
    name, _, version = kind.partition("/")
    if name in _newest and version.isascii() and version.isdigit() and len(version) < 9:
        if int(version) > _newest[name]:
            raise LogError(f"the log holds {kind}, newer than this Hermes knows: upgrade it")


def data_as_json(data: EventData) -> dict[str, Any]:
    """The fact as plain JSON values, as REST and the views show it."""
    result: dict[str, Any] = msgspec.to_builtins(data)
    return result
