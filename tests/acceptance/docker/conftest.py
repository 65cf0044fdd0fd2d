"""One whole Hermes that runs programs in containers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.conftest import write_shell
from tests.support.engine import need_engine
from tests.support.system import System, User, running_system
from tests.support.toolchain_images import toolchain_images


@pytest.fixture(scope="session")
def docker_system() -> Iterator[System]:
    need_engine()
    toolchain_images()
    with running_system({"HERMES_SANDBOX": "docker", "HERMES_WARM": "2"}) as system:
        yield system


@pytest.fixture(scope="session")
def dora(docker_system: System, tmp_path_factory: pytest.TempPathFactory) -> User:
    """The owner of dora/shell:1.0.0, which runs scripts."""
    dora = docker_system.user("dora")
    folder = write_shell(tmp_path_factory.mktemp("dora") / "shell", scope="public")
    dora.ok("function", "deploy", str(folder))
    return dora
