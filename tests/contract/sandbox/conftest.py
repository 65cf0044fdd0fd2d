"""The sandbox port's contract: every test here holds for every adapter."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from infra.sandbox.bubblewrap import BubblewrapSandbox
from infra.sandbox.docker.adapter import DockerSandbox
from infra.sandbox.port import Sandbox
from tests.support.engine import need_engine
from tests.support.sandboxes import Runner, compile_attacks
from tests.support.toolchain_images import ensure_toolchain_images


async def bubblewrap(owner: str) -> Sandbox:
    return BubblewrapSandbox(owner)


async def docker(owner: str) -> Sandbox:
    need_engine()
    toolchain = await ensure_toolchain_images()
    return DockerSandbox(owner, run_image=toolchain.run_image, build_image=toolchain.build_image)


ADAPTERS: dict[str, Callable[[str], Awaitable[Sandbox]]] = {
    "bubblewrap": bubblewrap,
    "docker": docker,
}


@pytest.fixture(scope="session")
def attacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_attacks(tmp_path_factory.mktemp("attacks"))


@pytest_asyncio.fixture(scope="session", params=list(ADAPTERS))
async def runner(request: pytest.FixtureRequest, attacks: Path) -> AsyncIterator[Runner]:
    os.environ["HERMES_CANARY"] = "must stay out of sandboxes"
    sandbox = await ADAPTERS[request.param](f"contract-{os.getpid()}")
    await sandbox.open()
    yield Runner(sandbox, attacks)
    assert await sandbox.reap(()) == [], "every test has closed what it prepared"
    await sandbox.close()
