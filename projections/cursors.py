"""Opaque cursors: where the next page of a list begins.

A cursor gives no right to anything (every query is scoped anew), so it is checked, not signed: a
digest over the list that it belongs to refuses garbage and cursors of other lists.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TypeVar

import msgspec

from hermes.errors import InvalidCursor

_DIGEST = 8
_LONGEST = 2000

T = TypeVar("T")


def write_cursor(place: msgspec.Struct, *scope: object) -> str:
    """A cursor at `place` for the list that `scope` names."""
    payload = msgspec.json.encode(place)
    raw = _digest(payload, scope) + payload
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def read_cursor(text: str, kind: type[T], *scope: object) -> T:
    """The place in a cursor that was written for this list. Raises InvalidCursor."""
    try:
        if len(text) > _LONGEST:
            raise ValueError("too long")
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        digest, payload = raw[:_DIGEST], raw[_DIGEST:]
        if digest != _digest(payload, scope):
            raise ValueError("another list's, or damaged")
        return msgspec.json.decode(payload, type=kind)
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise InvalidCursor from None


def _digest(payload: bytes, scope: tuple[object, ...]) -> bytes:
    return hashlib.sha256(repr(scope).encode() + b"\n" + payload).digest()[:_DIGEST]
