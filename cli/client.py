"""HTTP to the server: requests, problems, streams.

Built on http.client: one request per command is the rule, and it costs a third of the start-up
time of a pooling client. The token goes to the one URL it belongs to; redirects are not followed.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from cli.address import check_secrecy
from cli.problem import Problem, from_document
from cli.store import Positions
from hermes import __version__

#: Seconds without a byte before a request counts as failed.
REQUEST_TIMEOUT = 60.0
#: Seconds without a byte on a stream; the server sends a heartbeat every 15 at the latest.
STREAM_TIMEOUT = 45.0
_BLOCK = 256 * 1024

Query = Sequence[tuple[str, str]]


class ConnectionLost(Exception):
    """The connection broke before the answer was whole."""


class Reply(NamedTuple):
    """A whole answer. `position` is the write's place in the log, `topic/partition/offset`."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; a Problem where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise Problem("unexpected answer", "the server did not answer in JSON") from None


class Stream:
    """An answer whose body is read as it comes."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse):
        self._connection = connection
        self._response = response
        self.status = response.status
        self.headers = response.headers

    def chunks(self) -> Iterator[bytes]:
        """Bytes as soon as they are there. Raises ConnectionLost unless the body ended whole."""
        try:
            while chunk := self._response.read1(_BLOCK):
                yield chunk
            if self._response.length:
                raise ConnectionLost("the answer was cut short")
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionLost(reason(error)) from None
        finally:
            self.close()

    def close(self) -> None:
        """Hang up."""
        self._response.close()
        self._connection.close()


class Client:
    """A server, as one user sees it."""

    def __init__(self, url: str, token: str | None, positions: Positions | None = None) -> None:
        self.url = url
        self._token = token
        self._positions = positions or Positions()
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._netloc = parts.netloc
        self._prefix = parts.path
        if token:
            check_secrecy(url)

    def get(self, path: str, query: Query = ()) -> Reply:
        """GET that sees this client's own earlier writes."""
        after = self._positions.after(self.url)
        if after is None:
            return self.request("GET", path, query=query)
        try:
            return self.request("GET", path, query=query, headers={"Hermes-After": after})
        except Problem as problem:
            if problem.code != "position_not_reached":
                raise
            self._positions.forget(self.url)
            return self.request("GET", path, query=query)

    def post(self, path: str, document: Any, headers: Mapping[str, str] | None = None) -> Reply:
        """POST a JSON document."""
        return self.request("POST", path, body=encode(document), headers=json_headers(headers))

    def pages(self, path: str, query: Query = (), limit: int | None = 50) -> Iterator[Any]:
        """A list's items, page after page; `limit` None = all of them."""
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            size = 200 if left is None else min(left, 200)
            page = [*query, ("limit", str(size)), *([("cursor", cursor)] if cursor else [])]
            document = self.get(path, page).json()
            items = document["items"][:left]
            yield from items
            left = None if left is None else left - len(items)
            cursor = document.get("next_cursor")
            if not cursor:
                return

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = REQUEST_TIMEOUT,
    ) -> Reply:
        """One request, whole. Raises Problem for an error answer or an unreachable server."""
        stream = self.stream(method, path, query=query, body=body, headers=headers, timeout=timeout)
        try:
            content = b"".join(stream.chunks())
        except ConnectionLost as error:
            raise self._unreachable(str(error)) from None
        position = stream.headers.get("Hermes-Position")
        if position:
            self._positions.advance(self.url, position)
        return Reply(stream.status, dict(stream.headers), content)

    def stream(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: bytes | IO[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Stream:
        """One request whose answer is read as it comes. Raises Problem as `request` does."""
        target = self._prefix + path + ("?" + urlencode(query) if query else "")
        connection = self._connect(timeout or STREAM_TIMEOUT)
        try:
            try:
                connection.request(method, target, body=body, headers=self._headers(headers))
            except (BrokenPipeError, ConnectionResetError):
                # A server that refuses a large body answers and hangs up before it is all sent.
                if body is None:
                    raise
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(reason(error)) from None
        stream = Stream(connection, response)
        if response.status >= 300:
            raise self._problem(stream)
        return stream

    def advance(self, position: Mapping[str, Any]) -> None:
        """Remember an event's position, so that later reads of this client see the event."""
        place = f"{position.get('topic')}/{position.get('partition')}/{position.get('offset')}"
        self._positions.advance(self.url, place)

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        if self._secure:
            return http.client.HTTPSConnection(self._netloc, timeout=timeout, blocksize=_BLOCK)
        return http.client.HTTPConnection(self._netloc, timeout=timeout, blocksize=_BLOCK)

    def _headers(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": f"hermes/{__version__}"}
        headers.update(extra or {})
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _problem(self, stream: Stream) -> Problem:
        fallback = http.client.responses.get(stream.status, f"HTTP status {stream.status}")
        try:
            document = json.loads(b"".join(stream.chunks()))
        except (ConnectionLost, ValueError):
            document = None
        if stream.status < 400:
            return Problem("unexpected answer", f"{self.url} redirects; set the URL it leads to")
        problem = from_document(stream.status, document, fallback)
        if problem.code == "unauthenticated":
            # The server speaks of headers; people have a command for them.
            problem.detail = "log in with: hermes remote login"
        return problem

    def _unreachable(self, cause: str) -> Problem:
        return Problem(
            "cannot reach Hermes",
            f"{self.url}: {cause}; start a server with `hermes up`, or choose another with --url",
            code="unavailable",
            status=503,
        )


def encode(document: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def json_headers(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Headers of a request with a JSON body."""
    return {"Content-Type": "application/json", **(extra or {})}


def reason(error: Exception) -> str:
    """Why a connection failed, in words."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, http.client.HTTPException):
        return "the connection broke"
    return getattr(error, "strerror", None) or str(error) or "the connection broke"
