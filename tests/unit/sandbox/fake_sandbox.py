"""A sandbox that encloses nothing: it counts, and fails or dies when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from infra.sandbox.port import (
    LATER,
    Guarantee,
    KillReason,
    SandboxError,
    SandboxExit,
    SandboxSpec,
)


class FakePrepared:
    """Waits until `dies`, `close` or `go`."""

    stdout = stderr = -1
    work: Path | None = None

    def __init__(self, spec: SandboxSpec) -> None:
        self.prepared_for = spec
        self.serves: SandboxSpec | None = None if spec.stdin == LATER else spec
        self.lives = True
        self.closed = False
        #: What `assign` raises.
        self.refuses: Exception | None = None

    @property
    def waits(self) -> bool:
        return self.lives

    def assign(self, spec: SandboxSpec) -> None:
        assert self.serves is None, "handed out twice"
        if self.refuses is not None:
            raise self.refuses
        if not self.lives:
            raise SandboxError("it waits no more")
        self.serves = spec

    def dies(self) -> None:
        self.lives = False

    def go(self) -> None:
        self.lives = False

    async def wait(self) -> SandboxExit:
        raise NotImplementedError

    async def kill(self, reason: KillReason, grace: float = 0.0) -> None:
        self.lives = False

    async def close(self) -> None:
        assert not self.closed
        await asyncio.sleep(0)
        self.lives = False
        self.closed = True


class FakeSandbox:
    """Keeps what it prepared."""

    def __init__(self) -> None:
        self.made: list[FakePrepared] = []
        self.fails = False
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.is_open = False
        self.forgotten: list[str] = []

    @property
    def living(self) -> list[FakePrepared]:
        return [each for each in self.made if not each.closed]

    @property
    def waiting(self) -> list[FakePrepared]:
        return [each for each in self.living if each.serves is None]

    async def open(self) -> None:
        self.is_open = True

    async def prepare(self, spec: SandboxSpec) -> FakePrepared:
        await self.may_start.wait()
        if self.fails:
            raise SandboxError("the engine is away")
        self.made.append(FakePrepared(spec))
        return self.made[-1]

    async def probe(self) -> str | None:
        return None

    def guarantees(self) -> list[Guarantee]:
        return []

    async def forget(self, function: str) -> None:
        self.forgotten.append(function)

    async def reap(self, known_names: Iterable[str]) -> list[str]:
        known = set(known_names)
        return [
            each.prepared_for.name for each in self.living if each.prepared_for.name not in known
        ]

    async def close(self) -> None:
        self.is_open = False
