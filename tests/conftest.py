"""Fixtures that tests of several areas share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, in_containers
from tests.support.cuda import install_cuda_or_skip
from tests.support.system import System, running_system


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real Kafka and a real PostgreSQL, started when the first test asks for them."""
    running = Cluster()
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def system(request: pytest.FixtureRequest) -> Iterator[System]:
    """A whole Hermes, started when the first test asks for it."""
    environment = {}
    if in_containers():
        servers: Cluster = request.getfixturevalue("cluster")
        environment = {"HERMES_KAFKA": servers.kafka, "HERMES_DATABASE": servers.new_database()}
    with running_system(environment) as running:
        yield running


@pytest.fixture(scope="session")
def installed_cuda(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Hermes home with CUDA, fetched when the first test asks for it; removed, it has 400 MB."""
    home = tmp_path_factory.mktemp("cuda-home")
    install_cuda_or_skip(home)
    yield home
    shutil.rmtree(home)
