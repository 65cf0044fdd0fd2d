"""Fixtures that tests of several areas share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.cluster import Cluster
from tests.support.system import System


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real Kafka and a real PostgreSQL, started when the first test asks for them."""
    running = Cluster()
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    """A whole Hermes, started when the first test asks for it."""
    running = System()
    running.start()
    yield running
    running.stop()
