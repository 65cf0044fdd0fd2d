"""One GPU, one sandbox: its lock and its device nodes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hermes.domain.ids import new_id
from hermes.domain.resources import GIB, Gpu
from infra.gpu import GpuBusy, HostGpu, Xid, lock, locks
from infra.gpu.nodes import gpu_nodes, make_shared_nodes, mig_nodes


@pytest.fixture(autouse=True)
def locks_of_this_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(locks, "_LOCKS", tmp_path)


def test_a_gpu_is_free_when_the_last_copy_of_its_lock_is_closed() -> None:
    uuid = f"GPU-{new_id()}"
    held = lock(uuid)
    with pytest.raises(GpuBusy):
        lock(uuid)
    program = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(held,)
    )
    os.close(held)
    with pytest.raises(GpuBusy):
        lock(uuid)
    program.communicate(b"\n", timeout=20)
    os.close(lock(uuid))


def test_gpus_of_other_names_are_free() -> None:
    one, other = lock(f"GPU-{new_id()}"), lock(f"MIG-GPU-{new_id()}/1/0")
    os.close(one)
    os.close(other)


def test_a_mig_slice_has_the_nodes_that_open_it_and_no_other(tmp_path: Path) -> None:
    slice_ = tmp_path / "gpu3" / "mig" / "gi7"
    (slice_ / "ci0").mkdir(parents=True)
    (slice_ / "access").write_text("DeviceFileMinor: 66\nDeviceFileMode: 292\n")
    (slice_ / "ci0" / "access").write_text("DeviceFileMinor: 67\nDeviceFileMode: 292\n")
    nodes = mig_nodes(3, 7, 0, tmp_path)
    assert nodes[0] == "/dev/nvidia3"
    assert nodes[-2:] == ("/dev/nvidia-caps/nvidia-cap66", "/dev/nvidia-caps/nvidia-cap67")
    with pytest.raises(OSError, match="gi8"):
        mig_nodes(3, 8, 0, tmp_path)
    (slice_ / "access").write_text("nothing\n")
    with pytest.raises(ValueError, match="names no device"):
        mig_nodes(3, 7, 0, tmp_path)


def test_the_module_that_cuda_needs_is_loaded_once(tmp_path: Path) -> None:
    uvm, tool = tmp_path / "nvidia-uvm", tmp_path / "modprobe"
    tool.write_text(f"#!/bin/sh\necho $* >> {tmp_path}/asked; touch {uvm}\n")
    tool.chmod(0o755)
    make_shared_nodes(str(tool), uvm)
    make_shared_nodes(str(tool), uvm)
    assert (tmp_path / "asked").read_text() == "-c0 -u\n"


def test_without_that_module_the_log_says_that_cuda_will_not_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_shared_nodes("no-such-modprobe", tmp_path / "nvidia-uvm")
    assert "CUDA programs will not start" in caplog.text
    assert "there is no no-such-modprobe" in caplog.text


def test_a_whole_gpu_has_its_own_node_first() -> None:
    assert gpu_nodes(5)[0] == "/dev/nvidia5"


def a_gpu(uuid: str, parent: str | None = None, instance: int | None = None) -> HostGpu:
    return HostGpu(
        Gpu(
            uuid=uuid,
            name="H",
            memory=GIB,
            compute_capability="9.0",
            driver="1",
            parent=parent,
        ),
        (),
        instance,
    )


def test_an_error_of_a_card_concerns_its_slices_and_one_of_a_slice_that_slice() -> None:
    card = a_gpu("GPU-1")
    slices = [a_gpu(f"MIG-{n}", parent="GPU-1", instance=n) for n in (1, 2)]
    other = a_gpu("MIG-9", parent="GPU-2", instance=1)
    everyone = [card, *slices, other]
    assert [Xid("GPU-1", 79).concerns(gpu) for gpu in everyone] == [True, True, True, False]
    assert [Xid("GPU-1", 94, 2).concerns(gpu) for gpu in slices] == [False, True]
