"""Audits of the log. For admins."""

from __future__ import annotations

from aiohttp import web

from hermes.errors import FieldProblem
from hermes.server.call import Call, json_response
from hermes.server.gpu_ledgers import audit_pools
from hermes.server.json_body import refuse


async def gpus(call: Call) -> web.StreamResponse:
    """GET /audit/gpus: the ledger of one pool's GPUs, or of all."""
    services, wanted = call.services, call.query("pool")
    pools = sorted(services.taps)
    if wanted is not None:
        if wanted not in pools:
            refuse(FieldProblem("pool", f"{wanted!r} does not exist"))
        pools = [wanted]
    async with services.audits.of(("gpus",)):
        found = await audit_pools(services.settings.bootstrap, services.topics, pools)
    return json_response(found)
