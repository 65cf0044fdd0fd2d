"""Control groups are found and written as each version of them wants it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from infra.sandbox import cgroup_layouts, cgroups
from infra.sandbox.cgroups import ControlGroups
from infra.sandbox.port import SandboxError

CONTROL_FILES = ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max")


def version_two(folder: Path, own: str = "/agent", controllers: str = "cpu memory pids") -> Path:
    """A fake of a version 2 mount: the files exist, nothing behind them acts."""
    group = folder / own.lstrip("/")
    for place in (group, group / "hermes", group / "hermes/me"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "cgroup.controllers").write_text(controllers)
        (place / "cgroup.subtree_control").write_text("")
        (place / "cgroup.procs").write_text("")
    (folder / "mountinfo").write_text(f"30 24 0:26 / {folder} rw - cgroup2 cgroup2 rw\n")
    (folder / "membership").write_text(f"0::{own}\n")
    return group


def find(folder: Path) -> tuple[object, str]:
    return cgroup_layouts.find("me", folder / "mountinfo", folder / "membership")


def test_version_two_is_delegated_down_to_the_owner(tmp_path: Path) -> None:
    group = version_two(tmp_path)
    layout, detail = find(tmp_path)
    assert isinstance(layout, cgroup_layouts.VersionTwo), detail
    assert layout.bases == (group / "hermes/me",)
    for place in (group, group / "hermes", group / "hermes/me"):
        assert (place / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"


def test_an_agent_already_moved_aside_finds_the_same_place(tmp_path: Path) -> None:
    group = version_two(tmp_path)
    (tmp_path / "membership").write_text("0::/agent/hermes-host\n")
    layout, _ = find(tmp_path)
    assert isinstance(layout, cgroup_layouts.VersionTwo)
    assert layout.bases == (group / "hermes/me",)


def test_missing_controllers_are_named(tmp_path: Path) -> None:
    version_two(tmp_path, controllers="cpu memory")
    layout, detail = find(tmp_path)
    assert layout is None
    assert "pids" in detail


def test_version_two_limits_and_counters(tmp_path: Path) -> None:
    version_two(tmp_path)
    layout, _ = find(tmp_path)
    assert isinstance(layout, cgroup_layouts.VersionTwo)
    group = layout.bases[0] / "x-1"
    group.mkdir()
    for name in CONTROL_FILES:
        (group / name).write_text("")
    layout.limit("x-1", 1 << 30, 66, 1.5)
    written = {name: (group / name).read_text() for name in CONTROL_FILES}
    assert written == {
        "memory.max": str(1 << 30),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "66",
        "cpu.max": "150000 100000",
    }
    (group / "memory.current").write_text("512\n")
    (group / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 1\noom_kill 2\n")
    (group / "pids.events").write_text("max 3\n")
    (group / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    usage = layout.usage("x-1")
    assert (usage.oom_kills, usage.refused_forks, usage.cpu_time) == (2, 3, 2.5)
    assert (usage.memory, usage.peak_memory) == (512, None)
    (group / "memory.peak").write_text("4096\n")
    assert layout.usage("x-1").peak_memory == 4096


def test_version_one_in_a_container_is_found_below_the_mounts_root(tmp_path: Path) -> None:
    lines, memberships = [], []
    for number, name in enumerate(("memory", "pids", "cpu,cpuacct")):
        (tmp_path / name).mkdir()
        lines.append(
            f"3{number} 2 0:2 /docker/abc {tmp_path / name} rw - cgroup cgroup rw,{name}\n"
        )
        memberships.append(f"{number}:{name}:/docker/abc/part\n")
    (tmp_path / "mountinfo").write_text("".join(lines))
    (tmp_path / "membership").write_text("".join(memberships))
    layout, _ = find(tmp_path)
    assert isinstance(layout, cgroup_layouts.VersionOne)
    assert layout.bases == tuple(
        tmp_path / name / "part/hermes/me" for name in ("pids", "memory", "cpu,cpuacct")
    )


def test_without_control_groups_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text("22 1 0:5 / / rw - ext4 /dev/vda rw\n")
    (tmp_path / "membership").write_text("0::/\n")
    assert find(tmp_path) == (None, "no control groups are mounted")


def test_a_group_whose_limits_cannot_be_written_is_removed_again(tmp_path: Path) -> None:
    version_two(tmp_path)
    layout, _ = find(tmp_path)
    assert isinstance(layout, cgroup_layouts.VersionTwo)
    groups = ControlGroups(layout)
    with pytest.raises(SandboxError, match="x-1"):
        groups.group("x-1").create(1, 1, 1.0)  # the fake's folder has no memory.max
    assert "x-1" not in groups.names()


def test_a_group_that_goes_while_it_is_read_has_no_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version_two(tmp_path)
    layout, _ = find(tmp_path)
    assert isinstance(layout, cgroup_layouts.VersionTwo)

    def gone(_: str) -> bytes:
        raise OSError(errno.ENODEV, "No such device")

    monkeypatch.setattr(cgroups, "read", gone)
    assert ControlGroups(layout).group("one").processes() == []
