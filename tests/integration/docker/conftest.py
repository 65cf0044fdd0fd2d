"""One opened Docker sandbox for all tests here, and the attack programs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from infra.sandbox.docker.adapter import DockerSandbox
from infra.toolchain.model import Toolchain
from tests.support.containers import containers_of
from tests.support.engine import need_engine
from tests.support.sandboxes import Runner, compile_attacks, control_groups_of
from tests.support.toolchain_images import ensure_toolchain_images


@pytest.fixture(scope="session")
def attacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_attacks(tmp_path_factory.mktemp("attacks"))


@pytest_asyncio.fixture(scope="session")
async def toolchain() -> Toolchain:
    need_engine()
    return await ensure_toolchain_images()


def sandbox_of(owner: str, toolchain: Toolchain) -> DockerSandbox:
    return DockerSandbox(owner, run_image=toolchain.run_image, build_image=toolchain.build_image)


@pytest_asyncio.fixture(scope="session")
async def runner(attacks: Path, toolchain: Toolchain) -> AsyncIterator[Runner]:
    owner = f"docker-{os.getpid()}"
    sandbox = sandbox_of(owner, toolchain)
    await sandbox.open()
    yield Runner(sandbox, attacks)
    await sandbox.close()
    assert await containers_of(owner) == {}
    assert control_groups_of(owner) == []
    assert not Path("/run/hermes-sandbox/docker", owner).exists()
