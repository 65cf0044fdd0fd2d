"""The images of servers, made here: what they give and what they keep to themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import docker
import pytest

from tests.support.server_containers import (
    LABEL,
    ServerContainers,
    remove_left_overs,
    server_images,
)


@pytest.fixture(scope="module")
def client(engine: None) -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="module")
def servers(engine: None) -> Iterator[ServerContainers]:
    running = ServerContainers()
    running.start()
    yield running
    running.stop()


def test_what_is_made_already_is_not_made_again(engine: None) -> None:
    assert server_images("kafka", "postgres") == server_images("kafka", "postgres")


def test_servers_do_not_run_as_root(servers: ServerContainers, client: docker.DockerClient) -> None:
    for number in servers.ids():
        container = client.containers.get(number)
        rows = container.top(ps_args="-eo uid,pid,comm")["Processes"]
        assert rows
        assert all(uid != "0" for uid, *_ in rows), rows


def test_a_database_lets_nobody_in_without_its_password(servers: ServerContainers) -> None:
    wrong = servers.database_url.replace("hermes:", "hermes:not-", 1)

    async def knock() -> None:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(wrong, timeout=20)

    asyncio.run(knock())


def test_a_stopped_server_keeps_its_data(
    servers: ServerContainers, client: docker.DockerClient
) -> None:
    async def execute(statement: str) -> object:
        connection = await asyncpg.connect(servers.database_url, timeout=20)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    asyncio.run(execute("CREATE TABLE kept AS SELECT 42 AS answer"))
    for number in servers.ids():
        client.containers.get(number).restart(timeout=20)
    servers.wait()
    assert asyncio.run(execute("SELECT answer FROM kept")) == 42


def test_what_a_killed_test_run_left_is_removed_by_the_next(
    client: docker.DockerClient, servers: ServerContainers
) -> None:
    left = client.containers.create(
        server_images("postgres")["postgres"], ["bash"], labels={LABEL: "1-0.00"}
    )
    remove_left_overs()
    assert client.containers.list(all=True, filters={"id": left.id}) == []
    assert len(client.containers.list(filters={"label": LABEL})) >= len(servers.ids())
