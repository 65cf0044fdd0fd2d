"""Nothing here without an engine, and it says so."""

from __future__ import annotations

import pytest

from tests.support.engine import need_engine


@pytest.fixture(autouse=True, scope="session")
def engine() -> None:
    need_engine()
