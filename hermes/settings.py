"""Settings of the server's roles, from the environment. Empty means unset.

Precedence is flag, environment, default; flags reach the roles as environment variables.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from hermes.domain.resources import GIB, MIB, Count, Limits
from hermes.errors import InvalidRequest

#: "auto": docker where an engine and the toolchain images are, else bubblewrap.
SANDBOXES = ("auto", "docker", "bubblewrap")


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an operator can set. Sizes in bytes, times in seconds."""

    home: Path
    kafka: str | None = None
    database: str | None = None
    blobs: str | None = None
    host: str = "127.0.0.1"
    port: int = 9090
    sandbox: str = "auto"
    #: The engine's runtime for containers, such as "runsc"; None is the engine's own choice.
    container_runtime: str | None = None
    #: Toolchain images to use instead of ours, by toolchain: "cuda" and "runtime-cuda", say.
    toolchain_images: dict[str, str] = {}
    #: Sandboxes that may stand ready beforehand, all functions together; None is one per core.
    warm: Count | None = None

    topic_prefix: str = "hermes"
    replication: int = 1
    min_insync_replicas: int = 1
    output_partitions: int = 4

    pool: str = "default"
    agent: str = "local"
    slots: int = 0  # 0: twice the cores
    fake_gpus: int = 0  # GPUs that only say so, for tests of scheduling
    fake_gpus_file: Path | None = None  # steers what they say
    #: Between two looks at a GPU that nobody uses.
    gpu_recheck: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 30.0

    heartbeat: float = 1.0
    lease: float = 10.0
    claim_timeout: float = 10.0
    attempts: int = 3
    append_timeout: float = 10.0

    max_source: int = 50 * MIB
    max_input: int = 100 * MIB
    max_inline_input: int = MIB
    default_limits: Limits = Limits()
    max_limits: Limits = Limits(
        time=24 * 3600.0, memory=64 * GIB, cpus=64.0, output=GIB, processes=4096
    )
    build_limits: Limits = Limits(
        time=600.0, memory=2 * GIB, cpus=2.0, output=10 * MIB, processes=256
    )

    @property
    def bootstrap(self) -> str:
        """Kafka's bootstrap servers."""
        return _needed(self.kafka, "HERMES_KAFKA")

    @property
    def database_url(self) -> str:
        """PostgreSQL's URL."""
        return _needed(self.database, "HERMES_DATABASE")

    @property
    def blobs_url(self) -> str:
        """The object store: a folder or a URL."""
        return self.blobs or str(self.home / "blobs")

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read HERMES_* variables. Raises InvalidRequest naming the variable that is wrong."""
        env = {k: v for k, v in (os.environ if environ is None else environ).items() if v}
        values: dict[str, object] = {
            "home": Path(env.get("HERMES_HOME", "~/.hermes")).expanduser().absolute()
        }
        for name, variable in _VARIABLES.items():
            if variable in env:
                values[name] = env[variable]
        if "toolchain_images" in values:
            values["toolchain_images"] = _pairs(env[_VARIABLES["toolchain_images"]])
        values.setdefault("agent", _host_name())
        try:
            return msgspec.convert(values, cls, strict=False, dec_hook=_as_path)
        except msgspec.ValidationError as error:
            field = str(error).rpartition("$.")[2].strip("`")
            raise InvalidRequest(f"{_VARIABLES.get(field, field)}: {error}") from None


_VARIABLES = {
    "kafka": "HERMES_KAFKA",
    "database": "HERMES_DATABASE",
    "blobs": "HERMES_BLOBS",
    "host": "HERMES_HOST",
    "port": "HERMES_PORT",
    "sandbox": "HERMES_SANDBOX",
    "container_runtime": "HERMES_CONTAINER_RUNTIME",
    "toolchain_images": "HERMES_TOOLCHAIN_IMAGES",
    "warm": "HERMES_WARM",
    "topic_prefix": "HERMES_TOPIC_PREFIX",
    "replication": "HERMES_REPLICATION",
    "min_insync_replicas": "HERMES_MIN_INSYNC_REPLICAS",
    "output_partitions": "HERMES_OUTPUT_PARTITIONS",
    "pool": "HERMES_POOL",
    "agent": "HERMES_AGENT",
    "slots": "HERMES_SLOTS",
    "fake_gpus": "HERMES_FAKE_GPUS",
    "fake_gpus_file": "HERMES_FAKE_GPUS_FILE",
    "gpu_recheck": "HERMES_GPU_RECHECK",
    "heartbeat": "HERMES_HEARTBEAT",
    "lease": "HERMES_LEASE",
    "claim_timeout": "HERMES_CLAIM_TIMEOUT",
    "attempts": "HERMES_ATTEMPTS",
    "append_timeout": "HERMES_APPEND_TIMEOUT",
    "max_source": "HERMES_MAX_SOURCE",
    "max_input": "HERMES_MAX_INPUT",
}


def _pairs(text: str) -> dict[str, str]:
    """From "cuda=IMAGE,runtime-cuda=IMAGE". Raises InvalidRequest."""
    pairs = [entry.partition("=") for entry in text.split(",") if entry.strip()]
    if not all(name.strip() and image.strip() for name, _, image in pairs):
        raise InvalidRequest(f"HERMES_TOOLCHAIN_IMAGES: {text!r} is not NAME=IMAGE,NAME=IMAGE")
    return {name.strip(): image.strip() for name, _, image in pairs}


def _host_name() -> str:
    name = "".join(c if c.isalnum() or c in "-_." else "-" for c in socket.gethostname().lower())
    return name[:63] or "local"


def _needed(value: str | None, variable: str) -> str:
    if not value:
        raise InvalidRequest(f"{variable} is not set; `hermes up` sets it for embedded servers")
    return value


def _as_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, Path | str):
        return Path(value)
    raise NotImplementedError(f"no conversion to {kind}")
