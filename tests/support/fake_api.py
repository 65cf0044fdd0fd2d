"""FakeApi: the REST and SSE interface without a log behind it, for tests of what speaks to it.

It is a real aiohttp server on a loopback port, in a thread of its own. Executions follow scripts;
connections can be cut in the middle of an event. What was asked stands in `requests`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

NOW = "2026-01-31T12:00:00.000000Z"

Handler = Callable[[web.Request, list[str], bytes, str], Awaitable[web.StreamResponse]]


def moment(seconds: float) -> str:
    """A time `seconds` after NOW's minute, in the interface's form."""
    whole = int(seconds)
    return f"2026-01-31T12:00:{whole:02d}.{round((seconds - whole) * 1_000_000):06d}Z"


@dataclass
class Script:
    """What an execution does. `output` = (stream, bytes, seconds after its start)."""

    output: list[tuple[str, bytes, float]] = field(default_factory=list)
    outcome: str | None = "succeeded"
    exit_code: int | None = 0
    signal: int | None = None
    status: str = "finished"
    holds: bool = False
    complete: bool = True
    extra: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@dataclass
class FakeExecution:
    """An execution: its shape and the frames of its tail so far."""

    shape: dict[str, Any]
    script: Script
    frames: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    cancelled: bool = False

    @property
    def ended(self) -> bool:
        return bool(self.frames) and self.frames[-1][0] == "end"


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes


def problem(code: str, status: int, title: str, detail: str = "", errors: Any = ()) -> web.Response:
    document = {
        "type": f"urn:hermes:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": None,
        "errors": [{"field": name, "message": message} for name, message in errors],
    }
    return web.Response(
        status=status, body=json.dumps(document), content_type="application/problem+json"
    )


class FakeApi:
    """Use as a context manager; `url` is where it listens."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Asked] = []
        self.passwords: dict[str, str] = {"ana": "correct horse battery"}
        self.tokens: dict[str, str] = {"token-of-ana": "ana"}
        self.functions: dict[str, dict[str, Any]] = {}
        self.executions: dict[str, FakeExecution] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.agents: list[dict[str, Any]] = []
        self.projections: list[dict[str, Any]] = []
        self.blobs: dict[str, bytes] = {}
        self.script = Script()
        self.build_script = Script(output=[("stdout", b"g++ -o a.out main.cpp\n", 0.1)])
        #: For each coming event stream: the number of frames after which it breaks.
        self.cuts: list[int] = []
        #: Whether a cut connection falls silent instead of breaking.
        self.cuts_are_silent = False
        #: Answers to give instead, once each: (method, path, response factory).
        self.instead: list[tuple[str, str, Any]] = []
        self.views_lag = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> FakeApi:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=200 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        self._started.set()
        await self._stop.wait()
        await runner.cleanup()

    def asked(self, method: str, path: str) -> list[Asked]:
        """The requests so far with this method and path."""
        return [r for r in self.requests if (r.method, r.path) == (method, path)]

    def wait_until_asked(self, method: str, path: str, timeout: float = 10.0) -> Asked:
        """The first such request, once it is there."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if found := self.asked(method, path):
                return found[0]
            time.sleep(0.01)
        raise AssertionError(f"nobody asked {method} {path}")

    def add_execution(self, execution_id: str, script: Script, **changes: Any) -> FakeExecution:
        """An execution that ran already (or runs, if its script holds)."""
        execution = FakeExecution(self._execution_shape(execution_id, script, changes), script)
        self.executions[execution_id] = execution
        self._begin(execution)
        return execution

    def add_function(self, ref: str, **changes: Any) -> dict[str, Any]:
        """A function `owner/name:version`, built unless `changes` say otherwise."""
        owner, _, rest = ref.partition("/")
        name, _, version = rest.partition(":")
        self.functions[ref] = {
            "id": ref,
            "owner": owner,
            "name": name,
            "version": version,
            "language": "cpp",
            "gpu_capable": False,
            "scope": "public",
            "handler": "./a.out",
            "limits": {},
            "gpu": None,
            "status": "built",
            "build_id": "01890000-0000-7000-8000-00000000b01d",
            "source_sha256": "0" * 64,
            "artifact_sha256": "1" * 64,
            "error": None,
            "created_at": NOW,
            "built_at": NOW,
            "position": position(7, "hermes.registry"),
            **changes,
        }
        return self.functions[ref]

    def _execution_shape(
        self, execution_id: str, script: Script, changes: dict[str, Any]
    ) -> dict[str, Any]:
        streams = {
            name: b"".join(data for stream, data, _ in script.output if stream == name)
            for name in ("stdout", "stderr")
        }
        return {
            "id": execution_id,
            "kind": "run",
            "function": "ana/echo:1.0.0",
            "owner": "ana",
            "pool": "default",
            "status": "running" if script.holds else script.status,
            "outcome": None if script.holds else script.outcome,
            "reason": None,
            "exit_code": None if script.holds else script.exit_code,
            "signal": None if script.holds else script.signal,
            "attempt": 1,
            "attempts": [
                {
                    "attempt": 1,
                    "agent": "host-1",
                    "gpus": ["GPU-1"],
                    "status": "ended",
                    "scheduled_at": NOW,
                    "claimed_at": NOW,
                    "started_at": NOW,
                    "ended_at": moment(3),
                    "reason": None,
                }
            ],
            "limits": {"time": 600.0, "memory": 2**30, "cpus": 1.0, "output": 10, "processes": 9},
            "gpu": None,
            "input": {"bytes": 0, "sha256": "0" * 64},
            "output": {
                name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                for name, data in streams.items()
            },
            "usage": {
                "wall_time": 1.5,
                "cpu_time": 1.25,
                "peak_memory": 3 * 2**20,
                "output_bytes": 12,
                "gpu_time": None,
                "gpu_peak_memory": None,
                "gpu_utilisation": None,
                "gpu_energy": None,
            },
            "created_at": NOW,
            "started_at": NOW,
            "finished_at": None if script.holds else moment(3),
            "cancel_requested_at": None,
            "positions": {"requested": position(1), "started": position(3), "finished": None},
            **changes,
        }

    def _begin(self, execution: FakeExecution) -> None:
        script, shape = execution.script, execution.shape
        requested = {
            "execution_id": shape["id"],
            "kind": shape["kind"],
            "function": "ana/echo",
            "limits": shape["limits"],
        }
        frames = execution.frames
        frames.append(("event", event("execution.requested", requested, 1)))
        if script.status == "rejected":
            frames.append(("event", event("execution.rejected", {"reason": "no_gpu"}, 2)))
        else:
            frames.append(("event", event("execution.started", {"attempt": 1}, 3)))
            frames.extend(script.extra)
            offsets = {"stdout": 0, "stderr": 0}
            for seq, (stream, data, seconds) in enumerate(script.output):
                frames.append(("output", chunk(seq, stream, offsets[stream], data, seconds)))
                offsets[stream] += len(data)
        if not script.holds:
            self._end(execution)

    def _end(self, execution: FakeExecution) -> None:
        script = execution.script
        end = {
            "status": script.status,
            "outcome": script.outcome,
            "exit_code": script.exit_code,
            "signal": script.signal,
            "last_seq": len(script.output) - 1,
            "complete": script.complete,
        }
        if script.status != "rejected":
            data = {"attempt": 1, "outcome": script.outcome}
            execution.frames.append(("event", event("execution.finished", data, 9)))
        execution.frames.append(("end", end))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests.append(
            Asked(
                request.method,
                request.path,
                list(request.query.items()),
                dict(request.headers),
                body,
            )
        )
        for index, (method, path, factory) in enumerate(self.instead):
            if (method, path) == (request.method, request.path):
                del self.instead[index]
                answer: web.Response = factory()
                return answer
        if self.views_lag and "Hermes-After" in request.headers:
            return problem("position_not_reached", 412, "Not there yet")
        parts = request.path.strip("/").split("/")
        if parts[0] != "v1":
            return problem("not_found", 404, "Not found")
        if parts[1] == "openapi.json":
            return web.json_response({"info": {"version": "9.9.9"}})
        if (request.method, parts[1:]) in (("POST", ["users"]), ("POST", ["tokens"])):
            return self._log_in(parts[1], json.loads(body))
        user = self.tokens.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if user is None:
            return problem("unauthenticated", 401, "A valid token is needed")
        handler: Handler | None = getattr(self, f"_{parts[1]}", None)
        if handler is None:
            return problem("not_found", 404, "Not found")
        return await handler(request, parts[2:], body, user)

    def _log_in(self, route: str, document: dict[str, str]) -> web.Response:
        name, password = document["username"], document["password"]
        if route == "users":
            if name in self.passwords:
                return problem("already_exists", 409, "It already exists", f"user {name}")
            self.passwords[name] = password
        elif self.passwords.get(name) != password:
            return problem("invalid_credentials", 401, "Wrong username or password")
        token = f"token-of-{name}"
        self.tokens[token] = name
        answer = {"user": user_shape(name), "token": token, "expires_at": NOW}
        return web.json_response(answer, status=201)

    async def _tokens(
        self, request: web.Request, rest: list[str], _body: bytes, _user: str
    ) -> web.Response:
        self.tokens.pop(request.headers["Authorization"].removeprefix("Bearer "))
        return web.Response(status=204)

    async def _users(
        self, request: web.Request, _rest: list[str], body: bytes, user: str
    ) -> web.Response:
        if request.method == "GET":
            return web.json_response(user_shape(user))
        if json.loads(body)["password"] != self.passwords[user]:
            return problem("invalid_credentials", 401, "Wrong username or password")
        del self.passwords[user]
        return web.Response(status=204)

    async def _blobs(
        self, _request: web.Request, rest: list[str], body: bytes, _user: str
    ) -> web.Response:
        if hashlib.sha256(body).hexdigest() != rest[0]:
            return problem("invalid_input", 422, "The input is not valid", "wrong SHA-256")
        self.blobs[rest[0]] = body
        return web.Response(status=201)

    async def _functions(
        self, request: web.Request, rest: list[str], _body: bytes, _user: str
    ) -> web.Response:
        if request.method == "POST":
            return self._register()
        prefix = "/".join(rest[:2]) + (f":{rest[2]}" if len(rest) > 2 else ":")
        found = [f for ref, f in self.functions.items() if not rest or ref.startswith(prefix)]
        if "owner" in request.query:
            found = [f for f in found if f["owner"] == request.query["owner"]]
        if rest and not found:
            return problem("not_found", 404, "Not found", f"function {prefix}")
        if request.method == "DELETE":
            for function in found:
                del self.functions[function["id"]]
                function["status"] = "deleted"
            return web.json_response({"items": found})
        return web.json_response(found[0]) if len(rest) > 2 else page(request, found)

    def _register(self) -> web.Response:
        if "ana/hello:1.0.0" in self.functions:
            return problem("already_exists", 409, "It already exists", "raise functionVersion")
        function = self.add_function("ana/hello:1.0.0", status="registered", built_at=None)
        self.add_execution(function["build_id"], self.build_script, kind="build")
        answer = web.json_response(function, status=202)
        outcome = self.build_script.outcome
        function = dict(function, status="built" if outcome == "succeeded" else "build_failed")
        function["error"] = None if outcome == "succeeded" else "make failed with exit code 2"
        self.functions["ana/hello:1.0.0"] = function
        answer.headers["Hermes-Position"] = "hermes.registry/0/7"
        return answer

    async def _builds(
        self, request: web.Request, rest: list[str], _body: bytes, _user: str
    ) -> web.StreamResponse:
        if request.method == "POST":
            execution_id = "01890000-0000-7000-8000-00000000b01e"
            build = self.add_execution(execution_id, self.build_script, kind="build")
            return web.json_response(build.shape, status=202)
        execution = self.executions.get(rest[0])
        if execution is None:
            return problem("not_found", 404, "Not found")
        if rest[1:] == ["tail"]:
            return await self._tail(request, execution)
        return web.json_response(execution.shape)

    async def _agents(
        self, request: web.Request, _rest: list[str], _body: bytes, _user: str
    ) -> web.Response:
        return page(request, self.agents)

    async def _gpus(
        self, request: web.Request, _rest: list[str], _body: bytes, _user: str
    ) -> web.Response:
        return page(request, [gpu for agent in self.agents for gpu in agent["gpus"]])

    async def _projections(
        self, request: web.Request, rest: list[str], _body: bytes, _user: str
    ) -> web.Response:
        if request.method == "GET":
            return web.json_response({"items": self.projections})
        for view in self.projections:
            if view["name"] == rest[0]:
                view["rebuild"] = {"status": "done", "events_done": 42, "verified": True}
                return web.json_response({"name": rest[0]}, status=202)
        return problem("not_found", 404, "Not found")

    async def _executions(
        self, request: web.Request, rest: list[str], body: bytes, _user: str
    ) -> web.StreamResponse:
        if not rest:
            return await self._execution_collection(request, body)
        found = [e for name, e in self.executions.items() if name.startswith(rest[0])]
        if not found:
            return problem("not_found", 404, "Not found", f"execution {rest[0]}")
        if len(found) > 1:
            return problem("ambiguous_id", 400, "Ambiguous", f"{rest[0]}: {len(found)} executions")
        execution = found[0]
        if not rest[1:]:
            return web.json_response(execution.shape)
        if rest[1] == "tail":
            return await self._tail(request, execution)
        if rest[1] == "events":
            return page(request, self.events.get(execution.shape["id"], []))
        if rest[1] == "output":
            return self._output(request, execution, rest[2])
        return self._cancel(execution)

    async def _execution_collection(self, request: web.Request, body: bytes) -> web.StreamResponse:
        if request.method == "GET":
            shapes = [e.shape for e in self.executions.values() if e.shape["kind"] == "run"]
            return page(request, sorted(shapes, key=lambda shape: shape["id"], reverse=True))
        if not json.loads(body)["function"].startswith("ana/"):
            return problem("not_found", 404, "Not found", json.loads(body)["function"])
        execution_id = f"01890000-0000-7000-8000-{len(self.executions):012x}"
        execution = self.add_execution(execution_id, self.script)
        headers = {
            "Hermes-Position": "hermes.executions.default/0/1",
            "Location": f"/v1/executions/{execution_id}",
        }
        if "text/event-stream" in request.headers.get("Accept", ""):
            return await self._tail(request, execution, headers)
        return web.json_response(execution.shape, status=202, headers=headers)

    def _cancel(self, execution: FakeExecution) -> web.Response:
        if execution.ended:
            return problem("already_finished", 409, "The execution has already finished")
        execution.script.outcome, execution.script.exit_code = "cancelled", None
        execution.shape["outcome"], execution.shape["status"] = "cancelled", "finished"
        self._end(execution)
        return web.json_response(execution.shape, status=202)

    def _output(self, request: web.Request, execution: FakeExecution, stream: str) -> web.Response:
        data = b"".join(d for name, d, _ in execution.script.output if name == stream)
        wanted = request.headers.get("Range")
        if wanted is None:
            return web.Response(body=data, content_type="application/octet-stream")
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        return web.Response(status=206, body=data[start:], content_type="application/octet-stream")

    async def _tail(
        self,
        request: web.Request,
        execution: FakeExecution,
        headers: dict[str, str] | None = None,
    ) -> web.StreamResponse:
        resume = request.headers.get("Last-Event-ID")
        if resume is not None and not resume.startswith("after-"):
            return problem("invalid_cursor", 400, "Not a resume token")
        index = int(resume.removeprefix("after-")) + 1 if resume else 0
        cut = index + self.cuts.pop(0) if self.cuts else None
        response = web.StreamResponse(headers=headers)
        response.content_type = "text/event-stream"
        await response.prepare(request)
        await response.write(b": hello\n\n")
        follow = request.query.get("follow") != "false"
        while True:
            while index < len(execution.frames):
                name, data = execution.frames[index]
                text = f"event: {name}\nid: after-{index}\ndata: {json.dumps(data)}\n\n".encode()
                if index == cut:
                    # Half of an event, and then the wire is dead.
                    await response.write(text[: len(text) // 2])
                    if self.cuts_are_silent:
                        await self._stop.wait()
                    assert request.transport is not None
                    request.transport.close()
                    return response
                await response.write(text)
                index += 1
            if execution.ended or not follow:
                return response
            await asyncio.sleep(0.01)


def event(kind: str, data: dict[str, Any], offset: int, **changes: Any) -> dict[str, Any]:
    """An Event in the interface's shape."""
    return {
        "id": f"event-{offset}",
        "kind": kind,
        "version": 1,
        "occurred_at": moment(offset / 100),
        "actor": "ana",
        "causation_id": None,
        "correlation_id": None,
        "data": data,
        "position": position(offset),
        "superseded": False,
        **changes,
    }


def chunk(seq: int, stream: str, offset: int, data: bytes, seconds: float) -> dict[str, Any]:
    """The data of an `output` event."""
    return {
        "attempt": 1,
        "seq": seq,
        "stream": stream,
        "offset": offset,
        "time": moment(seconds),
        "data": base64.b64encode(data).decode(),
    }


def position(offset: int, topic: str = "hermes.executions.default") -> dict[str, Any]:
    return {"topic": topic, "partition": 0, "offset": offset}


def user_shape(name: str) -> dict[str, Any]:
    return {"username": name, "admin": name == "ana", "created_at": NOW}


def page(request: web.Request, items: list[dict[str, Any]]) -> web.Response:
    """A page of a list; the cursor is the number of items before it."""
    start, limit = int(request.query.get("cursor", "0")), int(request.query.get("limit", "50"))
    more = start + limit < len(items)
    cursor = str(start + limit) if more else None
    return web.json_response({"items": items[start : start + limit], "next_cursor": cursor})
