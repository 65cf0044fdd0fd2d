"""JSON as RFC 8259 writes it. `json.loads` alone takes NaN, 1e400, UTF-16 and repeated keys."""

from __future__ import annotations

import codecs
import json
import math
from collections import Counter
from typing import Any

_MAX_DIGITS = 40


class JsonError(ValueError):
    """The bytes are not strict JSON; the message says why."""


class JsonObject(dict[str, Any]):
    """An object that remembers which of its keys were given more than once."""

    repeated: tuple[str, ...] = ()


def parse_json(data: bytes) -> Any:
    """The value in `data`; objects come as JsonObject. Raises JsonError, nothing else.

    Numbers beyond a double come as infinity, so that the field's own check can name the field.
    """
    if data.startswith(codecs.BOM_UTF8):
        raise JsonError("starts with a byte order mark: save it as UTF-8 without BOM")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:4]:
        raise JsonError("is UTF-16 or UTF-32: save it as UTF-8")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError(f"is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    try:
        return json.loads(
            text, object_pairs_hook=_object, parse_int=_int, parse_constant=_no_constant
        )
    except json.JSONDecodeError as error:
        raise JsonError(
            f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from None
    except RecursionError:
        raise JsonError("is nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = JsonObject(pairs)
    if len(found) != len(pairs):
        times = Counter(key for key, _ in pairs)
        found.repeated = tuple(key for key, count in times.items() if count > 1)
    return found


def _int(digits: str) -> int | float:
    # Python refuses to read thousands of digits at once, and nobody means such a number.
    if len(digits) > _MAX_DIGITS:
        return -math.inf if digits.startswith("-") else math.inf
    return int(digits)


def _no_constant(name: str) -> Any:
    raise JsonError(f"is not JSON: {name} is no JSON value")
