"""For tests that need a container engine on this host."""

from __future__ import annotations

import asyncio
from functools import cache

import pytest

from infra.engine import EngineUnavailable, connect


@cache
def why_no_engine() -> str | None:
    """None if an engine answers here."""

    async def ask() -> None:
        async with await connect():
            pass

    try:
        asyncio.run(ask())
    except EngineUnavailable as error:
        return str(error)
    return None


def need_engine() -> None:
    """Skip the test, saying so, where no engine answers. For fixtures."""
    if reason := why_no_engine():
        pytest.skip(f"NO ENGINE, so containers are not tested: {reason}")


_WHY = why_no_engine()
#: The same as a mark.
needs_engine = pytest.mark.skipif(_WHY is not None, reason=f"NO ENGINE, no containers: {_WHY}")
