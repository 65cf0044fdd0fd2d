"""Ask the engine what containers there are, past the adapter under test."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import aiodocker

from infra.engine import connect


async def containers_of(owner: str) -> dict[str, dict[str, Any]]:
    """Of every container of a sandbox owner, whatever its state: its inspection, by its name."""
    async with await connect() as client:
        filters = json.dumps({"label": [f"hermes.owner={owner}"]})
        seen = {}
        for one in await client.containers.list(all=True, filters=filters):
            with contextlib.suppress(aiodocker.DockerError):  # it went meanwhile
                inspected = await one.show()
                seen[inspected["Name"].lstrip("/")] = inspected
        return seen
