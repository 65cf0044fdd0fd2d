"""The API as a process of its own over a real cluster, with the real projector, and its users."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp

from hermes.settings import Settings
from infra.embedded.ports import free_ports

PASSWORD = "correct horse battery staple"
_numbers = itertools.count(1)


class Answer:
    """A response that was read to its end."""

    def __init__(self, response: aiohttp.ClientResponse, body: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = body

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def expect(self, status: int) -> Any:
        """The JSON body of an answer that must have this status; None without a body."""
        assert self.status == status, (self.status, self.body[:2000])
        return self.json() if self.body else None

    def problem(self, status: int, code: str) -> Any:
        """The problem of an answer that must be one."""
        assert self.status == status, (self.status, self.body[:2000])
        assert self.headers["Content-Type"] == "application/problem+json"
        document = self.json()
        assert document["type"] == f"urn:hermes:problem:{code}", document
        assert document["status"] == status
        assert set(document) == {"type", "title", "status", "detail", "instance", "errors"}
        return document


class Frame:
    """One server-sent event."""

    def __init__(self, event: str, token: str, data: Any) -> None:
        self.event = event
        self.token = token
        self.data = data

    @property
    def name(self) -> str:
        """The kind of an event, else what the frame is."""
        return str(self.data["kind"]) if self.event == "event" else self.event


class ApiUser:
    """Somebody with a token, or without one."""

    def __init__(self, api: Api, name: str = "", token: str = "") -> None:
        self.api = api
        self.name = name
        self.token = token

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Answer:
        """One request."""
        async with self.api.session.request(
            method, self.api.url + path, headers=self.headers(headers), **options
        ) as response:
            return Answer(response, await response.read())

    async def get(self, path: str, **options: Any) -> Answer:
        """GET under /v1."""
        return await self.ask("GET", f"/v1{path}", **options)

    async def post(self, path: str, document: Any = None, **options: Any) -> Answer:
        """POST under /v1."""
        return await self.ask("POST", f"/v1{path}", json=document, **options)

    async def deploy(self, source: bytes, **headers: str) -> Answer:
        """POST /functions."""
        headers = {"Content-Type": "application/gzip", **headers}
        return await self.ask("POST", "/v1/functions", data=source, headers=headers)

    async def tail(
        self, path: str, *, method: str = "GET", document: Any = None, **headers: str
    ) -> AsyncIterator[Frame]:
        """The frames of a stream as they come."""
        headers = {"Accept": "text/event-stream", **headers}
        async with self.api.session.request(
            method, f"{self.api.url}/v1{path}", json=document, headers=self.headers(headers)
        ) as response:
            if response.status != 200:
                raise AssertionError((response.status, await response.read()))
            assert response.headers["Content-Type"] == "text/event-stream"
            fields: dict[str, str] = {}
            async for raw in response.content:
                line = raw.decode().rstrip("\n")
                if line.startswith(":"):
                    continue
                if line:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif fields:
                    yield Frame(fields["event"], fields["id"], json.loads(fields["data"]))
                    fields = {}

    def headers(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """With the token, if there is one."""
        token = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return {**token, **(more or {})}


class Api:
    """`async with Api(settings)`: then `url`, `session`, `user()`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.nobody = ApiUser(self)
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def __aenter__(self) -> Self:
        self.settings.home.mkdir(parents=True, exist_ok=True)
        self.session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=60), auto_decompress=False
        )
        try:
            await asyncio.gather(self.start("hermes.server"), self.start("projections.projector"))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        for module in list(self._processes):
            await self.stop(module)

    async def start(self, module: str) -> None:
        """Start a role and wait until it says that it serves."""
        reading, writing = os.pipe()
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("HERMES_")},
            "HERMES_HOME": str(self.settings.home),
            "HERMES_KAFKA": self.settings.bootstrap,
            "HERMES_DATABASE": self.settings.database_url,
            "HERMES_TOPIC_PREFIX": self.settings.topic_prefix,
            "HERMES_PORT": str(self.port),
            "HERMES_READY_FD": str(writing),
        }
        log = (self.settings.home / f"{module}.log").open("ab")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, env=environment, stderr=log, pass_fds=(writing,)
        )
        log.close()
        os.close(writing)
        self._processes[module] = process
        try:
            ready = await asyncio.wait_for(asyncio.to_thread(os.read, reading, 100), 60)
        finally:
            os.close(reading)
        assert ready == b"ready\n", self.log(module)

    async def stop(self, module: str, how: signal.Signals = signal.SIGTERM) -> int:
        """End a role; its exit status."""
        process = self._processes.pop(module)
        if process.returncode is None:
            process.send_signal(how)
        try:
            return await asyncio.wait_for(process.wait(), 15)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise AssertionError(f"{module} did not stop:\n{self.log(module)}") from None

    def pid(self, module: str) -> int:
        """A role's process."""
        return self._processes[module].pid

    def log(self, module: str) -> str:
        """What a role wrote to its log."""
        return (self.settings.home / f"{module}.log").read_text()

    async def user(self, name: str | None = None) -> ApiUser:
        """A new account."""
        name = name or f"user{next(_numbers)}"
        answer = await self.nobody.post("/users", {"username": name, "password": PASSWORD})
        return ApiUser(self, name, answer.expect(201)["token"])


def settings_for(cluster_kafka: str, database_url: str, home: Path) -> Settings:
    """Settings with topics of their own."""
    return Settings(
        home=home,
        kafka=cluster_kafka,
        database=database_url,
        topic_prefix=f"api-{os.getpid()}-{next(_numbers)}",
    )
