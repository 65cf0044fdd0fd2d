"""The application: the table of routes behind one middleware that turns errors into problems."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import asyncpg
import msgspec
from aiohttp import web

import hermes
from hermes.domain.ids import new_id
from hermes.errors import Forbidden, HermesError, InvalidRequest, ServerFault, Unavailable
from hermes.server.call import Call
from hermes.server.openapi import document
from hermes.server.problems import from_http, problem_response
from hermes.server.routing import Route
from hermes.server.services import Services
from hermes.server.table import ROUTES

log = logging.getLogger(__name__)

# It does not answer, turns us away, or has no room: whatever we asked, it is not the asker's fault.
_DATABASE_AWAY = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
_Next = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(services: Services) -> web.Application:
    """The API over these services."""
    services.openapi = msgspec.json.encode(document(ROUTES, hermes.__version__))
    outermost = _Outermost(services)

    @web.middleware
    async def answer(request: web.Request, handler: _Next) -> web.StreamResponse:
        return await outermost.answer(request, handler)

    async def sign(request: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = "hermes"
        response.headers["Hermes-Version"] = hermes.__version__
        response.headers["Hermes-Request-Id"] = request["id"]

    app = web.Application(middlewares=[answer])
    app.on_response_prepare.append(sign)
    for route in ROUTES:
        handler = _handler(route, services)
        app.router.add_route(route.method, route.path, handler)
        if route.method == "GET":
            # The same without the body (RFC 9110, 9.3.2).
            app.router.add_route("HEAD", route.path, handler)
    return app


def _handler(route: Route, services: Services) -> _Next:
    async def handle(request: web.Request) -> web.StreamResponse:
        call = Call(request, services)
        request["route"] = route
        if route.auth != "none":
            await call.authenticate()
        if route.auth == "admin" and not call.user.admin:
            raise Forbidden("only an admin may do this")
        if route.method == "GET":
            await call.wait_as_asked(views=route.views)
        return await route.handler(call)

    return handle


class _Outermost:
    """Gives every request an id, and every error the shape of a problem."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def answer(self, request: web.Request, handler: _Next) -> web.StreamResponse:
        """The middleware."""
        request["id"] = request_id = new_id()
        started = time.perf_counter()
        response = await self._answer_or_problem(request, handler, request_id)
        if not response.prepared and request.writer.output_size > 0:
            # Behind the part that is sent already, a problem would be taken for more of it.
            raise ConnectionError(f"request {request_id} ended in the middle of its answer")
        self._count(request, response, time.perf_counter() - started)
        return response

    async def _answer_or_problem(
        self, request: web.Request, handler: _Next, request_id: str
    ) -> web.StreamResponse:
        instance = f"urn:uuid:{request_id}"
        try:
            return await handler(request)
        except web.HTTPException as error:
            response = problem_response(from_http(error), instance)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response
        except HermesError as error:
            if isinstance(error, ServerFault):
                log.warning("request %s: %s: %s", request_id, type(error).title(), error.detail)
            return problem_response(error, instance)
        except (ConnectionError, TimeoutError, *_DATABASE_AWAY) as error:
            log.warning("request %s: %r", request_id, error)
            return problem_response(Unavailable(), instance)
        except (RecursionError, UnicodeError):
            return problem_response(InvalidRequest(), instance)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("request %s failed", request_id)
            return problem_response(HermesError(f"request {request_id} failed"), instance)

    def _count(self, request: web.Request, response: web.StreamResponse, seconds: float) -> None:
        route: Route | None = request.get("route")
        path = route.path if route else "unknown"
        method = route.method if route else "unknown"
        metrics = self._services.metrics
        metrics.requests.labels(method, path, str(response.status)).inc()
        if route is None or not route.streams:
            metrics.seconds.labels(path).observe(seconds)
