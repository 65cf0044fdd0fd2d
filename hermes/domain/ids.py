"""Ids that sort by time (UUIDv7, RFC 9562) and the ids derived from them."""

from __future__ import annotations

import hashlib
import os
import re
import time
import uuid

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\Z")
ID_PREFIX = re.compile(r"[0-9a-f][0-9a-f-]{0,35}\Z")

_MOST_AHEAD_NS = 60 * 1_000_000_000
_last_ns = 0


def new_id() -> str:
    """A fresh UUIDv7; ids made by one process rise strictly, unless its clock is set far back.

    The 12 bits after the version hold the fraction of the millisecond (RFC 9562, method 3).
    """
    global _last_ns
    now = time.time_ns()
    ns = max(now, _last_ns + 250)
    if ns - now > _MOST_AHEAD_NS:
        # The clock was set back. Ids of a time that is yet to come would fit nowhere.
        ns = now
    _last_ns = ns
    ms, fraction = divmod(ns, 1_000_000)
    rand = int.from_bytes(os.urandom(8), "big")
    return _assemble(ms, fraction * 4096 // 1_000_000, rand)


def derived_id(parent: str, purpose: str) -> str:
    """The one id that `purpose` has for the event `parent`: the same time, bits from a hash.

    So a reaction that runs twice appends the same id twice, and the fold keeps the first.
    """
    digest = hashlib.sha256(f"{parent}/{purpose}".encode()).digest()
    return _assemble(
        id_time_ms(parent),
        int.from_bytes(digest[:2], "big"),
        int.from_bytes(digest[2:10], "big"),
    )


def _assemble(ms: int, rand_a: int, rand_b: int) -> str:
    value = (ms & (1 << 48) - 1) << 80 | 0x7 << 76 | (rand_a & 0xFFF) << 64
    value |= 0b10 << 62 | (rand_b & (1 << 62) - 1)
    return str(uuid.UUID(int=value))


def is_id(text: str) -> bool:
    """Whether `text` is a UUIDv7 in its canonical lower-case form."""
    return UUID7.match(text) is not None


def is_id_prefix(text: str) -> bool:
    """Whether some execution id could start so."""
    return ID_PREFIX.match(text) is not None


def id_time_ms(text: str) -> int:
    """Milliseconds since 1970 that a UUIDv7 carries."""
    return int(text[:8] + text[9:13], 16)
