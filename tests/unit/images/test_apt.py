"""What is made of apt's answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.images import apt, rootfs
from infra.images.apt import AptSources, host_sources, planned
from infra.images.errors import ImageFailed
from infra.images.rootfs import install_rootfs

SOURCES = AptSources(lines=("deb http://mirror.test stable main",), lists=(), options=())


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What apt says, by its sub-command."""
    given = {"dump": ""}
    monkeypatch.setattr(apt, "_apt", lambda *words: next(given[w] for w in words if w in given))
    monkeypatch.setattr(apt, "_distributions", lambda: {"debian"})
    return given


def test_the_sources_are_those_of_the_distribution(tmp_path: Path, answers: dict[str, str]) -> None:
    main = tmp_path / "mirror.test_dists_stable_main_binary-amd64_Packages"
    release = tmp_path / "mirror.test_dists_stable_InRelease"
    other = tmp_path / "vendor.test_dists_x_main_binary-amd64_Packages"
    for path in (main, release, other):
        path.touch()
    answers["indextargets"] = (
        f"http://mirror.test/|stable|main|Debian|{main}\n"
        f"http://vendor.test/|x|main|Vendor|{other}\n"
    )
    answers["dump"] = 'Acquire::http::Proxy "http://proxy.test";\nAcquire::Retries "3";\n'
    found = host_sources()
    assert found.lines == ("deb http://mirror.test/ stable main",)
    assert found.lists == (main, release)
    assert found.options == ('Acquire::http::Proxy "http://proxy.test"',)


def test_lists_that_were_never_fetched_are_asked_for(
    tmp_path: Path, answers: dict[str, str]
) -> None:
    answers["indextargets"] = f"http://mirror.test/|stable|main|Debian|{tmp_path}/Packages\n"
    with pytest.raises(ImageFailed, match="apt-get update"):
        host_sources()


def test_without_any_source_there_is_nothing_to_build_of(answers: dict[str, str]) -> None:
    answers["indextargets"] = ""
    with pytest.raises(ImageFailed, match="apt-get update"):
        host_sources()


def test_a_plan_names_every_package_with_its_version(answers: dict[str, str]) -> None:
    answers["install"] = (
        "NOTE: This is only a simulation!\n"
        "Inst libc6 (2.36-9 Debian:12/stable [amd64]) []\n"
        "Inst dash (0.5.12-2 Debian:12/stable [amd64])\n"
        "Conf dash (0.5.12-2 Debian:12/stable [amd64])\n"
    )
    assert planned(["dash"], SOURCES) == ("dash=0.5.12-2", "libc6=2.36-9")


def test_a_machine_without_apt_is_told_what_images_are_made_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ImageFailed, match="Debian"):
        host_sources()


async def test_a_missing_mmdebstrap_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rootfs.os, "geteuid", lambda: 0)
    monkeypatch.setattr(rootfs.shutil, "which", lambda _: None)
    with pytest.raises(ImageFailed, match="apt install mmdebstrap"):
        await install_rootfs(tmp_path / "root", ["dash"], SOURCES)


async def test_only_root_can_make_a_root_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rootfs.os, "geteuid", lambda: 1000)
    with pytest.raises(ImageFailed, match="root"):
        await install_rootfs(tmp_path / "root", ["dash"], SOURCES)
