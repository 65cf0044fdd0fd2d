"""What an agent runs programs in: the sandbox, and the toolchains that belong to it."""

from __future__ import annotations

import hashlib
import logging
import os

import aiodocker

from hermes.errors import HermesError, InvalidRequest
from hermes.settings import SANDBOXES, Settings
from infra import engine
from infra.engine import EngineUnavailable
from infra.sandbox.bubblewrap import BubblewrapSandbox
from infra.sandbox.docker.adapter import DockerSandbox
from infra.sandbox.port import Sandbox, SandboxError
from infra.sandbox.warm import Lease, WarmSandboxes
from infra.toolchain.find import HostToolchains
from infra.toolchain.images import ImageToolchains
from infra.toolchain.model import ToolchainMissing, Toolchains

log = logging.getLogger(__name__)

# An agent has 1024 user ids for its sandboxes; those that wait leave enough for those that run.
MOST_WARM = 512


class Enclosure:
    """`name` is that of the sandbox, as agents list it. `close` it when all attempts have ended."""

    def __init__(
        self,
        name: str,
        sandbox: WarmSandboxes,
        toolchains: Toolchains,
        client: aiodocker.Docker | None = None,
    ) -> None:
        self.name = name
        self.sandbox = sandbox
        self.toolchains = toolchains
        self._client = client

    async def close(self) -> None:
        """End what waits, and release what the sandboxes share."""
        await self.sandbox.close()
        if self._client is not None:
            await self._client.close()


async def enclose(settings: Settings, keep: Lease) -> Enclosure:
    """The sandbox that `settings` ask for, open and rid of what an earlier agent left.

    `keep` is for the functions' folders that waiting sandboxes show. Where an operator named a
    sandbox, it is that one or none. Raises InvalidRequest, SandboxError, EngineUnavailable,
    ToolchainMissing.
    """
    if settings.sandbox not in SANDBOXES:
        known = ", ".join(SANDBOXES)
        raise InvalidRequest(f"HERMES_SANDBOX: {settings.sandbox!r} is none of {known}")
    if settings.sandbox != "bubblewrap":
        try:
            return await _in_containers(settings, keep)
        except (EngineUnavailable, ToolchainMissing, SandboxError) as error:
            if settings.sandbox == "docker":
                raise
            log.warning("programs run in bubblewrap, not in containers: %s", _why(error))
    sandbox = BubblewrapSandbox(_owner(settings))
    return Enclosure(
        "bubblewrap", await _open(sandbox, settings, keep), HostToolchains(settings.home)
    )


async def _in_containers(settings: Settings, keep: Lease) -> Enclosure:
    client = await engine.connect()
    try:
        toolchains = ImageToolchains(client, settings.toolchain_images)
        cpp = await toolchains.require("cpp")
        inner = DockerSandbox(
            _owner(settings),
            runtime=settings.container_runtime,
            run_image=cpp.run_image,
            build_image=cpp.build_image,
            scratch=settings.home / "agents" / settings.agent / "images",
        )
        sandbox = await _open(inner, settings, keep)
    except BaseException:
        await client.close()
        raise
    return Enclosure("docker", sandbox, toolchains, client)


async def _open(inner: Sandbox, settings: Settings, keep: Lease) -> WarmSandboxes:
    budget = settings.warm if settings.warm is not None else os.cpu_count() or 1
    sandbox = WarmSandboxes(inner, min(budget, MOST_WARM), keep)
    await sandbox.open()
    try:
        await sandbox.reap(())
        # An engine that answers may still be unable to run anything, with another runtime say.
        if (fault := await sandbox.probe()) is not None:
            raise SandboxError(f"sandboxes do not work here: {fault}")
    except BaseException:
        await sandbox.close()
        raise
    return sandbox


def _why(error: HermesError) -> str:
    return error.detail or error.title()


def _owner(settings: Settings) -> str:
    """Whose sandboxes these are: two Hermes on a host may both call their agent by its name, and
    neither may take the other's sandboxes for leftovers of its own."""
    home = hashlib.sha256(str(settings.home).encode()).hexdigest()
    return f"{settings.agent}-{home[:12]}"
