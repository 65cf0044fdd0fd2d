"""Finds CUDA's compiler: Hermes' own, which was installed on purpose, before the host's."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec

from infra.sandbox.command import PATH as SANDBOX_PATH
from infra.toolchain.cpp import find_cpp
from infra.toolchain.model import Toolchain, ToolchainMissing
from infra.toolchain.probe import digest_of, output_of

#: Where a toolkit outside /usr stands inside a sandbox: the same on every host, and it tells a
#: program nothing about the host's folders.
SANDBOX_ROOT = "/opt/cuda"
SYSTEM_ROOT = Path("/usr/local/cuda")
ADVICE = "Install CUDA's compiler with: hermes doctor --fix cuda"

#: The programs and libraries, relative to the root, that decide what nvcc produces.
_DECISIVE = (
    "bin/nvcc",
    "bin/nvcc.profile",
    "bin/cudafe++",
    "bin/ptxas",
    "bin/fatbinary",
    "bin/nvlink",
    "nvvm/bin/cicc",
    "nvvm/libdevice/libdevice.10.bc",
    "include/cuda.h",
    "include/curand_kernel.h",
    "lib64/libcudart_static.a",
    "lib64/libcudadevrt.a",
)


class Manifest(msgspec.Struct, frozen=True):
    """What Hermes noted beside a toolkit that it installed; `digest` is over all its files."""

    version: str
    digest: str
    packages: dict[str, str]


def own_folder(home: Path) -> Path:
    """The folder under Hermes' home that holds the toolchains it installed."""
    return home / "toolchains"


def find_cuda(home: Path) -> Toolchain:
    """Hermes' own CUDA toolkit or the host's; raises `ToolchainMissing`."""
    host_compiler = find_cpp()
    if own := own_toolkit(home):
        root, manifest = own
        return _toolchain(root, manifest.version, manifest.digest, host_compiler.digest)
    if (nvcc := system_nvcc()) is None:
        raise ToolchainMissing("cuda", "nvcc is not on this machine", ADVICE)
    if (version := nvcc_version(nvcc)) is None:
        raise ToolchainMissing("cuda", f"{nvcc} does not run", ADVICE)
    root = nvcc.parent.parent
    if not (root.is_relative_to("/usr") or (root / "nvvm").is_dir()):
        # Of ~/bin/nvcc it would be a home folder, shown to every program that is built or run.
        raise ToolchainMissing("cuda", f"{nvcc} does not stand in a toolkit's folder", ADVICE)
    content = digest_of((root / name for name in _DECISIVE), version)
    return _toolchain(root, version, content, host_compiler.digest)


def own_toolkit(home: Path) -> tuple[Path, Manifest] | None:
    """The root and the manifest of the newest toolkit that Hermes installed, if there is one."""
    found = []
    for path in own_folder(home).glob("cuda-*/manifest.json"):
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except (OSError, msgspec.DecodeError):
            continue
        if (path.parent / "bin" / "nvcc").is_file():
            found.append((path.parent, manifest))
    return max(found, key=lambda item: _ordered(item[1].version), default=None)


def system_nvcc() -> Path | None:
    """The host's nvcc, from PATH or from the toolkit's usual place."""
    for candidate in (shutil.which("nvcc"), shutil.which(SYSTEM_ROOT / "bin" / "nvcc")):
        if candidate is not None:
            return Path(candidate).resolve()
    return None


def nvcc_version(nvcc: Path) -> str | None:
    """The version as in "13.0.88"; None if nvcc does not run."""
    match = re.search(r"\bV(\d+(?:\.\d+)+)", output_of(nvcc, "--version") or "")
    return match.group(1) if match else None


def _toolchain(root: Path, version: str, *contents: str) -> Toolchain:
    # Sandboxes show /usr as it is; a toolkit anywhere else is shown at a place of its own.
    inside = str(root) if root.is_relative_to("/usr") else SANDBOX_ROOT
    binds = () if inside == str(root) else ((str(root), inside),)
    return Toolchain(
        name="cuda",
        version=version,
        digest=digest_of((), *contents),
        root=str(root),
        env={"PATH": f"{inside}/bin:{SANDBOX_PATH}", "CUDA_HOME": inside, "CUDA_PATH": inside},
        run_env={"LD_LIBRARY_PATH": f"{inside}/lib64"},
        ro_binds=binds,
    )


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))
