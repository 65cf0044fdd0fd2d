"""What people type to name things: functions, executions, sizes."""

from __future__ import annotations

import re
from urllib.parse import quote

from cli.problem import Problem, usage
from hermes.errors import HermesError
from hermes.packages.reference import FunctionRef

_ID = re.compile(r"[0-9a-fA-F-]{1,36}")
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMGTkmgt]?)(i?)[Bb]?")


def parse_ref(text: str) -> FunctionRef:
    """OWNER/NAME[:VERSION]. Raises a usage problem that says what is wrong."""
    try:
        return FunctionRef.parse(text)
    except HermesError as error:
        raise usage(f"{error.detail}; write one such as ana/reduce-sum:1.0.0") from None


def parse_execution(text: str) -> str:
    """An execution id, a prefix of one, or `@last`. Raises a problem: nothing has such an id."""
    if text != "@last" and _ID.fullmatch(text) is None:
        detail = f"no execution {text!r}; write its id, the start of its id, or @last"
        # Not sent: a path made of it might lead elsewhere.
        raise Problem("Not found", detail, code="not_found", status=404)
    return text.lower()


def parse_size(text: str, flag: str) -> int:
    """Bytes: a number, or one with a unit (`16GiB`, `16G`: powers of 1024; `16GB`: of 1000)."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise usage(f"{flag} {text!r} is no size; write bytes, or a unit such as 16GiB")
    decimal = bool(match[2]) and not match[3] and text.strip()[-1] in "Bb"
    exponent = " KMGT".index(match[2].upper() or " ")
    return int(float(match[1]) * (1000 if decimal else 1024) ** exponent)


def path(*segments: str) -> str:
    """A path under /v1 whose segments cannot break out of their place."""
    return "/v1/" + "/".join(quote(segment, safe="") for segment in segments)
