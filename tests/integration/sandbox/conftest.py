"""One opened bubblewrap sandbox for all tests here, and the attack programs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from infra.sandbox.bubblewrap import BubblewrapSandbox
from tests.support.sandboxes import Runner, compile_attacks, control_groups_of


@pytest.fixture(scope="session")
def attacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_attacks(tmp_path_factory.mktemp("attacks"))


@pytest_asyncio.fixture(scope="session")
async def runner(attacks: Path) -> AsyncIterator[Runner]:
    os.environ["HERMES_CANARY"] = "must stay out of sandboxes"
    owner = f"test-{os.getpid()}"
    sandbox = BubblewrapSandbox(owner)
    await sandbox.open()
    yield Runner(sandbox, attacks)
    await sandbox.close()
    assert control_groups_of(owner) == []
