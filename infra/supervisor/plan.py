"""What `hermes up` is asked for, and all that follows from it before the first process starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from hermes.errors import InvalidRequest
from hermes.settings import Settings
from infra.embedded.class_archive import ensure_class_archive
from infra.embedded.errors import EmbeddedFault
from infra.embedded.jars import Report
from infra.embedded.kafka import KafkaNode
from infra.embedded.ports import LOOPBACK
from infra.embedded.postgres import PostgresServer
from infra.supervisor.home import Home
from infra.supervisor.ports import StoredPorts, choose_ports
from infra.supervisor.results import Ports
from infra.supervisor.roles import MODULES, Role, kafka_role, postgres_role, python_role

# The client's settings; a token has no business in a server's environment.
_NOT_FOR_ROLES = ("HERMES_TOKEN", "HERMES_URL")
# They live by the log alone, and the agent stands next to strangers' programs: no password there.
_WITHOUT_DATABASE = ("builder", "scheduler", "agent")


class UpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The flags of `hermes up`; None stands for the environment's value or the default."""

    home: Path | None = None
    port: int | None = None
    sandbox: str | None = None
    #: Role and Python module.
    modules: Mapping[str, str] = msgspec.field(default_factory=lambda: dict(MODULES))

    def encode(self) -> bytes:
        """As JSON, for another process."""
        return msgspec.json.encode(self, enc_hook=str)

    @classmethod
    def decode(cls, text: str) -> UpOptions:
        """From `encode`'s JSON."""
        return msgspec.json.decode(text, type=cls, dec_hook=lambda kind, value: kind(value))


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs where. `kafka` and `postgres` are None where the environment names a server."""

    url: str
    ports: Ports
    kafka: KafkaNode | None
    postgres: PostgresServer | None
    modules: Mapping[str, str]
    environment: Mapping[str, str]

    def prepare(self, report: Report) -> None:
        """What a first start takes time for. Raises JarsUnavailable or EmbeddedFault."""
        try:
            if self.kafka:
                ensure_class_archive(report)
                self.kafka.prepare(report)
            if self.postgres:
                self.postgres.prepare(report)
        except OSError as error:
            raise EmbeddedFault(f"{error}; free some space, or choose another --home") from None

    def roles(self) -> tuple[Role, ...]:
        """All roles to supervise, as they are shown. Call after `prepare`."""
        environment = dict(self.environment)
        embedded = []
        if self.kafka:
            environment["HERMES_KAFKA"] = self.kafka.bootstrap
            embedded.append(kafka_role(self.kafka))
        if self.postgres:
            environment["HERMES_DATABASE"] = self.postgres.url
            embedded.append(postgres_role(self.postgres))
        without = {k: v for k, v in environment.items() if k != "HERMES_DATABASE"}
        return (
            *embedded,
            *(
                python_role(name, module, without if name in _WITHOUT_DATABASE else environment)
                for name, module in self.modules.items()
            ),
        )


def make_plan(options: UpOptions, home: Home) -> Plan:
    """Choose ports and servers. Raises InvalidRequest, PortTaken or HomeUnusable."""
    settings = Settings.from_env()
    port = settings.port if os.environ.get("HERMES_PORT") else None
    port = options.port if options.port is not None else port
    if port is not None and not 0 < port < 65536:
        raise InvalidRequest(f"{port} is no TCP port; choose one between 1 and 65535")
    unused = {"kafka", "kafka_controller"} if settings.kafka else set()
    unused |= {"postgres"} if settings.database else set()
    ports = choose_ports(home.ports_file, port, unused)
    host = os.environ.get("HERMES_HOST") or LOOPBACK
    return Plan(
        url=f"http://{host}:{ports.api}",
        ports=Ports(
            api=ports.api,
            kafka=None if settings.kafka else ports.kafka,
            postgres=None if settings.database else ports.postgres,
        ),
        kafka=None if settings.kafka else _kafka(home, ports),
        postgres=None if settings.database else _postgres(home, ports),
        modules=options.modules,
        environment={k: v for k, v in os.environ.items() if k not in _NOT_FOR_ROLES}
        | {
            "HERMES_HOME": str(home.path),
            "HERMES_BLOBS": settings.blobs or str(home.path / "blobs"),
            "HERMES_HOST": host,
            "HERMES_PORT": str(ports.api),
            "HERMES_SANDBOX": options.sandbox or settings.sandbox,
        },
    )


def _kafka(home: Home, ports: StoredPorts) -> KafkaNode:
    return KafkaNode(
        folder=home.path / "kafka", port=ports.kafka, controller_port=ports.kafka_controller
    )


def _postgres(home: Home, ports: StoredPorts) -> PostgresServer:
    return PostgresServer(
        folder=home.path / "postgres",
        port=ports.postgres,
        password_file=home.path / "postgres.password",
    )
