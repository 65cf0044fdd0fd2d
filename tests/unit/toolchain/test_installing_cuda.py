"""The installation of CUDA: whole or not at all, whatever pip does. Pip is a fake here."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path

import pytest

from infra.toolchain import InstallFailed, cuda, cuda_install, install_cuda

VERSION = cuda_install.pinned_packages()["nvidia-cuda-nvcc"]

FAKE_PIP = """#!/bin/sh
# Unpacks a toolkit whose nvcc tells its version and "compiles" by touching its output.
while [ "$1" != --target ]; do shift; done
echo "  Downloading nvidia_cuda_nvcc-{version}-py3-none-any.whl.metadata (1.5 kB)"
echo "  Downloading nvidia_cuda_nvcc-{version}-py3-none-any.whl (37.4 MB)"
{before}
mkdir -p "$2/nvidia_cuda_nvcc.dist-info" "$2/nvidia/cu13/bin" "$2/nvidia/cu13/lib"
echo LICENSE > "$2/nvidia_cuda_nvcc.dist-info/License.txt"
touch "$2/nvidia/cu13/lib/libcudart.so.13"
chmod 600 "$2/nvidia/cu13/lib/libcudart.so.13"
cat > "$2/nvidia/cu13/bin/nvcc" <<'END'
#!/bin/sh
[ "$1" = --version ] && echo "release 13.0, V{nvcc_version}" && exit
{compile}
END
chmod 700 "$2/nvidia/cu13/bin/nvcc"
echo x >> "{calls}"
"""


class FakePip:
    """Stands where Python would, and answers `-m pip install`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "fake-python"
        self.calls = folder / "calls"
        self.answers()

    def answers(
        self, *, before: str = "", nvcc_version: str = VERSION, compiling: str = "exit 0"
    ) -> None:
        self.path.write_text(
            FAKE_PIP.format(
                version=VERSION,
                before=before,
                nvcc_version=nvcc_version,
                compile=compiling,
                calls=self.calls,
            )
        )
        self.path.chmod(0o755)

    @property
    def times_called(self) -> int:
        return len(self.calls.read_text().split()) if self.calls.exists() else 0


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePip:
    fake = FakePip(tmp_path)
    monkeypatch.setattr(sys, "executable", str(fake.path))
    return fake


def left_in(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "toolchains").iterdir())


def test_the_toolkit_is_laid_out_as_nvidias_installer_does(pip: FakePip, tmp_path: Path) -> None:
    lines: list[str] = []
    home = tmp_path / "home"
    found = install_cuda(home, lines.append)
    root = home / "toolchains" / f"cuda-{VERSION}"
    assert found.root == str(root)
    assert found.version == VERSION
    assert (root / "lib64" / "libcudart.so").resolve() == root / "lib" / "libcudart.so.13"
    assert (root / "licenses" / "nvidia_cuda_nvcc.dist-info" / "License.txt").is_file()
    assert lines[0] == f"Fetching nvidia-cuda-nvcc {VERSION} (37.4 MB)"
    assert left_in(home) == [".lock", root.name]


def test_another_user_can_read_what_was_installed(pip: FakePip, tmp_path: Path) -> None:
    root = Path(install_cuda(tmp_path / "home", lambda _: None).root)
    assert (root / "bin" / "nvcc").stat().st_mode & 0o777 == 0o755
    assert (root / "lib" / "libcudart.so.13").stat().st_mode & 0o777 == 0o644


def test_a_second_installation_fetches_nothing(pip: FakePip, tmp_path: Path) -> None:
    first = install_cuda(tmp_path / "home", lambda _: None)
    lines: list[str] = []
    assert install_cuda(tmp_path / "home", lines.append) == first
    assert pip.times_called == 1
    assert "already installed" in lines[0]


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"before": "echo 'ERROR: No matching distribution'; exit 1"}, "No matching distribution"),
        ({"before": "exit 1"}, "pip could not fetch"),
        ({"before": "exit 0"}, "hold no nvidia/cu13/bin/nvcc"),
        ({"nvcc_version": "1.2.3"}, "says version 1.2.3"),
        ({"compiling": "echo 'no cicc' >&2; exit 1"}, "no cicc"),
    ],
)
def test_a_failed_installation_leaves_nothing_and_can_be_repeated(
    pip: FakePip, tmp_path: Path, answers: dict[str, str], reason: str
) -> None:
    home = tmp_path / "home"
    pip.answers(**answers)
    with pytest.raises(InstallFailed, match=reason):
        install_cuda(home, lambda _: None)
    assert left_in(home) == [".lock"]

    pip.answers()
    assert install_cuda(home, lambda _: None).version == VERSION


def test_what_a_killed_installer_left_is_cleared_away(pip: FakePip, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "toolchains" / ".staging-old" / "packages").mkdir(parents=True)
    install_cuda(home, lambda _: None)
    assert left_in(home) == [".lock", f"cuda-{VERSION}"]


def test_a_toolkit_whose_manifest_is_gone_is_replaced(pip: FakePip, tmp_path: Path) -> None:
    home = tmp_path / "home"
    root = Path(install_cuda(home, lambda _: None).root)
    (root / "manifest.json").unlink()
    (root / "stray").touch()
    install_cuda(home, lambda _: None)
    assert not (root / "stray").exists()


def test_two_installers_at_once_fetch_once(pip: FakePip, tmp_path: Path) -> None:
    pip.answers(before="sleep 0.3")
    found: list[str] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(install_cuda(tmp_path / "home", lambda _: None).digest)
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(found) == 2
    assert found[0] == found[1]
    assert pip.times_called == 1


def test_a_full_disk_is_told_before_anything_is_fetched(
    pip: FakePip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=5_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InstallFailed, match="5 MB free, CUDA needs 1200 MB"):
        install_cuda(tmp_path / "home", lambda _: None)
    assert pip.times_called == 0


def test_a_home_that_cannot_be_written_is_named(pip: FakePip, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    with pytest.raises(InstallFailed, match=f"cannot write below {tmp_path}/home/toolchains"):
        install_cuda(tmp_path / "home", lambda _: None)


def test_every_package_is_pinned_with_a_hash_per_architecture() -> None:
    text = cuda_install.REQUIREMENTS.read_text()
    packages = cuda_install.pinned_packages()
    assert len(packages) == 6
    assert text.count("--hash=sha256:") == 2 * len(packages)


def test_the_users_pip_settings_reach_pip_except_for_its_target(
    pip: FakePip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://mirror.invalid/simple")
    seen = tmp_path / "seen"
    pip.answers(before=f'echo "$PIP_USER $PIP_INDEX_URL" > {seen}')
    install_cuda(tmp_path / "home", lambda _: None)
    assert seen.read_text().split() == ["0", "http://mirror.invalid/simple"]
    assert os.environ["PIP_USER"] == "1"


def test_own_toolkit_is_found_by_its_manifest(pip: FakePip, tmp_path: Path) -> None:
    install_cuda(tmp_path / "home", lambda _: None)
    own = cuda.own_toolkit(tmp_path / "home")
    assert own is not None
    assert own[1].packages == cuda_install.pinned_packages()
