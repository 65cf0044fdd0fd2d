"""Errors as `application/problem+json` (RFC 9457). No traceback and no path of ours leaks."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from hermes.errors import (
    HermesError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RangeNotSatisfiable,
    RateLimited,
    TooLarge,
    Unauthenticated,
    UnsupportedMediaType,
)

CONTENT_TYPE = "application/problem+json"

_OF_STATUS: dict[int, type[HermesError]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    404: NotFound,
    405: MethodNotAllowed,
    413: TooLarge,
    415: UnsupportedMediaType,
    416: RangeNotSatisfiable,
}


def problem_document(error: HermesError, instance: str) -> dict[str, Any]:
    """The shape `Problem`."""
    return {
        "type": f"urn:hermes:problem:{error.code}",
        "title": type(error).title(),
        "status": error.status,
        "detail": printable(error.detail),
        "instance": instance,
        "errors": [
            {"field": printable(e.field), "message": printable(e.message)} for e in error.errors
        ],
    }


def problem_response(error: HermesError, instance: str) -> web.Response:
    """The answer that says what went wrong; `instance` names the request."""
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(max(1, round(error.retry_after + 0.5)))
    elif isinstance(error, RangeNotSatisfiable) and error.size is not None:
        headers["Content-Range"] = f"bytes */{error.size}"
    elif error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "1"
    elif error.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Bearer realm="hermes"'
    return web.Response(
        status=error.status,
        body=msgspec.json.encode(problem_document(error, instance)),
        content_type=CONTENT_TYPE,
        headers=headers,
    )


def from_http(error: web.HTTPException) -> HermesError:
    """What aiohttp itself refuses, in our words."""
    kind = _OF_STATUS.get(error.status)
    if kind is None:
        kind = InvalidRequest if error.status < 500 else HermesError
    return kind()


def printable(text: str) -> str:
    """Without control characters and lone surrogates, and of bounded length."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:2000])
    return shown.encode("utf-8", "replace").decode()
