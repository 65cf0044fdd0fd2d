"""A real Kafka and a real PostgreSQL for tests, in a temporary folder, gone afterwards."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient

from infra.embedded.class_archive import ensure_class_archive
from infra.embedded.kafka import KafkaNode
from infra.embedded.ports import free_ports
from infra.embedded.postgres import PostgresServer
from infra.embedded.spawn import PLAIN_ENVIRONMENT, spawn

if TYPE_CHECKING:
    from tests.support.server_containers import ServerContainers

_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 15.0


def in_containers() -> bool:
    """Whether tests are to run on Kafka and PostgreSQL in containers."""
    return os.environ.get("HERMES_TEST_SERVERS") == "containers"


class Cluster:
    """`start()`, use `kafka`, `database_url` and `topic_prefix`, `stop()`.

    With HERMES_KAFKA or HERMES_DATABASE set, those servers are used, kept apart from everything
    else there by `topic_prefix` and by a database of our own. With HERMES_TEST_SERVERS=containers
    both run in containers. Call `start` from the main thread.
    """

    def __init__(self) -> None:
        #: Bootstrap servers, `host:port[,host:port]`.
        self.kafka = os.environ.get("HERMES_KAFKA", "")
        #: URL of a database that nobody else uses.
        self.database_url = os.environ.get("HERMES_DATABASE", "")
        #: For `hermes.settings.Settings.topic_prefix`; different for every cluster.
        self.topic_prefix = f"test-{secrets.token_hex(4)}"
        self._folder = Path(tempfile.mkdtemp(prefix="hermes-test-cluster-"))
        self._processes: list[tuple[subprocess.Popen[bytes], int]] = []
        self._own_databases: list[tuple[str, str]] = []
        self._containers: ServerContainers | None = None

    def start(self) -> None:
        """Start what the environment does not name; returns when both serve (about 2 s)."""
        try:
            if in_containers():
                self._start_containers()
                return
            if not self.database_url:
                self._start_postgres()
            else:
                self.database_url = self.new_database()
            if not self.kafka:
                self._start_kafka()
        except BaseException:
            self.stop()
            raise

    def new_database(self) -> str:
        """The URL of one more, empty database there. Not to be called in a running event loop."""
        name = f"hermes_test_{secrets.token_hex(6)}"
        server = self.database_url
        asyncio.run(_execute(server, f'CREATE DATABASE "{name}"'))
        self._own_databases.append((server, name))
        return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))

    def stop(self) -> None:
        """End the servers and remove the folder; take away what was left on foreign servers."""
        if self._containers:
            self._containers.stop()
        elif os.environ.get("HERMES_KAFKA"):
            asyncio.run(_delete_topics(self.kafka, self.topic_prefix))
        if os.environ.get("HERMES_DATABASE") and not self._containers:
            for server, name in self._own_databases:
                asyncio.run(_execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
        for process, stop_signal in reversed(self._processes):
            process.send_signal(stop_signal)
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start_containers(self) -> None:
        # Imported here: most test runs have no use for what speaks to engines.
        from tests.support.server_containers import ServerContainers  # noqa: PLC0415

        self._containers = ServerContainers()
        self._containers.start()
        self.kafka = self._containers.kafka
        self.database_url = self._containers.database_url

    def _start_kafka(self) -> None:
        ensure_class_archive()
        port, controller_port = free_ports(2)
        folder = self._folder / "kafka"
        node = KafkaNode(folder=folder, port=port, controller_port=controller_port)
        node.prepare()
        log = self._folder / "kafka.log"
        process = spawn(node.command(), log=log, env=PLAIN_ENVIRONMENT, cwd=folder)
        self._processes.append((process, signal.SIGTERM))
        self._wait_for(process, log, node.is_ready)
        self.kafka = node.bootstrap

    def _start_postgres(self) -> None:
        server = PostgresServer(
            folder=self._folder / "postgres",
            port=free_ports(1)[0],
            password_file=self._folder / "postgres.password",
        )
        server.prepare()
        log = self._folder / "postgres.log"
        process = spawn(server.command(), log=log, env=PLAIN_ENVIRONMENT, never_root=True)
        self._processes.append((process, signal.SIGINT))
        self._wait_for(process, log, lambda: server.is_ready(process.pid))
        self.database_url = server.url

    def _wait_for(
        self, process: subprocess.Popen[bytes], log: Path, is_ready: Callable[[], bool]
    ) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{log.name}:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.02)


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _delete_topics(bootstrap: str, prefix: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        topics = [name for name in await admin.list_topics() if name.startswith(prefix)]
        if topics:
            await admin.delete_topics(topics)
    finally:
        await admin.close()
