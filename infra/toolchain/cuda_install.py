"""Installs CUDA's compiler under Hermes' home, for machines whose system has none.

NVIDIA publishes the toolkit's parts as Python packages. They are fetched by pip, pinned by version
and hash, into a folder of their own that never enters Python's path.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from infra.toolchain.cuda import Manifest, find_cuda, nvcc_version, own_folder
from infra.toolchain.model import InstallFailed, Toolchain

REQUIREMENTS = Path(__file__).with_name("cuda-13.0.txt")
#: Where the packages of CUDA 13 put the toolkit, below pip's target.
WHEEL_ROOT = Path("nvidia/cu13")
#: Pip's word on a package: its name, version and size.
WHEEL_LINE = re.compile(r"(?:Downloading|Using cached) (?:\S*/)?(\w+)-([\d.]+)-\S+\.whl \((.+)\)")
#: Everything that the packages bring, in one: runtime, random numbers, CUDA's C++ library.
FIRST_KERNEL = """
#include <cuda/std/array>
#include <curand_kernel.h>
__global__ void first(float* out) {
    curandState state;
    curand_init(1, threadIdx.x, 0, &state);
    cuda::std::array<float, 1> drawn{curand_uniform(&state)};
    out[threadIdx.x] = drawn[0];
}
int main() { first<<<1, 1>>>(nullptr); return cudaDeviceSynchronize() != cudaSuccess; }
"""
#: The toolkit, and the packages beside it while they are unpacked.
NEEDED_BYTES = 1_200_000_000

Progress = Callable[[str], None]


def install_cuda(home: Path, progress: Progress) -> Toolchain:
    """Installs the pinned toolkit below `home`, or finds it installed, and returns it.

    `progress` is called with a line for each step. The toolkit appears complete and tried, or not
    at all: it is prepared in a folder beside its place and renamed. Raises `InstallFailed`; and
    `ToolchainMissing` if the host lacks the C++ compiler that nvcc calls.
    """
    packages = pinned_packages()
    version = packages["nvidia-cuda-nvcc"]
    folder = own_folder(home)
    final = folder / f"cuda-{version}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _only_one_installer(folder):
            if (final / "manifest.json").is_file():
                progress(f"CUDA {version} is already installed in {final}")
            else:
                _require_space(folder)
                with _staging(folder) as staging:
                    _fetch(staging, progress)
                    tree = _arrange(staging, version, packages, progress)
                    if final.exists():  # without its manifest: somebody took part of it away
                        shutil.rmtree(final)
                    tree.rename(final)
                progress(f"Installed CUDA {version} in {final}")
    except OSError as error:
        raise InstallFailed(f"cannot write below {folder}: {error}") from error
    return find_cuda(home)


def pinned_packages() -> dict[str, str]:
    """Name and version of each package that the toolkit is made of."""
    pins = re.findall(r"^([a-z0-9-]+)==(\S+)", REQUIREMENTS.read_text(encoding="utf-8"), re.M)
    return dict(pins)


@contextmanager
def _only_one_installer(folder: Path) -> Iterator[None]:
    # The kernel drops the lock with the process, so a killed installer blocks nobody.
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob(".staging-*"):  # of an installer that was killed
            shutil.rmtree(left, ignore_errors=True)
        yield


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=folder))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _require_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < NEEDED_BYTES:
        raise InstallFailed(
            f"{folder} has {free // 10**6} MB free, CUDA needs {NEEDED_BYTES // 10**6} MB"
        )


def _fetch(staging: Path, progress: Progress) -> None:
    temporary = staging / "tmp"
    temporary.mkdir()
    options = ["--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile"]
    quiet = ["--no-input", "--no-color", "--disable-pip-version-check", "--progress-bar=off"]
    pip = [sys.executable, "-m", "pip", "install", *options, *quiet]
    log: list[str] = []
    with subprocess.Popen(
        [*pip, "--target", staging / "packages", "--requirement", REQUIREMENTS],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        # The user's own mirror or proxy stays; `user = true` in a pip.conf would refuse --target.
        env={**os.environ, "PIP_USER": "0", "TMPDIR": str(temporary)},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            log.append(line.strip())
            if wheel := WHEEL_LINE.search(line):
                progress(f"Fetching {wheel[1].replace('_', '-')} {wheel[2]} ({wheel[3]})")
            elif line.startswith("Installing"):
                progress("Unpacking")
    if process.returncode != 0:
        errors = [line for line in log if line.startswith("ERROR:")] or log
        raise InstallFailed(f"pip could not fetch CUDA's packages: {' '.join(errors[-2:])}")


def _arrange(staging: Path, version: str, packages: dict[str, str], progress: Progress) -> Path:
    """Turns the unpacked packages into a toolkit laid out as NVIDIA's own installer does."""
    unpacked = staging / "packages"
    tree = unpacked / WHEEL_ROOT
    if not (tree / "bin" / "nvcc").is_file():
        raise InstallFailed(f"the packages hold no {WHEEL_ROOT}/bin/nvcc")
    licenses = tree / "licenses"
    licenses.mkdir()
    for info in unpacked.glob("*.dist-info"):
        info.rename(licenses / info.name)
    (tree / "lib64").symlink_to("lib")  # where nvcc looks
    for library in (tree / "lib").glob("*.so.*"):
        unversioned = library.with_name(library.name.partition(".so")[0] + ".so")  # what -l finds
        if not unversioned.exists():
            unversioned.symlink_to(library.name)
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():  # a sandbox's user, whoever that is, must be able to read it
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if path.is_dir() or mode & 0o100 else 0))

    progress("Compiling a first kernel")
    _try_out(tree, version, staging)
    manifest = Manifest(version=version, digest=_tree_digest(tree), packages=packages)
    (tree / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    os.sync()  # after a power cut the renamed folder must not hold empty files
    return tree


def _try_out(tree: Path, version: str, scratch: Path) -> None:
    nvcc = tree / "bin" / "nvcc"
    found = nvcc_version(nvcc)
    if found != version:
        raise InstallFailed(f"the unpacked nvcc says version {found} instead of {version}")
    source = scratch / "first.cu"
    source.write_text(FIRST_KERNEL, encoding="utf-8")
    done = subprocess.run(
        [nvcc, "-o", scratch / "first", source],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
        env={**os.environ, "TMPDIR": str(scratch / "tmp")},
    )
    if done.returncode != 0:
        raise InstallFailed(f"nvcc cannot compile a first kernel: {done.stderr.strip()[-500:]}")


def _tree_digest(tree: Path) -> str:
    """SHA-256 over every file's path and contents, in the order of the paths."""
    total = hashlib.sha256()
    for path in sorted(path for path in tree.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").digest()
        total.update(f"{path.relative_to(tree)}\0".encode() + content)
    return total.hexdigest()
