"""What is asked of the engine about containers: create, start, remove, list; bounded and repeated.

An answer may be lost or be an error though the thing was done. A container's name is unique in the
engine, so asking again cannot make a second one, and a word of our own in its labels tells ours
from another that took the name. Starting what runs is no start. What is to go is asked for until it
is gone, beside everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import aiodocker
import aiohttp

from infra.sandbox.docker.profile import NAME_LABEL, OWNER_LABEL, START_LABEL
from infra.sandbox.port import GpuUnavailable, SandboxError

log = logging.getLogger(__name__)

_PAUSES = (0.1, 0.3, 1.0, None)  # seconds between tries; None: that was the last
_PATIENCE = 15.0  # seconds for one answer; an engine under load takes a few
_SOON, _LONGEST_PAUSE = 0.025, 5.0
_BY_ITSELF = 0.2  # seconds in which the engine removes a container that has ended
_EACH = 0.25  # seconds that an engine under load takes to remove one
_LATE_LOOKS = (0.5, 2.0, 5.0)
_REFUSALS = (400, 404)  # what is no use asking again for
# Said at start by engines without the runtime for GPUs, or by that runtime.
_NO_GPU = ("could not select device driver", "nvidia-container", "cdi device", "CDI device")

_FAULTS = (aiodocker.DockerError, aiohttp.ClientError, OSError, TimeoutError)


class Start:
    """A container on its way: its name, and the word that tells it is ours."""

    def __init__(self, name: str) -> None:
        self.name = f"hermes-{name}"
        self.word = secrets.token_hex(8)
        self.task: asyncio.Task[None] | None = None
        self.abandoned = False
        #: Whether a request to create it may have been heard without our getting an answer.
        self.unsure = False


class Containers:
    """The containers of `owner`."""

    def __init__(self, client: aiodocker.Docker, owner: str) -> None:
        self._client = client
        self._owner = owner
        self._leaving: set[asyncio.Task[None]] = set()

    def labels(self, start: Start, name: str, more: dict[str, str]) -> dict[str, str]:
        """What a container of ours is known by."""
        ours = {OWNER_LABEL: self._owner, NAME_LABEL: name, START_LABEL: start.word}
        return {**more, **ours}

    def launch(self, start: Start, config: dict[str, Any]) -> asyncio.Task[None]:
        """Create and start it; the task fails with SandboxError, GpuUnavailable."""
        start.task = asyncio.get_running_loop().create_task(self._launch(start, config))
        return start.task

    async def _launch(self, start: Start, config: dict[str, Any]) -> None:
        try:
            await self._create(start, config)
            await self._start(start)
        except _FAULTS as fault:
            raise _error("say what became of a container", fault) from fault

    async def _create(self, start: Start, config: dict[str, Any]) -> None:
        for pause in _PAUSES:
            try:
                async with asyncio.timeout(_PATIENCE):
                    await self._client.containers.create(config, name=start.name)
                return
            except _FAULTS as fault:
                if _status(fault) == 409:
                    if start.unsure and await self._is_ours(start):
                        return  # by an earlier try
                    raise SandboxError(f"there is a sandbox {start.name} already") from fault
                start.unsure |= _status(fault) not in _REFUSALS
                if _status(fault) in _REFUSALS or pause is None or start.abandoned:
                    raise _error("create a container", fault) from fault
            await asyncio.sleep(pause)

    async def _start(self, start: Start) -> None:
        container = self._client.containers.container(start.name)
        for pause in _PAUSES:
            if start.abandoned:
                return
            try:
                async with asyncio.timeout(_PATIENCE):
                    await container.start()
                return
            except _FAULTS as fault:
                if any(words in str(fault) for words in _NO_GPU):
                    reason = f"the engine has no GPU to give: {_words(fault)}"
                    raise GpuUnavailable(reason) from fault
                if _status(fault) in _REFUSALS or pause is None:
                    raise _error("start a container", fault) from fault
            await asyncio.sleep(pause)

    def discard(self, start: Start, then: Callable[[], Awaitable[None]] | None = None) -> None:
        """Have it removed, however far it got, and `then` called; does not wait."""
        task = asyncio.get_running_loop().create_task(self._discard(start, then))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _discard(self, start: Start, then: Callable[[], Awaitable[None]] | None) -> None:
        start.abandoned = True
        if start.task is not None:
            await asyncio.wait({start.task})
            # Else told already to who waited for it.
            if not start.task.cancelled() and start.task.exception() is None:
                await asyncio.sleep(_BY_ITSELF)
        await self._see_it_gone(start)
        if then is not None:
            await then()

    async def _see_it_gone(self, start: Start) -> None:
        # An engine that was stopped may create it after it has said that there is none.
        looks = [*_LATE_LOOKS] if start.unsure else []
        pause = _SOON
        while True:
            try:
                if await self._is_ours(start):
                    await self._remove(start.name)
                elif looks:
                    pause = looks.pop(0)
                else:
                    return
            except _FAULTS as fault:
                log.warning("container %s is not removed yet: %s", start.name, _words(fault))
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _is_ours(self, start: Start) -> bool:
        try:
            found = await self._look_at(start)
        except aiodocker.DockerError as error:
            if error.status == 404:
                return False
            raise
        return bool(found["Config"]["Labels"].get(START_LABEL) == start.word)

    async def _look_at(self, start: Start) -> aiodocker.containers.DockerContainer:
        async with asyncio.timeout(_PATIENCE):
            return await self._client.containers.get(start.name)

    async def pid(self, start: Start) -> int:
        """What the engine takes for process 1, when it has started it. Raises SandboxError."""
        assert start.task is not None
        await asyncio.shield(start.task)
        try:
            found = await self._look_at(start)
        except _FAULTS as fault:
            raise _error("say which process a container is", fault) from fault
        if not found["State"]["Pid"]:
            raise SandboxError("the container has ended")
        return int(found["State"]["Pid"])

    async def _remove(self, container: str) -> None:
        """Ask for it. It may be on its way out already (409) or be gone (404)."""
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._client.containers.container(container).delete(force=True, v=True)
        except aiodocker.DockerError as error:
            if error.status not in (404, 409):
                raise

    async def names(self) -> dict[str, str]:
        """Of every container of this owner, whatever its state: name to the engine's id.

        Raises SandboxError.
        """
        # Images of functions bear their owner too, and so does what anybody starts from them.
        filters = json.dumps({"label": [f"{OWNER_LABEL}={self._owner}", START_LABEL]})
        try:
            async with asyncio.timeout(_PATIENCE):
                found = await self._client.containers.list(all=True, filters=filters)
        except _FAULTS as fault:
            raise _error("list containers", fault) from fault
        return {one["Labels"][NAME_LABEL]: one["Id"] for one in found}

    async def remove_all(self, containers: dict[str, str], patience: float) -> None:
        """Remove these and see that they are gone. Raises SandboxError if they are not in time."""
        left = containers
        try:
            async with asyncio.timeout(patience):
                while left:
                    for container in left.values():
                        with contextlib.suppress(*_FAULTS):
                            await self._remove(container)
                    ids = set((await self.names()).values())
                    left = {name: one for name, one in left.items() if one in ids}
                    if left:
                        await asyncio.sleep(_SOON)
        except TimeoutError:
            raise SandboxError(f"the engine does not remove {', '.join(sorted(left))}") from None

    async def settle(self, patience: float) -> None:
        """Wait until what was discarded is gone, for `patience` seconds at most."""
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=patience)

    async def close(self, patience: float) -> None:
        """Stop asking for removals, after `patience` seconds and a little for each of them;
        `reap` finds what is left."""
        await self.settle(patience + _EACH * len(self._leaving))
        for task in self._leaving:
            task.cancel()
        if self._leaving:
            await asyncio.wait(self._leaving)


def _status(fault: BaseException) -> int | None:
    return fault.status if isinstance(fault, aiodocker.DockerError) else None


def _words(fault: BaseException) -> str:
    if isinstance(fault, TimeoutError):
        return f"no answer within {_PATIENCE:.0f} s"
    return str(getattr(fault, "message", None) or fault or type(fault).__name__)


def _error(what: str, fault: BaseException) -> SandboxError:
    return SandboxError(f"the engine could not {what}: {_words(fault)}")
