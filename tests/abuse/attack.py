"""One attack, and how it is driven in an enclosure, the same way in every one of them."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from infra.sandbox.port import SandboxLimits
from tests.abuse import evidence
from tests.abuse.canaries import Canaries
from tests.abuse.evidence import Look, Seen
from tests.support.sandboxes import LIMITS

CONTROLS = frozenset({"D0", "B0"})
_PATIENCE = 20.0  # seconds past its limit until a program counts as one that does not end
_count = itertools.count(1)

#: What got through, in words; nothing is what a sandbox is for.
Judge = Callable[[Seen], list[str]]


class Attack(msgspec.Struct, frozen=True, kw_only=True):
    """A program, or a Makefile, that does harm.

    In `argv` and `makefile` words such as {private} stand for the canaries, {addresses} alone for
    all addresses. `real` are the controls where it must succeed, `controls` those where it is tried
    at all. It is looked at when it holds still, or `look_after` seconds; it is cancelled after
    `cancel_after` seconds. Unless `read`, its output is left in the pipe.
    """

    name: str
    expected: str
    judge: Judge
    argv: tuple[str, ...] = ("/usr/bin/make",)
    makefile: str = ""
    files: dict[str, str] = {}
    look: Look = lambda _: {}
    look_after: float | None = None
    cancel_after: float | None = None
    stdin: bytes = b""
    read: bool = True
    limits: dict[str, Any] = {}
    real: frozenset[str] = CONTROLS
    controls: frozenset[str] = CONTROLS

    @property
    def kind(self) -> str:
        """Whether it is a build or a run."""
        return "build" if self.makefile else "run"

    def bounds(self) -> SandboxLimits:
        """Its limits."""
        return msgspec.structs.replace(LIMITS, **self.limits)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What an enclosure is to run. `sources` is a build's folder."""

    token: str
    argv: tuple[str, ...]
    limits: SandboxLimits
    stdin: int
    sources: Path | None


class Running(Protocol):
    """A program in an enclosure."""

    stdout: int
    stderr: int

    async def wait(self, seen: Seen) -> None:
        """Wait for the end, keep the limit on time as this enclosure does, fill in how it ended."""

    async def cancel(self) -> None:
        """As this enclosure ends a program on request."""

    async def too_much_output(self) -> None:
        """More has arrived than the limit allows."""

    def judge(self, seen: Seen) -> None:
        """Fill in what became of a build."""

    async def close(self) -> None:
        """Remove every trace."""


class Enclosure(Protocol):
    """A sandbox, or what passes for one."""

    name: str

    async def start(self, order: Order) -> Running:
        """Start a program."""


async def drive(enclosure: Enclosure, attack: Attack) -> Seen:
    """Run `attack` in `enclosure` and tell what the host has seen of it."""
    token = f"{os.getpid()}-{next(_count)}"
    with Canaries() as canaries:
        words = canaries.words()
        order = Order(
            token=token,
            argv=_spelled(attack.argv, words, canaries.addresses),
            limits=attack.bounds(),
            stdin=-1,
            sources=_sources(attack, words, canaries.folder),
        )
        seen = Seen(before=attack.look([]), secret=canaries.content)
        try:
            await _Drive(enclosure, attack, order, seen).run()
        finally:
            evidence.end(token)
        seen.harm = canaries.harm()
    return seen


def _spelled(argv: tuple[str, ...], words: dict[str, str], addresses: list[str]) -> tuple[str, ...]:
    spelled: list[str] = []
    for word in argv:
        spelled += addresses if word == "{addresses}" else [_replace(word, words)]
    return tuple(spelled)


def _replace(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def _sources(attack: Attack, words: dict[str, str], folder: Path) -> Path | None:
    if not attack.makefile:
        return None
    sources = folder / "sources"
    sources.mkdir(mode=0o755)
    for name, content in {"Makefile": attack.makefile, **attack.files}.items():
        (sources / name).write_text(_replace(content, words))
    return sources


class _Drive:
    def __init__(self, enclosure: Enclosure, attack: Attack, order: Order, seen: Seen) -> None:
        self._enclosure = enclosure
        self._attack = attack
        self._seen = seen
        reader, self._stdin = os.pipe()
        self._order = msgspec.structs.replace(order, stdin=reader)
        self._outputs: dict[int, bytearray] = {}
        self._held = asyncio.Event()
        self._excess = asyncio.Event()

    async def run(self) -> None:
        if self._attack.stdin:
            os.write(self._stdin, self._attack.stdin)
        try:
            running = await self._enclosure.start(self._order)
        except BaseException:
            os.close(self._stdin)
            raise
        finally:
            os.close(self._order.stdin)
        try:
            await self._beside(running)
            if self._attack.makefile:
                running.judge(self._seen)
        finally:
            self._stop_reading()
            if self._stdin >= 0:
                os.close(self._stdin)
            await running.close()

    async def _beside(self, running: Running) -> None:
        begin = time.monotonic()
        loop = asyncio.get_running_loop()
        for fd in (running.stdout, running.stderr):
            self._outputs[fd] = bytearray()
            if self._attack.read:
                loop.add_reader(fd, self._read, fd)
        ended = asyncio.ensure_future(running.wait(self._seen))
        minding = asyncio.ensure_future(self._mind_output(running))
        try:
            await self._until_looked_at(running, ended)
            os.close(self._stdin)
            self._stdin = -1
            patience = self._order.limits.time + _PATIENCE
            await asyncio.wait({ended}, timeout=patience)
            self._seen.ended = ended.done()
            if ended.done():
                ended.result()
        finally:
            minding.cancel()
            ended.cancel()
            await asyncio.gather(minding, ended, return_exceptions=True)
        self._seen.survivors = len(evidence.pids_of(self._order.token))
        for fd in self._outputs:
            loop.remove_reader(fd)
            while self._attack.read and self._read(fd):
                pass
        self._seen.wall = time.monotonic() - begin
        stdout, stderr = self._outputs.values()
        self._seen.stdout, self._seen.stderr = bytes(stdout), bytes(stderr)
        self._seen.received = len(stdout) + len(stderr)

    async def _until_looked_at(self, running: Running, ended: asyncio.Future[None]) -> None:
        attack = self._attack
        if attack.cancel_after is not None:
            await asyncio.wait({ended}, timeout=attack.cancel_after)
            await running.cancel()
            return
        held = asyncio.ensure_future(self._held.wait())
        if attack.look_after is not None:
            await asyncio.wait({ended}, timeout=attack.look_after)
        elif not self._holds():
            held.cancel()
            return
        else:
            await asyncio.wait({ended, held}, return_when=asyncio.FIRST_COMPLETED)
        held.cancel()
        if not ended.done():
            self._seen.looked = attack.look(evidence.pids_of(self._order.token))

    def _holds(self) -> bool:
        return any(name in word for word in self._attack.argv for name in _HOLDING)

    async def _mind_output(self, running: Running) -> None:
        await self._excess.wait()
        await running.too_much_output()

    def _read(self, fd: int) -> bool:
        try:
            chunk = os.read(fd, 1 << 20)
        except BlockingIOError:
            return False
        if not chunk:
            asyncio.get_running_loop().remove_reader(fd)
        output = self._outputs[fd]
        output += chunk
        if b"held=" in output[-4096:]:
            self._held.set()
        if len(output) > self._order.limits.output:
            self._excess.set()
        return bool(chunk)

    def _stop_reading(self) -> None:
        for fd in self._outputs:
            asyncio.get_running_loop().remove_reader(fd)


_HOLDING = ("/fn/bomb", "/fn/stuff", "/fn/peek", "/fn/call", "/fn/queues")
