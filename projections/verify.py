"""Compares the views with a fresh fold of the log, without changing them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hermes.settings import Settings
from projections.comparison import Difference
from projections.definitions import DEFINITIONS
from projections.shadow import shadow_of


async def verify(
    database_url: str,
    bootstrap: str,
    settings: Settings,
    names: Sequence[str] = tuple(DEFINITIONS),
) -> list[Difference]:
    """Rows in which views differ from what the log says up to their checkpoints; at most the first
    20 of each table. Raises AlreadyExists while one of the projections is being rebuilt."""
    settings = msgspec.structs.replace(settings, database=database_url, kafka=bootstrap)
    found: list[Difference] = []
    for name in names:
        async with shadow_of(settings, DEFINITIONS[name]) as shadow:
            await shadow.create()
            await shadow.fill(_ignore)
            found += (await shadow.compare_with_active()).examples
            await shadow.drop_others()
    return found


async def _ignore(_step: str, _done: int, _total: int) -> None:
    """Nobody asked for the progress."""
