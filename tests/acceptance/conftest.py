"""Users of one whole Hermes, and a function that runs whatever script it is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.rest import Rest, shell_files
from tests.support.system import System, User


def write_shell(folder: Path, **config: object) -> Path:
    """A function folder whose program is the script on its input; small, and built at once."""
    folder.mkdir(parents=True)
    for name, data in shell_files(**config).items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="session")
def admin(system: System) -> User:
    """Whoever registered first."""
    return next(iter(system._users.values()), None) or system.user("first")


@pytest.fixture(scope="session")
def sue(system: System, admin: User, tmp_path_factory: pytest.TempPathFactory) -> User:
    """The owner of sue/shell:1.0.0, which is public and runs scripts."""
    sue = system.user("sue")
    folder = write_shell(tmp_path_factory.mktemp("sue") / "shell", scope="public")
    sue.ok("function", "deploy", str(folder))
    return sue


@pytest.fixture(scope="session")
def tom(system: System, admin: User) -> User:
    """Somebody else."""
    return system.user("tom")


@pytest.fixture(scope="session")
def rest(sue: User, system: System) -> Rest:
    """Sue without the command line."""
    return Rest(system.url, sue.token)


@pytest.fixture(scope="session")
def toms_rest(tom: User, system: System) -> Rest:
    """Tom without the command line."""
    return Rest(system.url, tom.token)


@pytest.fixture(scope="session")
def nobody(sue: User, system: System) -> Rest:
    """Somebody without a token."""
    return Rest(system.url, None)
