"""Kafka and PostgreSQL in containers for tests, by testcontainers, from images made here.

HERMES_TEST_KAFKA_IMAGE and HERMES_TEST_POSTGRES_IMAGE name others, such as the official ones. No
Ryuk: its image comes from a registry. What a killed test run left is removed by the next.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import os
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import docker
import psutil
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from infra.embedded import kafka as embedded_kafka
from infra.embedded.ports import LOOPBACK, free_ports
from infra.engine import connect
from infra.images.hermes_servers import build

#: On every container of a test run; the value names the process that removes it.
LABEL = "hermes.test-servers"
_START_TIMEOUT = 180.0
_CLUSTER = base64.urlsafe_b64encode(b"hermes-test-here").decode().rstrip("=")
_SETTINGS = Path(embedded_kafka.__file__).with_name("kafka.properties")


def server_images(*names: str) -> dict[str, str]:
    """Images by name: what the environment names, else made here. Not in an event loop."""
    named = {name: os.environ.get(f"HERMES_TEST_{name.upper()}_IMAGE", "") for name in names}
    missing = [name for name in names if not named[name]]
    if missing:
        # Of two runs of tests at once, the second finds what the first has made.
        with (Path(tempfile.gettempdir()) / "hermes-test-images.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            named |= asyncio.run(_make(missing))
    return named


async def _make(names: list[str]) -> dict[str, str]:
    client = await connect()
    try:
        return await build(client, lambda line: print(line, flush=True), names)
    finally:
        await client.close()


class ServerContainers:
    """`start()`, use `kafka` and `database_url`, `stop()`."""

    def __init__(self) -> None:
        #: Bootstrap servers.
        self.kafka = ""
        #: URL of a database whose user may make more.
        self.database_url = ""
        self._running: list[DockerContainer] = []

    def start(self) -> None:
        """Start both servers; returns when both serve."""
        testcontainers_config.ryuk_disabled = True
        remove_left_overs()
        images = server_images("kafka", "postgres")
        try:
            # Clients come back to the address that the broker names, so ports are chosen before.
            kafka_port, postgres_port = free_ports(2)
            self._start_kafka(images["kafka"], kafka_port)
            self._start_postgres(images["postgres"], postgres_port)
            self.wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Remove both, with their data."""
        for container in self._running:
            container.stop(force=True, delete_volume=True)
        self._running.clear()

    def wait(self) -> None:
        """Until both serve."""
        port = int(self.kafka.rpartition(":")[2])
        node = embedded_kafka.KafkaNode(folder=Path(), port=port, controller_port=0)
        self._wait_for(node.is_ready)
        self._wait_for(lambda: asyncio.run(_lets_in(self.database_url)))

    def ids(self) -> list[str]:
        """The engine's ids of both containers."""
        return [container.get_container_id() for container in self._running]

    def _start_kafka(self, image: str, port: int) -> None:
        """Set as the embedded node, but for its addresses."""
        self.kafka = f"{LOOPBACK}:{port}"
        lines = _SETTINGS.read_text().splitlines()
        settings = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
        settings |= {
            "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "advertised.listeners": f"PLAINTEXT://{self.kafka}",
            "controller.quorum.voters": f"{settings['node.id']}@localhost:9093",
        }
        container = DockerContainer(image).with_env("CLUSTER_ID", _CLUSTER)
        for name, value in settings.items():
            container.with_env(f"KAFKA_{name.replace('.', '_').upper()}", value)
        self._start(container, 9092, port)

    def _start_postgres(self, image: str, port: int) -> None:
        password = secrets.token_urlsafe(16)
        self.database_url = f"postgresql://hermes:{password}@{LOOPBACK}:{port}/hermes"
        container = DockerContainer(image).with_envs(
            POSTGRES_USER="hermes", POSTGRES_PASSWORD=password, POSTGRES_DB="hermes"
        )
        self._start(container, 5432, port)

    def _start(self, container: DockerContainer, inside: int, port: int) -> None:
        # On loopback alone: the servers are for the tests.
        container.ports[str(inside)] = (LOOPBACK, port)
        container.with_kwargs(labels={LABEL: _identity(psutil.Process())})
        self._running.append(container)
        container.start()

    def _wait_for(self, is_ready: Callable[[], bool]) -> None:
        # The engine's forwarder takes connections before the server does: only an answer counts.
        deadline = time.monotonic() + _START_TIMEOUT
        while not is_ready():
            if time.monotonic() > deadline:
                said = [b"".join(container.get_logs())[-3000:] for container in self._running]
                raise RuntimeError(f"servers in containers do not serve: {said}")
            time.sleep(0.2)


def remove_left_overs() -> None:
    """Remove containers whose test run is gone."""
    client = docker.from_env()
    try:
        living = {_identity(process) for process in psutil.process_iter()}
        for container in client.containers.list(all=True, filters={"label": LABEL}):
            if container.labels[LABEL] not in living:
                container.remove(force=True, v=True)
    finally:
        client.close()


def _identity(process: psutil.Process) -> str:
    return f"{process.pid}-{process.create_time():.2f}"


async def _lets_in(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url, timeout=2)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    await connection.close()
    return True
