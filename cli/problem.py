"""What went wrong, in the one shape that people and programs are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cli import exit_codes

if TYPE_CHECKING:
    from hermes.errors import HermesError

_URN = "urn:hermes:problem:"


class Problem(Exception):
    """A command cannot go on. Carries an RFC 9457 problem and the exit code that goes with it.

    `errors` are pairs of (field, message). Problems of the command line itself carry the status
    that a server would have answered with.
    """

    def __init__(
        self,
        title: str,
        detail: str = "",
        *,
        code: str = "internal",
        status: int = 500,
        errors: Sequence[tuple[str, str]] = (),
        instance: str | None = None,
        exit_code: int | None = None,
    ) -> None:
        super().__init__(title, detail)
        self.title = title
        self.detail = detail
        self.code = code
        self.status = status
        self.errors = tuple(errors)
        self.instance = instance
        self.exit_code = exit_codes.for_status(status) if exit_code is None else exit_code

    def __str__(self) -> str:
        return f"{self.title}: {self.detail}" if self.detail else self.title

    def document(self) -> dict[str, Any]:
        """The problem as it goes over the wire and to `--json`."""
        return {
            "type": self.code if self.code == "about:blank" else _URN + self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": self.instance,
            "errors": [{"field": field, "message": message} for field, message in self.errors],
        }


def usage(detail: str) -> Problem:
    """The command line is wrong; `detail` says what to write instead."""
    return Problem("invalid usage", detail, code="invalid_request", status=400)


def from_error(error: HermesError) -> Problem:
    """What the shared packaging code found wrong, before anything was sent."""
    return Problem(
        error.title(),
        error.detail,
        code=error.code,
        status=error.status,
        errors=[(entry.field, entry.message) for entry in error.errors],
    )


def from_document(status: int, document: Any, fallback: str) -> Problem:
    """A server's problem document; `fallback` is the title where the body is not one."""
    if not isinstance(document, dict):
        return Problem(fallback, code="about:blank", status=status)
    errors = [
        (str(entry.get("field") or ""), str(entry.get("message") or ""))
        for entry in document.get("errors") or ()
        if isinstance(entry, dict)
    ]
    kind = str(document.get("type") or "about:blank")
    return Problem(
        str(document.get("title") or fallback),
        str(document.get("detail") or ""),
        code=kind.removeprefix(_URN),
        status=status,
        errors=errors,
        instance=document.get("instance"),
    )
