"""What a route is. The table of all routes is `hermes.server.table`."""

from __future__ import annotations

from typing import Literal

import msgspec

from hermes.server.call import Handler

Auth = Literal["none", "user", "owner", "admin"]
Json = dict[str, object]


class Parameter(msgspec.Struct, frozen=True):
    """A parameter in the query or a header, with its JSON schema."""

    name: str
    schema: Json
    place: Literal["query", "header"] = "query"


class Body(msgspec.Struct, frozen=True):
    """What a request carries: the content type and its schema, or the name of a component."""

    content_type: str
    schema: Json


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one path. `errors` are the codes beside those that every route has.

    `auth`: none; user: any valid token; owner: things of others do not exist; admin.
    """

    method: str
    path: str
    auth: Auth
    handler: Handler
    summary: str
    success: dict[int, str | None]
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    errors: tuple[int, ...] = ()
    content_type: str = "application/json"
    #: The answer is a stream that may last for ever.
    streams: bool = False
    #: What is read may come from the views, not only from what this process has read of the log.
    views: bool = True

    @property
    def name(self) -> str:
        """`METHOD path`, as metrics and tests name it."""
        return f"{self.method} {self.path}"
