"""The supervisor with its real Kafka and PostgreSQL."""

from __future__ import annotations

import os
import signal
import stat
import time
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.supervisor.control import read_status, stop
from infra.supervisor.detached import start_detached
from tests.integration.supervisor.conftest import options, processes_of
from tests.integration.supervisor.test_up import eventually, role


@pytest.fixture(autouse=True)
def embedded(modules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what lets the other tests start without servers."""
    monkeypatch.delenv("HERMES_KAFKA")
    monkeypatch.delenv("HERMES_DATABASE")


def database_url(home: Path) -> str:
    environment = (home / "environment").read_text().splitlines()
    return next(line for line in environment if line.startswith("HERMES_DATABASE=")).split("=", 1)[
        1
    ]


async def test_facts_and_rows_outlive_a_kill_9_of_everything(home: Path) -> None:
    first = start_detached(options(home, "environment"))
    bootstrap = f"127.0.0.1:{first.ports.kafka}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("facts", 1, 1, topic_configs={"flush.messages": "1"})])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        await producer.send_and_wait("facts", b"kept")
    connection = await asyncpg.connect(database_url(home))
    await connection.execute("CREATE TABLE t AS SELECT 7 AS x")
    await connection.close()

    os.kill(first.pid, signal.SIGKILL)
    started = time.monotonic()
    second = start_detached(options(home, "environment"))
    assert time.monotonic() - started < 15
    assert second.ports == first.ports

    async with AIOKafkaConsumer(
        "facts", bootstrap_servers=bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        assert (await consumer.getone()).value == b"kept"
    connection = await asyncpg.connect(database_url(home))
    assert await connection.fetchval("SELECT x FROM t") == 7
    await connection.close()
    stop(home)
    assert processes_of(home) == set()


@pytest.mark.parametrize("name", ["kafka", "postgres"])
def test_a_killed_server_is_started_again_and_no_role_with_it(home: Path, name: str) -> None:
    start_detached(options(home, "steady"))
    pid = role(home, name).pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: role(home, name).restarts == 1 and role(home, name).status == "ready", 20.0)
    assert role(home, "steady").restarts == 0


def test_nobody_else_can_look_into_the_home(home: Path) -> None:
    start_detached(options(home, "steady"))
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    status = read_status(home)
    assert status is not None
    for server in status.roles:
        command = Path(f"/proc/{server.pid}/cmdline").read_text()
        assert (home / "postgres.password").read_text().strip() not in command
