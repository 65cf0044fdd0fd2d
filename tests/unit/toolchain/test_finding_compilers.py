"""Which compiler is found, what a sandbox is told about it, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hermes.errors import InvalidConfig
from infra.toolchain import Toolchain, ToolchainMissing, cpp, cuda, require_toolchain, toolchain_for


def fake_toolkit(root: Path, version: str, *, manifest: bool = False) -> Path:
    """A folder laid out as CUDA's, whose nvcc is a script that only tells its version."""
    for folder in ("bin", "nvvm/bin", "lib64"):
        (root / folder).mkdir(parents=True)
    nvcc = root / "bin" / "nvcc"
    nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release 1, V{version}'\n")
    nvcc.chmod(0o755)
    (root / "bin" / "ptxas").write_text("ptxas")
    if manifest:
        found = cuda.Manifest(version=version, digest="d" * 64, packages={})
        (root / "manifest.json").write_bytes(msgspec.json.encode(found))
    return nvcc


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hermes home on a machine whose system has no CUDA."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(cuda, "SYSTEM_ROOT", tmp_path / "system-cuda")
    return tmp_path / "home"


def test_the_hosts_cpp_compiler_is_found_with_its_version(home: Path) -> None:
    found = require_toolchain("cpp", home)
    assert found.name == "cpp"
    assert found.version[0].isdigit()
    assert len(found.digest) == 64
    assert found.ro_binds == ()
    assert found.env["PATH"].split(":")[-1] == "/bin"


def test_a_compiler_outside_what_a_sandbox_sees_does_not_count(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpp, "SANDBOX_PATH", str(tmp_path))
    with pytest.raises(ToolchainMissing, match=r"g\+\+ is not .* Install g\+\+ and make"):
        require_toolchain("cpp", home)
    assert toolchain_for("cpp", home) is None


def test_a_compiler_that_does_not_run_is_named(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("g++", "make"):
        (tmp_path / program).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setattr(cpp, "SANDBOX_PATH", str(tmp_path))
    with pytest.raises(ToolchainMissing, match=r"g\+\+ does not run"):
        require_toolchain("cpp", home)


def test_a_machine_without_nvcc_says_how_to_install_it(home: Path) -> None:
    with pytest.raises(ToolchainMissing) as error:
        require_toolchain("cuda", home)
    assert error.value.language == "cuda"
    assert "nvcc is not on this machine" in error.value.reason
    assert "hermes doctor --fix cuda" in error.value.advice
    assert toolchain_for("cuda", home) is None


def test_cuda_without_a_cpp_compiler_is_missing_the_cpp_compiler(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_toolkit(tmp_path / "system-cuda", "12.4.1")
    monkeypatch.setattr(cpp, "SANDBOX_PATH", "/nowhere")
    with pytest.raises(ToolchainMissing, match=r"g\+\+"):
        require_toolchain("cuda", home)


def test_a_system_toolkit_outside_usr_is_bound_at_a_fixed_place(home: Path, tmp_path: Path) -> None:
    fake_toolkit(tmp_path / "system-cuda", "12.4.131")
    found = require_toolchain("cuda", home)
    assert found.version == "12.4.131"
    assert found.ro_binds == ((str(tmp_path / "system-cuda"), "/opt/cuda"),)
    assert found.env["PATH"].startswith("/opt/cuda/bin:")
    assert found.env["CUDA_HOME"] == "/opt/cuda"
    assert found.run_env == {"LD_LIBRARY_PATH": "/opt/cuda/lib64"}


def test_nvcc_on_the_path_is_followed_to_its_real_toolkit(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvcc = fake_toolkit(tmp_path / "toolkits" / "cuda-12.9", "12.9.86")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvcc").symlink_to(nvcc)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert require_toolchain("cuda", home).root == str(tmp_path / "toolkits" / "cuda-12.9")


def test_a_lone_nvcc_does_not_lay_open_the_folder_around_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvcc = tmp_path / "ana" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.write_text("#!/bin/sh\necho V13.0.1\n")
    nvcc.chmod(0o755)
    monkeypatch.setenv("PATH", str(nvcc.parent))
    with pytest.raises(ToolchainMissing, match="toolkit's folder"):
        require_toolchain("cuda", home)


def test_a_system_nvcc_that_does_not_run_is_named(home: Path, tmp_path: Path) -> None:
    nvcc = fake_toolkit(tmp_path / "system-cuda", "12.4.1")
    nvcc.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(ToolchainMissing, match=f"{nvcc} does not run"):
        require_toolchain("cuda", home)


def test_the_toolkit_that_hermes_installed_goes_before_the_systems(
    home: Path, tmp_path: Path
) -> None:
    fake_toolkit(tmp_path / "system-cuda", "13.9.1")
    fake_toolkit(home / "toolchains" / "cuda-13.0.88", "13.0.88", manifest=True)
    assert require_toolchain("cuda", home).version == "13.0.88"


def test_the_newest_of_the_installed_toolkits_is_taken(home: Path) -> None:
    for version in ("13.0.88", "13.10.1", "13.9.9"):
        fake_toolkit(home / "toolchains" / f"cuda-{version}", version, manifest=True)
    assert require_toolchain("cuda", home).version == "13.10.1"


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 3}', b"\xff\xfe"])
def test_an_installed_toolkit_without_a_sound_manifest_does_not_count(
    home: Path, content: bytes
) -> None:
    root = home / "toolchains" / "cuda-13.0.88"
    fake_toolkit(root, "13.0.88")
    (root / "manifest.json").write_bytes(content)
    assert toolchain_for("cuda", home) is None


def test_the_digest_follows_the_contents_not_the_place(home: Path, tmp_path: Path) -> None:
    def digest() -> str:
        return require_toolchain("cuda", home).digest

    root = tmp_path / "system-cuda"
    fake_toolkit(root, "12.4.1")
    before = digest()
    assert digest() == before

    root.rename(tmp_path / "elsewhere")
    cuda.SYSTEM_ROOT.symlink_to(tmp_path / "elsewhere")
    assert digest() == before

    (tmp_path / "elsewhere" / "bin" / "ptxas").write_text("another assembler")
    assert digest() != before


def test_an_unknown_language_is_the_callers_error(home: Path) -> None:
    with pytest.raises(InvalidConfig, match="must be cpp or cuda"):
        toolchain_for("fortran", home)


def test_a_toolchain_survives_the_wire(home: Path) -> None:
    found = require_toolchain("cpp", home)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Toolchain) == found
