"""A real engine, its toolchain images, and a way to run commands in images."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import aiodocker
import pytest
from aiodocker.exceptions import DockerError

from infra.engine import connect
from infra.toolchain.model import Toolchain
from tests.support.engine import need_engine
from tests.support.toolchain_images import ensure_toolchain_images

LABEL = "hermes.test.images"


class RunIn(Protocol):
    """Runs a command in an image: exit code and everything written."""

    async def __call__(
        self, image: str, command: Sequence[str], *, binds: Sequence[tuple[Path, str]] = ()
    ) -> tuple[int, str]: ...


@pytest.fixture
async def client() -> AsyncIterator[aiodocker.Docker]:
    need_engine()
    async with await connect() as connected:
        yield connected


@pytest.fixture
async def cpp(client: aiodocker.Docker) -> Toolchain:
    return await ensure_toolchain_images("cpp")


@pytest.fixture
def run_in(client: aiodocker.Docker) -> RunIn:
    async def run(
        image: str, command: Sequence[str], *, binds: Sequence[tuple[Path, str]] = ()
    ) -> tuple[int, str]:
        config: dict[str, Any] = {
            "Image": image,
            "Cmd": list(command),
            "Labels": {LABEL: "run"},
            "HostConfig": {
                "NetworkMode": "none",
                "Tmpfs": {"/tmp": "rw,exec,mode=1777", "/work": "rw,exec,uid=1000"},
                "Binds": [f"{path}:{inside}:ro" for path, inside in binds],
                "ReadonlyRootfs": True,
            },
        }
        container = await client.containers.create(config)
        try:
            await container.start()
            ended = await container.wait()
            said = await container.log(stdout=True, stderr=True)
        finally:
            await container.delete(force=True)
        return int(ended["StatusCode"]), "".join(said)

    return run


@pytest.fixture
async def disposable(client: aiodocker.Docker) -> AsyncIterator[Callable[[str], str]]:
    """Names images that are to be gone after the test."""
    named: list[str] = []

    def note(image: str) -> str:
        named.append(image)
        return image

    yield note
    for image in named:
        with contextlib.suppress(DockerError):
            await client.images.delete(image, force=True)
