"""The routes of the FakeApi and the state behind them."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from typing import Any

from aiohttp import web

from tests.support.fake_executions import NOW, FakeExecution, Script, execution_shape
from tests.support.fake_shapes import function_shape, page, problem, user_shape


class FakeRoutes(ABC):
    """A method per collection, named like it: (request, rest of the path, body, user)."""

    def __init__(self) -> None:
        self.passwords: dict[str, str] = {"ana": "correct horse battery"}
        self.tokens: dict[str, str] = {"token-of-ana": "ana"}
        self.functions: dict[str, dict[str, Any]] = {}
        self.executions: dict[str, FakeExecution] = {}
        self.events: dict[str, list[dict[str, Any]]] = {}
        self.agents: list[dict[str, Any]] = []
        self.audit: dict[str, Any] = {}
        self.projections: list[dict[str, Any]] = []
        self.blobs: dict[str, bytes] = {}
        self.script = Script()
        self.build_script = Script(output=[("stdout", b"g++ -o a.out main.cpp\n", 0.1)])
        #: After so many bytes the next download breaks.
        self.output_cuts: list[int] = []

    def add_execution(self, execution_id: str, script: Script, **changes: Any) -> FakeExecution:
        """An execution that ran already (or runs, if its script holds)."""
        execution = FakeExecution(execution_shape(execution_id, script, changes), script)
        self.executions[execution_id] = execution
        execution.begin()
        return execution

    def add_function(self, ref: str, **changes: Any) -> dict[str, Any]:
        """A function `owner/name:version`, built unless `changes` say otherwise."""
        self.functions[ref] = function_shape(ref, changes)
        return self.functions[ref]

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

    async def _audit(
        self, _request: web.Request, rest: list[str], _body: bytes, _user: str
    ) -> web.Response:
        return web.json_response(self.audit) if rest == ["gpus"] else problem("not_found", 404, "")

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
            return await self._output(request, execution, rest[2])
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
        execution.end()
        return web.json_response(execution.shape, status=202)

    async def _output(
        self, request: web.Request, execution: FakeExecution, stream: str
    ) -> web.StreamResponse:
        data = b"".join(d for name, d, _ in execution.script.output if name == stream)
        wanted = request.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        response = web.StreamResponse(status=206 if wanted else 200)
        response.content_type = "application/octet-stream"
        response.content_length = len(data) - start
        await response.prepare(request)
        if self.output_cuts:
            await response.write(data[start : start + self.output_cuts.pop(0)])
            assert request.transport is not None
            request.transport.close()
        else:
            await response.write(data[start:])
        return response

    @abstractmethod
    async def _tail(
        self,
        request: web.Request,
        execution: FakeExecution,
        headers: dict[str, str] | None = None,
    ) -> web.StreamResponse:
        """The execution's frames as an event stream."""
