"""One API for the tests of this folder, with an agent that the tests play."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api, ApiUser, settings_for
from tests.support.archives import config_bytes, function_archive
from tests.support.cluster import Cluster
from tests.support.fake_agent import FakeAgent


@pytest.fixture(scope="session")
async def api(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    home: Path = tmp_path_factory.mktemp("home")
    database = await asyncio.to_thread(cluster.new_database)
    async with Api(settings_for(cluster.kafka, database, home)) as running:
        await running.user("first")
        yield running


@pytest.fixture(scope="session")
async def agent(api: Api) -> AsyncIterator[FakeAgent]:
    async with FakeAgent(api.settings) as playing:
        yield playing


@pytest.fixture
async def ana(api: Api) -> ApiUser:
    return await api.user()


@pytest.fixture
async def bob(api: Api) -> ApiUser:
    return await api.user()


@pytest.fixture
async def function(ana: ApiUser, agent: FakeAgent) -> dict[str, Any]:
    """A built public function of ana's."""
    return await deployed(ana, agent)


async def deployed(user: ApiUser, agent: FakeAgent, **config: Any) -> dict[str, Any]:
    """Register a function and say that it was built."""
    found = (await user.deploy(function_archive(config=config_bytes(**config)))).expect(202)
    built = await agent.builds(found)
    answer = await user.get(
        f"/functions/{found['owner']}/{found['name']}/{found['version']}",
        headers={"Hermes-After": str(built)},
    )
    function: dict[str, Any] = answer.expect(200)
    assert function["status"] == "built"
    return function
