"""Strict JSON of a request: one object, no repeated keys, bounded, each field checked by name."""

from __future__ import annotations

import asyncio
import math
from typing import Any, NoReturn

from aiohttp import web

from hermes.errors import (
    FieldProblem,
    InvalidInput,
    InvalidRequest,
    TooLarge,
    UnsupportedMediaType,
)
from hermes.packages.strict_json import JsonError, JsonObject, parse_json

_BODY_PATIENCE = 60.0
_TYPES = {str: "a string", bool: "true or false", float: "a number"}


def refuse_content_encoding(request: web.Request) -> None:
    """A compressed body could unpack to anything. Raises UnsupportedMediaType."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("Content-Encoding is not accepted: send the body as it is")


async def read_body(request: web.Request, limit: int) -> bytes:
    """The whole body of at most `limit` bytes. Raises TooLarge, UnsupportedMediaType, or
    InvalidRequest if it does not come in time."""
    refuse_content_encoding(request)
    if request.content_length is not None and request.content_length > limit:
        raise TooLarge(f"the body may have {limit} bytes")
    pieces, size = [], 0
    try:
        async with asyncio.timeout(_BODY_PATIENCE):
            async for piece in request.content.iter_any():
                size += len(piece)
                if size > limit:
                    raise TooLarge(f"the body may have {limit} bytes")
                pieces.append(piece)
    except TimeoutError:
        raise InvalidRequest(f"the body took longer than {_BODY_PATIENCE:.0f} s") from None
    return b"".join(pieces)


class Fields:
    """An object's fields, taken one by one; unknown ones are ignored, as clients may be newer.

    Every problem is collected; `check` raises them together.
    """

    def __init__(self, document: JsonObject) -> None:
        self._document = document
        self.problems: list[FieldProblem] = []

    def text(self, name: str, *, required: bool = False) -> str | None:
        """A string that is valid Unicode."""
        value = self._take(name, str, required)
        if value is None:
            return None
        try:
            value.encode()
        except UnicodeEncodeError:
            self.problem(name, "holds half of a surrogate pair")
            return None
        return str(value)

    def number(self, name: str) -> float | None:
        """A finite number above 0."""
        value = self._document.get(name)
        if value is None:
            return None
        if type(value) not in (int, float) or not math.isfinite(value) or value <= 0:
            self.problem(name, "must be a number above 0")
            return None
        return float(value)

    def any(self, name: str) -> Any:
        """Whatever stands there."""
        return self._document.get(name)

    def problem(self, name: str, message: str) -> None:
        """Note what is wrong with a field."""
        self.problems.append(FieldProblem(name, message))

    def check(self) -> None:
        """Raises InvalidInput if anything was wrong."""
        if self.problems:
            refuse(*self.problems)

    def _take(self, name: str, kind: type, required: bool) -> Any:
        value = self._document.get(name)
        if value is None:
            if required:
                self.problem(name, "is missing")
            return None
        if type(value) is not kind:
            self.problem(name, f"must be {_TYPES[kind]}")
            return None
        return value


def fields_of(body: bytes) -> Fields:
    """The fields of a JSON object. Raises InvalidRequest for anything but one strict object."""
    try:
        document = parse_json(body)
    except JsonError as error:
        raise InvalidRequest(f"the body {error}") from None
    if type(document) is not JsonObject:
        raise InvalidRequest("the body must be one JSON object")
    _refuse_repeated_keys(document)
    return Fields(document)


def refuse(*problems: FieldProblem) -> NoReturn:
    """Raises InvalidInput that names the fields."""
    detail = "; ".join(f"{p.field} {p.message}" for p in problems)
    raise InvalidInput(detail, tuple(problems))


def _refuse_repeated_keys(document: JsonObject) -> None:
    waiting: list[Any] = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, JsonObject):
            if value.repeated:
                raise InvalidRequest(f"the key {value.repeated[0][:80]!r} is given more than once")
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
