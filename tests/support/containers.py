"""Ask the engine what containers there are, past the adapter under test."""

from __future__ import annotations

import json
from typing import Any

from infra.engine import connect


async def containers_of(owner: str) -> dict[str, dict[str, Any]]:
    """Of every container of a sandbox owner, whatever its state: its inspection, by its name."""
    async with await connect() as client:
        filters = json.dumps({"label": [f"hermes.owner={owner}"]})
        found = await client.containers.list(all=True, filters=filters)
        return {one["Names"][0].lstrip("/"): await one.show() for one in found}
