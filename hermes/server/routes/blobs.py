"""Inputs too large for a request: uploaded first, named by their SHA-256."""

from __future__ import annotations

import re

from aiohttp import web

from hermes.errors import FieldProblem
from hermes.server.call import Call, json_response
from hermes.server.json_body import refuse
from hermes.server.uploads import received

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


async def put(call: Call) -> web.StreamResponse:
    """PUT /blobs/{sha256}: 201, or 200 if this user has uploaded it before."""
    services, wanted = call.services, call.path("sha256")
    if not _SHA256.match(wanted):
        refuse(FieldProblem("sha256", "must be a SHA-256 in lower-case hex"))
    async with received(call, services.settings.max_input) as upload:
        if upload.sha256 != wanted:
            refuse(FieldProblem("sha256", f"the body's SHA-256 is {upload.sha256}"))
        await services.blobs.put_file(upload.path, wanted)
    added = await services.accounts.add_blob(call.user, wanted, upload.bytes)
    return json_response({"sha256": wanted, "bytes": upload.bytes}, 201 if added else 200)
