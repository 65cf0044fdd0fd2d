"""The table of roles: what the supervisor starts, how it knows that one serves, how it ends one."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from infra.embedded.kafka import KafkaNode
from infra.embedded.postgres import PostgresServer
from infra.embedded.spawn import PLAIN_ENVIRONMENT

#: Role and Python module, in the order in which they are shown.
MODULES = {
    "api": "hermes.server",
    "builder": "streams.builder",
    "scheduler": "streams.scheduler",
    "agent": "streams.agent",
    "projector": "projections.projector",
}

_PACKAGES = Path(__file__).resolve().parents[2]


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """One child process of the supervisor.

    `prepare` runs before every start; `command` gives the argv, to be run in `folder`. A role with
    a `probe` (it takes the pid) is ready once that says so; one without reports on the descriptor
    in HERMES_READY_FD. Roles of the lowest `stop_stage` are stopped first, with `stop_signal`;
    SIGKILL after `stop_timeout` seconds.
    """

    name: str
    command: Callable[[], list[str]]
    environment: Mapping[str, str]
    folder: Path
    prepare: Callable[[], None] = lambda: None
    probe: Callable[[int], bool] | None = None
    stop_stage: int = 0
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout: float = 8.0
    never_root: bool = False


def python_role(name: str, module: str, environment: Mapping[str, str]) -> Role:
    """A role that is a Python module of Hermes."""
    # -P: a folder that the user happens to stand in must not provide modules.
    argv = [sys.executable, "-P", "-m", module]
    path = os.pathsep.join(filter(None, (str(_PACKAGES), os.environ.get("PYTHONPATH"))))
    return Role(
        name=name,
        command=lambda: argv,
        folder=Path(environment["HERMES_HOME"]),
        environment={**environment, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
    )


def kafka_role(node: KafkaNode) -> Role:
    """The embedded broker; stopped last, since every role writes to it."""
    return Role(
        name="kafka",
        prepare=node.prepare,
        command=node.command,
        environment=PLAIN_ENVIRONMENT,
        folder=node.folder,
        probe=lambda pid: node.is_ready(),
        stop_stage=2,
    )


def postgres_role(server: PostgresServer) -> Role:
    """The embedded database."""
    return Role(
        name="postgres",
        prepare=server.prepare,
        command=server.command,
        environment=PLAIN_ENVIRONMENT,
        folder=server.folder,
        probe=server.is_ready,
        stop_stage=1,
        stop_signal=signal.SIGINT,  # "fast": PostgreSQL would wait for its clients on SIGTERM
        never_root=True,
    )
