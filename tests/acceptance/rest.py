"""The REST interface as a foreign client sees it: plain HTTP, nothing of Hermes' own code."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

import urllib3

from tests.support.system import PASSWORD

PROBLEM_FIELDS = {"type", "title", "status", "detail", "instance", "errors"}
SHELL = "sue/shell"
NOWHERE = "01890000-0000-7000-8000-000000000000"
_numbers = itertools.count(1)


class Answer(NamedTuple):
    """A response that was read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self, status: int) -> Any:
        """The document of an answer that must have this status."""
        assert self.status == status, (self.status, self.body[:2000])
        return json.loads(self.body)

    def problem(self, status: int, code: str) -> Any:
        """The document of an answer that must be this problem."""
        assert self.headers["Content-Type"] == "application/problem+json"
        document = self.json(status)
        assert document["type"] == f"urn:hermes:problem:{code}", document
        assert document["status"] == status
        assert set(document) == PROBLEM_FIELDS
        assert all(set(error) == {"field", "message"} for error in document["errors"])
        return document


class Frame(NamedTuple):
    """One server-sent event."""

    event: str
    id: str
    data: Any

    @property
    def name(self) -> str:
        """The event's kind, else what the frame is."""
        return str(self.data["kind"]) if self.event == "event" else self.event


class Rest:
    """Somebody with a token, or without one."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(90))

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        document: Any = None,
        **headers: str,
    ) -> Answer:
        """One request; underscores in the names of headers stand for hyphens."""
        sent = self._headers | {name.replace("_", "-"): text for name, text in headers.items()}
        if document is not None:
            body = json.dumps(document).encode()
            sent.setdefault("Content-Type", "application/json")
        got = self._pool.request(method, self.url + path, body=body, headers=sent)
        return Answer(got.status, got.headers, got.data)

    def get(self, path: str, **headers: str) -> Answer:
        """GET under /v1."""
        return self.ask("GET", f"/v1{path}", **headers)

    def post(self, path: str, document: Any = None, **headers: str) -> Answer:
        """POST JSON under /v1."""
        return self.ask("POST", f"/v1{path}", document=document, **headers)

    def deploy(self, source: bytes, **headers: str) -> Answer:
        """POST /functions."""
        return self.ask("POST", "/v1/functions", body=source, **GZIP, **headers)

    def run(self, script: str, **fields: Any) -> Any:
        """Have a script run; the accepted execution."""
        return self.post("/executions", {"function": SHELL, "input": script, **fields}).json(202)

    def finished(self, execution_id: str, timeout: float = 60.0) -> Any:
        """The execution once it has ended."""
        return self.when(execution_id, "finished", "rejected", timeout=timeout)

    def when(self, execution_id: str, *statuses: str, timeout: float = 60.0) -> Any:
        """The execution once it has one of these statuses."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.get(f"/executions/{execution_id}").json(200)
            if found["status"] in statuses:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.1)

    def frames(
        self, path: str, *, method: str = "GET", document: Any = None, **headers: str
    ) -> Iterator[Frame]:
        """The events of a stream as they come. Comment lines are read over."""
        sent = self._headers | {name.replace("_", "-"): text for name, text in headers.items()}
        body = None
        if document is not None:
            body, sent["Content-Type"] = json.dumps(document).encode(), "application/json"
        got = self._pool.request(
            method, f"{self.url}/v1{path}", body=body, headers=sent, preload_content=False
        )
        try:
            assert got.status == 200, (got.status, got.read())
            assert got.headers["Content-Type"] == "text/event-stream"
            yield from _frames(got)
        finally:
            got.close()

    def tail(self, execution_id: str, query: str = "", **headers: str) -> list[Frame]:
        """A tail that is read to its end."""
        return list(self.frames(f"/executions/{execution_id}/tail{query}", **headers))


GZIP = {"Content_Type": "application/gzip"}


def _frames(got: urllib3.BaseHTTPResponse) -> Iterator[Frame]:
    fields: dict[str, str] = {}
    left = b""
    for piece in got.stream(65536):
        *lines, left = (left + piece).split(b"\n")
        for line in lines:
            if line.startswith(b":"):
                continue
            if line:
                name, _, text = line.decode().partition(": ")
                fields[name] = text
            elif fields:
                yield Frame(fields["event"], fields["id"], json.loads(fields["data"]))
                fields = {}


def built(user: Rest, path: str, status: str = "built") -> Any:
    """The function once its build has ended so."""
    deadline = time.monotonic() + 90
    while True:
        answer = user.get(path)
        function = answer.json(200)
        if function["status"] == status:
            return function
        assert time.monotonic() < deadline, function
        time.sleep(0.1)


def register(nobody: Rest, name: str) -> Rest:
    """A new user, without the command line."""
    session = nobody.post("/users", {"username": name, "password": PASSWORD}).json(201)
    return Rest(nobody.url, session["token"])


def new_id() -> str:
    """A UUIDv7 of this moment."""
    moment = int(time.time() * 1000) << 80
    return str(UUID(int=moment | (7 << 76) | (2 << 62) | next(_numbers)))


def eventually(holds: Callable[[], bool], timeout: float = 60.0) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def shell_files(name: str = "shell", version: str = "1.0.0", **config: Any) -> dict[str, bytes]:
    """The files of a function that runs the first line of its input as a script.

    The lines after it are the script's own input.
    """
    fields = {
        "functionName": name,
        "functionVersion": version,
        "language": "cpp",
        "handler": "./shell",
        **config,
    }
    return {
        "hermes.config.json": json.dumps(fields).encode(),
        "Makefile": b"all:\n\tchmod 755 shell\n\nclean:\n",
        "shell": b'#!/bin/sh\nread -r script\neval "$script"\n',
    }


def source(name: str = "shell", version: str = "1.0.0", **config: Any) -> bytes:
    """Such a function as the archive that `POST /functions` takes."""
    return archive(shell_files(name, version, **config))


def archive(files: Mapping[str, bytes]) -> bytes:
    """Files as a tar.gz."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return gzip.compress(target.getvalue(), mtime=0)
