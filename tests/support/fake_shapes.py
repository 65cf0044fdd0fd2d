"""Shapes and answers of the FakeApi."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from tests.support.fake_executions import NOW, position


def function_shape(ref: str, changes: dict[str, Any]) -> dict[str, Any]:
    """A Function in the interface's shape."""
    owner, _, rest = ref.partition("/")
    name, _, version = rest.partition(":")
    return {
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


def user_shape(name: str) -> dict[str, Any]:
    return {"username": name, "admin": name == "ana", "created_at": NOW}


def page(request: web.Request, items: list[dict[str, Any]]) -> web.Response:
    """A page of a list; the cursor is the number of items before it."""
    start, limit = int(request.query.get("cursor", "0")), int(request.query.get("limit", "50"))
    more = start + limit < len(items)
    cursor = str(start + limit) if more else None
    return web.json_response({"items": items[start : start + limit], "next_cursor": cursor})
