"""Hermes as infra/compose starts it, under a project name of its own, gone afterwards."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import docker
import psutil

from infra.embedded.ports import LOOPBACK, free_ports
from tests.support.server_containers import server_images
from tests.support.system import PASSWORD, ROOT, User

_FILE = ROOT / "infra" / "compose" / "compose.yml"
_PROJECT = "hermestest"
_LABEL = "com.docker.compose.project"
_UP_TIMEOUT = 420.0
_READY_TIMEOUT = 240.0
# Run in a container of the project, which alone can reach the brokers.
_DESCRIBE = """
import asyncio, json
from aiokafka.admin import AIOKafkaAdminClient

async def main():
    admin = AIOKafkaAdminClient(bootstrap_servers="kafka-1:9092,kafka-2:9092,kafka-3:9092")
    await admin.start()
    print(json.dumps(await admin.describe_topics()))
    await admin.close()

asyncio.run(main())
"""


def command() -> list[str] | None:
    """`docker-compose` or `docker compose`, whichever is here."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    version = ["docker", "compose", "version"]
    if (
        shutil.which("docker")
        and not subprocess.run(version, capture_output=True, check=False).returncode
    ):
        return ["docker", "compose"]
    return None


class Compose:
    """`start()`, use `url` and `user()`, `stop()`, which also checks that nothing is left."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hermes-test-compose-"))
        self.project = f"{_PROJECT}-{_identity(psutil.Process())}"
        (port,) = free_ports(1)
        self.url = f"http://{LOOPBACK}:{port}"
        #: Of clients: nothing of whoever runs the tests.
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("HERMES_")}
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(16) + "\n")
        self._settings = {"HERMES_PORT": str(port), "HERMES_PASSWORD_FILE": str(password)}

    def start(self) -> None:
        """Make the images that are missing, bring everything up; returns when it serves."""
        remove_left_overs()
        try:
            images = server_images("kafka", "postgres", "server")
            self._settings["HERMES_IMAGE"] = images.pop("server")
            self._settings |= {f"HERMES_{name.upper()}_IMAGE": i for name, i in images.items()}
            self.compose("up", "--detach", timeout=_UP_TIMEOUT)
            self._wait()
        except BaseException:
            self.stop()
            raise

    def compose(self, *words: str, stdin: str = "", timeout: float = 120.0) -> str:
        """Run a command that must succeed; what it printed."""
        program = command()
        assert program
        done = subprocess.run(
            [*program, "--file", str(_FILE), "--project-name", self.project, *words],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            env={**self.environment, **self._settings},
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def user(self, name: str) -> User:
        """Register a user of the real command line; the very first is the admin."""
        user = User(self, name, self.folder / "config" / name)
        user.ok("remote", "register", name, "--password-stdin", stdin=PASSWORD.encode())
        return user

    def partitions(self, topic: str) -> list[dict[str, Any]]:
        """The topic's partitions: `leader` and `isr`, as numbers of nodes."""
        said = self.compose("exec", "-T", "scheduler", "python3", "-", stdin=_DESCRIBE)
        (found,) = (one for one in json.loads(said) if one["topic"] == topic)
        partitions: list[dict[str, Any]] = found["partitions"]
        return partitions

    def logs(self) -> str:
        """The end of every service's log, for a failing test."""
        return self.compose("logs", "--no-color", "--tail=25")

    def stop(self) -> None:
        """Take everything down, with its data."""
        try:
            self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5", timeout=240.0)
            assert _remove(self.project) == []
        finally:
            _remove(self.project)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT
        while not self._is_ready():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.5)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


def remove_left_overs() -> None:
    """Remove projects whose test run is gone."""
    living = {f"{_PROJECT}-{_identity(process)}" for process in psutil.process_iter()}
    client = docker.from_env()
    try:
        labelled = [
            container.labels[_LABEL]
            for container in client.containers.list(all=True, filters={"label": _LABEL})
        ]
        labelled += [
            volume.attrs["Labels"][_LABEL]
            for volume in client.volumes.list(filters={"label": _LABEL})
        ]
    finally:
        client.close()
    for project in {name for name in labelled if name.startswith(f"{_PROJECT}-")} - living:
        _remove(project)


def _remove(project: str) -> list[str]:
    """Remove whatever belongs to the project; the names of what there was."""
    client = docker.from_env()
    try:
        mine = {"label": f"{_LABEL}={project}"}
        containers = client.containers.list(all=True, filters=mine)
        for container in containers:
            container.remove(force=True, v=True)
        others = [*client.volumes.list(filters=mine), *client.networks.list(filters=mine)]
        for other in others:
            other.remove()
        return [found.name for found in (*containers, *others)]
    finally:
        client.close()


def _identity(process: psutil.Process) -> str:
    return f"{process.pid}-{process.create_time():.0f}"
