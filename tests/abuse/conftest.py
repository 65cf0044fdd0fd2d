"""The cells of the matrix that were asked for are all attempted first, two at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio

from tests.abuse import matrix
from tests.abuse.attack import Enclosure
from tests.abuse.matrix import Cell, Verdict


@pytest_asyncio.fixture(scope="session")
async def opened() -> AsyncIterator[tuple[Mapping[str, Enclosure], Mapping[str, str]]]:
    async with matrix.opened() as enclosures:
        yield enclosures


@pytest_asyncio.fixture(scope="session")
async def verdicts(
    request: pytest.FixtureRequest,
    opened: tuple[Mapping[str, Enclosure], Mapping[str, str]],
) -> Mapping[Cell, Verdict]:
    wanted = [
        item.callspec.params["cell"]
        for item in request.session.items
        if "verdicts" in getattr(item, "fixturenames", ())
    ]
    return await matrix.attempt_all(wanted, opened[0])
