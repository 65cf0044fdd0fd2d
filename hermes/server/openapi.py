"""The API's description (OpenAPI 3.1), made from the table of routes and the shapes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from hermes.domain import shapes
from hermes.domain.gpu_audit import GpuAudit
from hermes.server.routing import Json, Route
from projections.views import ProjectionStatus

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_PATH_PARAMETER = re.compile(r"\{([a-z0-9]+)\}")
_POSITION_HEADER = {"Hermes-Position": {"schema": {"type": "string"}}}
_APPENDS = ("Function", "Execution", "DeletedFunctions")


def document(routes: Iterable[Route], version: str) -> Json:
    """The whole description."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Hermes", "version": version},
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PATH_PARAMETER.findall(route.path)
    ]
    parameters += [{"name": p.name, "in": p.place, "schema": p.schema} for p in route.parameters]
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "parameters": parameters,
        "responses": {str(status): answer for status, answer in _responses(route).items()},
        "security": [] if route.auth == "none" else [{"token": []}],
    }
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {route.body.content_type: {"schema": route.body.schema}},
        }
    return operation


def _responses(route: Route) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for status, schema in route.success.items():
        answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        if status != HTTPStatus.NO_CONTENT:
            content: dict[str, Any] = {}
            if schema is not None:
                content = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
            answer["content"] = {route.content_type: content}
        if route.method != "GET" and schema in _APPENDS:
            answer["headers"] = _POSITION_HEADER
        found[status] = answer
    for status in sorted(_errors(route)):
        if status not in found:
            found[status] = {"description": HTTPStatus(status).phrase, "content": _PROBLEM}
    return found


def _errors(route: Route) -> set[int]:
    errors = {*route.errors, 400, 500, 503}
    if route.auth != "none":
        errors.add(401)
    if route.auth == "admin":
        errors.add(403)
    if "{" in route.path:
        errors.add(404)
    if route.path == "/v1/executions" and route.method == "POST":
        errors.add(404)
    if route.body is not None:
        errors |= {413, 415}
    if any(p.name == "Hermes-After" for p in route.parameters):
        errors.add(412)
    return errors


def _operation_id(route: Route) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", route.path.removeprefix("/v1").lower()).strip("_")
    return f"{route.method.lower()}_{words}"


def _schemas() -> dict[str, Any]:
    _, found = msgspec.json.schema_components(
        (
            shapes.User,
            shapes.Function,
            shapes.Execution,
            shapes.Event,
            ProjectionStatus,
            GpuAudit,
        ),
        ref_template="#/components/schemas/{name}",
    )
    schemas: dict[str, Any] = dict(found)
    text: Json = {"type": "string"}
    whole: Json = {"type": "integer"}
    schemas |= {
        "Problem": _object(
            type=text,
            title=text,
            status=whole,
            detail=text,
            instance=text,
            errors={"type": "array", "items": _object(field=text, message=text)},
        ),
        "Credentials": _object(
            username={"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,38}$"},
            password={"type": "string", "minLength": 12, "maxLength": 128},
        ),
        "Password": _object(password={"type": "string"}),
        "Session": _object(
            user=_ref("User"), token=text, expires_at={"type": "string", "format": "date-time"}
        ),
        "Blob": _object(sha256=text, bytes=whole),
        "Health": _object(status=text),
        "RebuildStarted": _object(name=text),
        "Projections": _object(items=_list("ProjectionStatus")),
        "DeletedFunctions": _object(items=_list("Function")),
        "Agent": _agent(),
        "GPU": _gpu(),
        "RunRequest": _run_request(),
    }
    for item in ("Function", "Execution", "Event", "Agent"):
        schemas[f"{item}Page"] = _page(item)
    schemas["GpuPage"] = _page("GPU")
    return schemas


def _run_request() -> dict[str, Any]:
    text: Json = {"type": "string"}
    wishes: Json = {
        "type": "object",
        "properties": {
            "count": {"type": "integer", "minimum": 1},
            "memory": {"type": "integer", "minimum": 1},
            "name": text,
            "computeCapability": text,
        },
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "function": text,
            "id": {"type": ["string", "null"], "format": "uuid"},
            "input": {"type": ["string", "null"]},
            "input_base64": {"type": ["string", "null"], "contentEncoding": "base64"},
            "input_blob": {"type": ["string", "null"], "pattern": "^[0-9a-f]{64}$"},
            "timeout": {"type": ["number", "null"], "exclusiveMinimum": 0},
            "gpu": {"anyOf": [{"type": ["boolean", "null"]}, wishes]},
            "pool": {"type": ["string", "null"]},
        },
        "required": ["function"],
    }


def _agent() -> dict[str, Any]:
    text: Json = {"type": "string"}
    time: Json = {"type": "string", "format": "date-time"}
    return _object(
        id=text,
        pool=text,
        state={"enum": ["online", "draining", "lost", "left"]},
        sandbox=text,
        slots={"type": "integer"},
        running={"type": "array", "items": text},
        cpus={"type": "number"},
        memory={"type": "integer"},
        gpus=_list("GPU"),
        version=text,
        joined_at=time,
        seen_at={"anyOf": [time, {"type": "null"}]},
    )


def _gpu() -> dict[str, Any]:
    text: Json = {"type": "string"}
    return _object(
        uuid=text,
        name=text,
        memory={"type": "integer"},
        compute_capability=text,
        driver=text,
        mig={"type": ["string", "null"]},
        parent={"type": ["string", "null"]},
        state={"enum": ["free", "leased", "drained"]},
        reason={"type": ["string", "null"]},
        execution={"type": ["string", "null"]},
        agent=text,
    )


def _page(item: str) -> dict[str, Any]:
    return _object(items=_list(item), next_cursor={"type": ["string", "null"]})


def _list(item: str) -> dict[str, Any]:
    return {"type": "array", "items": _ref(item)}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}
