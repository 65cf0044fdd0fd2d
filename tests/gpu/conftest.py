"""A real GPU, CUDA's compiler, and the program that tries it out.

Where there is no GPU everything here is skipped, and says so. A machine without a network needs a
Hermes home into which `hermes doctor --fix cuda` was run before, or a CUDA toolkit of its own:
HERMES_TEST_CUDA_HOME names such a home.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.gpu import Nvml
from infra.toolchain import Toolchain, ToolchainMissing
from infra.toolchain.cuda import find_cuda

PROBE = Path(__file__).parent / "programs" / "probe"
HAS_DRIVER = Path("/dev/nvidiactl").exists()


@pytest.fixture(scope="session")
def cuda_home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hermes home from which CUDA's compiler is found."""
    if given := os.environ.get("HERMES_TEST_CUDA_HOME"):
        return Path(given)
    home = tmp_path_factory.mktemp("no-cuda-home")
    try:
        find_cuda(home)
    except ToolchainMissing:
        installed: Path = request.getfixturevalue("installed_cuda")
        return installed
    return home


@pytest.fixture(scope="session")
def toolchain(cuda_home: Path) -> Toolchain:
    """CUDA's compiler."""
    return find_cuda(cuda_home)


@pytest.fixture(scope="session")
def probe(toolchain: Toolchain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built outside any sandbox."""
    folder = tmp_path_factory.mktemp("probe") / "probe"
    shutil.copytree(PROBE, folder)
    path = f"{toolchain.root}/bin:{os.environ['PATH']}"
    subprocess.run(["make"], cwd=folder, env={**os.environ, "PATH": path}, check=True, timeout=600)
    return folder / "probe"


@pytest.fixture(scope="session")
def nvml() -> Nvml:
    """NVIDIA's own library, of a driver that works."""
    if not HAS_DRIVER:
        pytest.skip("NOT TRIED, there is no GPU here: /dev/nvidiactl is missing")
    return Nvml()
