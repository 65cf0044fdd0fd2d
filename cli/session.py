"""One command's run: the global options, the server they lead to, and where results go."""

from __future__ import annotations

import os
import sys
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.output import Output
from cli.problem import Problem

if TYPE_CHECKING:
    from cli.client import Client


class Session:
    """What a command needs beside its own arguments. Global options may come at any level."""

    def __init__(self) -> None:
        self.url_flag: str | None = None
        self.token_file: str | None = None
        self.out = Output(sys.stdout, sys.stderr)

    @property
    def json(self) -> bool:
        """Whether results are for programs."""
        return self.out.json

    @cached_property
    def url(self) -> str:
        """The server's URL, without a slash at its end."""
        from cli.address import resolve_url  # noqa: PLC0415

        return resolve_url(self.url_flag)

    @cached_property
    def client(self) -> Client:
        """The server as this user sees it, with a token where there is one."""
        from cli.client import Client  # noqa: PLC0415

        return Client(self.url, self.token())

    def anonymous(self) -> Client:
        """The server without a token, for logging in; a password may go where a token may."""
        from cli.address import check_secrecy  # noqa: PLC0415
        from cli.client import Client  # noqa: PLC0415

        check_secrecy(self.url)
        return Client(self.url, None)

    def token(self) -> str | None:
        """`--token-file`, then HERMES_TOKEN, then the client file's for this URL."""
        from cli.store import ClientFile  # noqa: PLC0415

        if self.token_file:
            try:
                token = Path(self.token_file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise _bad_token_file(self.token_file, str(error)) from None
        else:
            token = os.environ.get("HERMES_TOKEN", "").strip()
        if not token:
            return ClientFile().token(self.url)
        if not token.isascii() or not token.isprintable() or " " in token:
            raise _bad_token_file(self.token_file or "HERMES_TOKEN", "it holds no token")
        return token


def _bad_token_file(source: str, detail: str) -> Problem:
    return Problem("no token to read", f"{source}: {detail}", code="invalid_request", status=400)


def own_username(session: Session) -> str:
    """The name of the user whose token this is."""
    user: dict[str, Any] = session.client.get("/v1/users/me").json()
    return str(user["username"])
