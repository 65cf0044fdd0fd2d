"""What `up`, `down` and `status` answer, in the shapes of their `--json`."""

from __future__ import annotations

from typing import Literal

import msgspec

RoleState = Literal["starting", "ready", "waiting", "stopping", "stopped", "external"]


class Ports(msgspec.Struct, frozen=True):
    """TCP ports; None for a server that is not ours."""

    api: int
    kafka: int | None
    postgres: int | None


class UpResult(msgspec.Struct, frozen=True):
    """A Hermes that serves. `pid` is the supervisor's."""

    url: str
    home: str
    pid: int
    ports: Ports


class DownResult(msgspec.Struct, frozen=True):
    """Whether there was something to stop."""

    stopped: bool


class RoleStatus(msgspec.Struct, frozen=True):
    """One role. `waiting`: it crashed and is started again after a pause; `external`: not ours."""

    name: str
    status: RoleState
    pid: int | None
    restarts: int


class StatusResult(msgspec.Struct, frozen=True):
    """All roles. `ready`: each of them serves."""

    url: str
    ready: bool
    roles: tuple[RoleStatus, ...]
