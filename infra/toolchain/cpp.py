"""The host's C++ compiler and make."""

from __future__ import annotations

import shutil
from pathlib import Path

from infra.sandbox.command import PATH as SANDBOX_PATH
from infra.toolchain.model import Toolchain, ToolchainMissing
from infra.toolchain.probe import digest_of, output_of

ADVICE = "Install g++ and make, on Debian and Ubuntu with: apt install g++ make"


def find_cpp() -> Toolchain:
    """The host's g++ and make; raises `ToolchainMissing`."""
    compiler = _required("g++")
    make = _required("make")
    version = output_of(compiler, "-dumpfullversion")
    make_version = output_of(make, "--version")
    if version is None or make_version is None:
        broken = compiler if version is None else make
        raise ToolchainMissing("cpp", f"{broken} does not run", ADVICE)
    # g++ is a driver: what it produces is decided by the programs that it calls.
    parts = [
        Path((output_of(compiler, f"-print-prog-name={name}") or "").strip())
        for name in ("cc1plus", "as", "ld")
    ]
    on_path = [Path(shutil.which(part, path=SANDBOX_PATH) or part) for part in parts]
    return Toolchain(
        name="cpp",
        version=version.strip(),
        digest=digest_of([compiler, make, *on_path], version, make_version.splitlines()[0]),
        root=str(compiler.parent.parent),
        env={"PATH": SANDBOX_PATH},
    )


def _required(program: str) -> Path:
    # Not along our own PATH: a build sees /usr, and nothing from elsewhere.
    found = shutil.which(program, path=SANDBOX_PATH)
    if found is None:
        raise ToolchainMissing("cpp", f"{program} is not in this machine's /usr", ADVICE)
    return Path(found).resolve()
