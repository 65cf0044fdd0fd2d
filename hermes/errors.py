"""The one error tree. A class per way to fail; its docstring is the title people read.

`code` becomes `urn:hermes:problem:CODE` over HTTP (RFC 9457), `status` its status. Errors under
`UserError` are the caller's to mend; those under `ServerFault` are ours.
"""

from __future__ import annotations

import msgspec


class FieldProblem(msgspec.Struct, frozen=True):
    """One thing wrong with one field of what the user sent."""

    field: str
    message: str


class HermesError(Exception):
    """Hermes failed"""

    code = "internal"
    status = 500

    def __init__(self, detail: str = "", errors: tuple[FieldProblem, ...] = ()) -> None:
        super().__init__(detail or self.title())
        self.detail = detail
        self.errors = tuple(errors)

    @classmethod
    def title(cls) -> str:
        """The first line of the docstring, the default message."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]


class UserError(HermesError):
    """The request cannot be carried out"""

    code = "invalid_request"
    status = 400


class InvalidRequest(UserError):
    """The request is not valid"""


class InvalidCursor(UserError):
    """The cursor or resume token is not one that Hermes gave out"""

    code = "invalid_cursor"


class AmbiguousId(UserError):
    """More than one execution has an id that starts so"""

    code = "ambiguous_id"


class Unauthenticated(UserError):
    """A valid token is needed"""

    code = "unauthenticated"
    status = 401


class InvalidCredentials(UserError):
    """Wrong username or password"""

    code = "invalid_credentials"
    status = 401


class Forbidden(UserError):
    """Not allowed"""

    code = "forbidden"
    status = 403


class NotFound(UserError):
    """Not found"""

    code = "not_found"
    status = 404


class MethodNotAllowed(UserError):
    """This method is not allowed here"""

    code = "method_not_allowed"
    status = 405


class AlreadyExists(UserError):
    """It already exists"""

    code = "already_exists"
    status = 409


class AlreadyFinished(UserError):
    """The execution has already finished"""

    code = "already_finished"
    status = 409


class IdempotencyMismatch(UserError):
    """This idempotency key was used with a different request"""

    code = "idempotency_mismatch"
    status = 409


class NotBuilt(UserError):
    """The function has no successful build"""

    code = "not_built"
    status = 409


class PositionNotReached(UserError):
    """That position of the log is not reached yet"""

    code = "position_not_reached"
    status = 412


class TooLarge(UserError):
    """Too large"""

    code = "too_large"
    status = 413


class UnsupportedMediaType(UserError):
    """This content type is not accepted here"""

    code = "unsupported_media_type"
    status = 415


class RangeNotSatisfiable(UserError):
    """The requested range lies outside the output"""

    code = "range_not_satisfiable"
    status = 416

    def __init__(self, detail: str = "", size: int | None = None) -> None:
        super().__init__(detail)
        self.size = size


class InvalidConfig(UserError):
    """hermes.config.json is not valid"""

    code = "invalid_config"
    status = 422


class InvalidArchive(UserError):
    """The archive is not valid"""

    code = "invalid_archive"
    status = 422


class InvalidInput(UserError):
    """The input is not valid"""

    code = "invalid_input"
    status = 422


class RateLimited(UserError):
    """Too many requests"""

    code = "rate_limited"
    status = 429

    def __init__(self, detail: str = "", retry_after: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class ServerFault(HermesError):
    """Hermes failed"""


class Unavailable(ServerFault):
    """A part of Hermes cannot be reached right now"""

    code = "unavailable"
    status = 503


class LogUnavailable(Unavailable):
    """The log cannot be reached right now"""


class LogError(ServerFault):
    """The log holds something that this version cannot read"""
