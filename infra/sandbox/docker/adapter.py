"""Sandboxes as containers: one per attempt, never used again, gone afterwards.

    the agent ──HTTP──▸ the engine: create, start, remove
        └──socket──▸ process 1 of the container (guard.c): ready, go, how it ended
             └ with go: the program's stdin, stdout and stderr, so streams never pass the engine

Needs root, and the engine on the same host.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path

import aiodocker

from infra import engine
from infra.engine import EngineUnavailable
from infra.sandbox import promises
from infra.sandbox.docker import group, host
from infra.sandbox.docker.compile_in_image import compile_in_image
from infra.sandbox.docker.containers import Containers, Start
from infra.sandbox.docker.departures import Departures
from infra.sandbox.docker.function_images import FunctionImages
from infra.sandbox.docker.guard_program import guard_program
from infra.sandbox.docker.places import Places, StateFolder
from infra.sandbox.docker.profile import Host, Shown, container_config, with_gpu
from infra.sandbox.docker.running import DockerRun
from infra.sandbox.guard_client import Guard
from infra.sandbox.port import Guarantee, SandboxError, SandboxSpec
from infra.sandbox.probing import probe
from infra.sandbox.seccomp import Filters
from infra.sandbox.users import UserPool

_STATE = Path("/run/hermes-sandbox")
_START_PATIENCE = 30.0  # seconds until "ready", with what is asked again; usually a tenth of one
_LEAVING_PATIENCE = 5.0  # seconds that closing waits for an engine which does not answer
_REAPING_PATIENCE = 60.0
_PACKAGING_PATIENCE = 60.0
_FUNCTION_BYTES = 4 << 30


class DockerSandbox:
    """Implements `Sandbox`. `owner` is the agent's id: two agents on one host differ in it.

    The images are for specs without one of their own. `runtime` is the engine's name for another
    than its default, such as runsc. Functions whose artifact is named are packaged as images, which
    take up to `function_bytes` of the engine's disk; others, and those with files that no image can
    hold, are shown from their folder. They are packed in `scratch`, which is emptied at `open`;
    without one, in the system's folder for temporary files.
    """

    def __init__(
        self,
        owner: str,
        *,
        runtime: str | None = None,
        run_image: str | None = None,
        build_image: str | None = None,
        function_bytes: int = _FUNCTION_BYTES,
        scratch: Path | None = None,
    ) -> None:
        self._owner = owner
        self._runtime = runtime
        self._images = {"run": run_image, "build": build_image}
        self._function_bytes = function_bytes
        self._scratch = scratch
        self._functions: FunctionImages | None = None
        self._guard = Guard()
        self._filters = Filters()
        self._departures = Departures()
        self._program = Path()
        self._host: Host | None = None
        self._client: aiodocker.Docker | None = None
        self._containers: Containers | None = None
        self._users: UserPool | None = None
        self._state = StateFolder(_STATE / "docker" / owner)

    async def open(self) -> None:
        """See `Sandbox`."""
        if os.geteuid() != 0:
            raise SandboxError("containers can be handed folders and descriptors by root only")
        try:
            self._client = await engine.connect()
            self._host = await host.look_at(self._client, self._owner, self._runtime)
            self._containers = Containers(self._client, self._owner)
            if self._scratch is not None:  # a killed agent leaves what it was packing
                shutil.rmtree(self._scratch, ignore_errors=True)
                self._scratch.mkdir(parents=True, mode=0o700)
            self._functions = FunctionImages(
                self._client, self._owner, self._function_bytes, scratch=self._scratch
            )
            self._program = await guard_program(
                compile_in_image(self._client, self._images["build"])
            )
            self._users = UserPool(_STATE / "users")
            self._state.lay_out()
            self._filters.open()
            self._guard.start()
        except BaseException as error:
            await self.close()
            if isinstance(error, OSError | EngineUnavailable):
                raise SandboxError(f"cannot set up containers: {error}") from error
            raise

    async def prepare(self, spec: SandboxSpec) -> DockerRun:
        """See `Sandbox`."""
        image = spec.image or self._images[spec.kind]
        if image is None:
            raise SandboxError(f"there is no image for a {spec.kind}")
        if spec.kind == "build" or spec.artifact is None:
            return await self._prepare(spec, image, None)
        if self._functions is None:
            raise SandboxError("the sandboxes are not open")
        packaged = await self._package(self._functions, image, spec.artifact, spec)
        if packaged is None:
            return await self._prepare(spec, image, None)
        return await self._prepare(spec, packaged, partial(self._functions.release, packaged))

    async def _package(
        self, functions: FunctionImages, base: str, artifact: str, spec: SandboxSpec
    ) -> str | None:
        try:
            async with asyncio.timeout(_PACKAGING_PATIENCE):
                return await functions.hold(base, artifact, spec.function_dir, name=spec.function)
        except TimeoutError:
            raise SandboxError("the engine does not take the function as an image") from None

    async def _prepare(
        self, spec: SandboxSpec, image: str, let_go: Callable[[], Awaitable[None]] | None
    ) -> DockerRun:
        """`let_go` is called once no container needs the image; None: it does not hold /fn."""
        if self._containers is None or self._users is None or self._host is None:
            raise SandboxError("the sandboxes are not open")
        try:
            places = Places(spec, self._state, self._users)
        except SandboxError:
            if let_go is not None:
                await let_go()
            raise
        start = Start(spec.name)
        config = container_config(
            spec,
            image=image,
            user=places.user,
            labels=self._containers.labels(start, spec.name, _labels(spec)),
            shown=Shown(
                guard=self._program,
                channel=places.folder,
                etc=places.etc,
                function=spec.function_dir if let_go is None else None,
            ),
            host=self._host,
        )
        containers = self._containers

        def release() -> None:
            places.release()
            containers.discard(start, let_go)

        try:
            with self._departures.starts.one():
                containers.launch(start, config)
                pid = await _until_ready(start, places, through_runtime=self._runtime is not None)
                if self._runtime is not None:
                    pid = await containers.pid(start)
            run = self._attend(spec, pid, places, release)
        except BaseException:
            release()
            raise
        try:
            if spec.kind == "build":
                await places.copy_function()
        except BaseException as error:
            await run.close()
            if isinstance(error, OSError):
                raise SandboxError(f"cannot copy the sources: {error}") from error
            raise
        return run

    def _attend(
        self, spec: SandboxSpec, pid: int, places: Places, release: Callable[[], None]
    ) -> DockerRun:
        try:
            counters = group.take_over(pid, spec.limits)
            if spec.kind == "build" or spec.keep_work:
                places.open_work(pid)
            return DockerRun(
                spec,
                pid=pid,
                channel=places.channel,
                outputs=places.outputs,
                group=counters,
                guard=self._guard,
                departures=self._departures,
                rules=self._filters.file(netlink=with_gpu(spec)),
                work=places.kept_work,
                release=release,
            )
        except OSError as error:
            raise SandboxError(f"cannot take charge of a container: {error}") from error

    async def probe(self) -> str | None:
        """See `Sandbox`."""
        return await probe(self, self._state.empty)

    def guarantees(self) -> list[Guarantee]:
        """See `Sandbox`."""
        return promises.of_containers(
            self._host.cgroup_version if self._host else None, self._runtime
        )

    async def forget(self, function: str) -> None:
        """See `Sandbox`. It is images that go."""
        if self._functions is not None:
            await self._functions.forget(function)

    async def reap(self, known_names: Iterable[str]) -> list[str]:
        """See `Sandbox`. What never left the engine's "created" is among it."""
        if self._containers is None:
            return []
        assert self._functions is not None
        await self._functions.reap()
        await self._departures.flush(_LEAVING_PATIENCE)
        known = set(known_names)
        await self._containers.settle(_LEAVING_PATIENCE)
        found = await self._containers.names()
        left = {name: container for name, container in found.items() if name not in known}
        await self._containers.remove_all(left, _REAPING_PATIENCE)
        for name in self._state.channels() - known - set(found):
            self._state.forget(name)
        for name in left:
            self._state.forget(name)
        return sorted(left)

    async def close(self) -> None:
        """See `Sandbox`."""
        await self._departures.close(_LEAVING_PATIENCE)
        self._guard.close()
        self._filters.close()
        if self._containers is not None:
            await self._containers.close(_LEAVING_PATIENCE)
            self._containers = None
        if self._client is not None:
            await self._client.close()
            self._client = None
        if self._users is not None:
            self._users.close()
            self._users = None
            self._state.remove()
        if self._host is not None and self._host.cgroup_parent is not None:
            group.remove_parents(self._host.cgroup_parent)


def _labels(spec: SandboxSpec) -> dict[str, str]:
    return {"hermes.kind": spec.kind, "hermes.function": spec.function}


async def _until_ready(start: Start, places: Places, *, through_runtime: bool) -> int:
    """Wait for process 1, not for the engine's answer, unless that is that it will not come."""
    assert start.task is not None
    ready = asyncio.ensure_future(places.channel.ready(through_runtime=through_runtime))
    waiting: set[asyncio.Future[int] | asyncio.Task[None]] = {ready, start.task}
    try:
        async with asyncio.timeout(_START_PATIENCE):
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                await start.task
            return await ready
    except TimeoutError:
        raise SandboxError(f"no container is ready after {_START_PATIENCE:.0f} s") from None
    except OSError as error:
        raise SandboxError(f"cannot talk to a container: {error}") from error
    finally:
        ready.cancel()
        await asyncio.wait({ready})  # it lets go of the socket, which may be closed next
