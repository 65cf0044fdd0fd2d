"""NVML's answers, from a library with its calls and layouts, become what Hermes knows of GPUs."""

from __future__ import annotations

import ctypes
import logging
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pynvml
import pytest

from hermes.domain.resources import GIB, Gpu
from infra.gpu import GpuCondition, GpuFault, GpuReading, NoDriver, NoGpus, Nvml, Xid, open_library
from infra.gpu import nvml as module
from infra.gpu.nodes import mig_nodes

SOURCE = Path(__file__).parents[2] / "support" / "fake_libnvml.c"
Setting = Callable[..., None]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: the fake of NVML cannot be built")
    library = tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1"
    command = [compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
    subprocess.run(command, check=True, timeout=60)
    return library


@pytest.fixture
def fake(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setting:
    """Sets the fake's variables. It is loaded anew for each test."""
    copy = tmp_path / built.name
    shutil.copy(built, copy)
    library = ctypes.CDLL(str(copy))
    monkeypatch.setattr(pynvml, "nvmlLib", library)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    capabilities = tmp_path / "capabilities"
    for number, access in ((1, "gi7/access"), (2, "gi7/ci0/access")):
        file = capabilities / "gpu0" / "mig" / access
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"DeviceFileMinor: {number}\n")
    monkeypatch.setattr(module, "make_shared_nodes", lambda: None)
    monkeypatch.setattr(module, "mig_nodes", nodes_by(capabilities))

    def setting(**values: int) -> None:
        for name, value in values.items():
            kind = ctypes.c_ulonglong if name == "xid" else ctypes.c_uint
            kind.in_dll(library, f"fake_{name}").value = value

    return setting


def nodes_by(capabilities: Path) -> Callable[[int, int, int], tuple[str, ...]]:
    """The device nodes of slices, as this folder names them and not the driver's."""
    return lambda minor, instance, compute: mig_nodes(minor, instance, compute, capabilities)


def test_a_card_in_mig_mode_offers_its_slices_and_not_itself(fake: Setting) -> None:
    found = Nvml().inventory()
    assert set(found) == {"MIG-slice", "GPU-whole"}
    assert found["GPU-whole"].gpu == Gpu(
        uuid="GPU-whole",
        name="NVIDIA H200",
        memory=140 * GIB,
        compute_capability="9.0",
        driver="590.1",
    )
    assert found["MIG-slice"].gpu == Gpu(
        uuid="MIG-slice",
        name="NVIDIA A100",
        memory=5 * GIB,
        compute_capability="8.0",
        driver="590.1",
        mig="1g.5gb",
        parent="GPU-parent",
    )
    assert found["GPU-whole"].devices[0] == "/dev/nvidia1"
    slice_nodes = found["MIG-slice"].devices
    assert slice_nodes[0] == "/dev/nvidia0"
    assert slice_nodes[-2:] == ("/dev/nvidia-caps/nvidia-cap1", "/dev/nvidia-caps/nvidia-cap2")


def test_a_profile_that_the_name_does_not_tell_is_made_of_the_shape(fake: Setting) -> None:
    fake(plain_name=1)
    assert Nvml().inventory()["MIG-slice"].gpu.mig == "1g.5gb"


def test_a_slice_whose_nodes_are_not_known_is_left_out_loudly(
    fake: Setting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "mig_nodes", nodes_by(Path("/nowhere")))
    assert set(Nvml().inventory()) == {"GPU-whole"}
    assert "MIG-slice is left out" in caplog.text


def test_a_look_at_a_card_tells_everything_and_one_at_a_slice_its_memory(fake: Setting) -> None:
    library = Nvml()
    library.inventory()
    assert library.sample("GPU-whole") == GpuReading(
        memory=2 * GIB, utilisation=0.75, power=312.5, energy=1234.5
    )
    assert library.sample("MIG-slice") == GpuReading(memory=2 * GIB)
    fake(old_memory=1)
    assert library.sample("MIG-slice") == GpuReading(memory=3 * GIB)


def test_a_well_card_asks_for_nothing(fake: Setting) -> None:
    library = Nvml()
    library.inventory()
    well = GpuCondition(processes=(), uncorrected=4, needs=None, tells_needs=True)
    assert library.condition("GPU-whole") == well
    assert library.condition("MIG-slice") == well


def test_an_unwell_card_says_what_it_needs_and_what_runs_on_it(fake: Setting) -> None:
    library = Nvml()
    library.inventory()
    fake(recovery=1, processes=2)
    assert library.condition("GPU-whole").needs == "a reset"
    assert library.condition("GPU-whole").processes == (4711, 4712)
    assert library.condition("MIG-slice").processes == ()
    fake(recovery=99)
    assert library.condition("GPU-whole").needs == "a recovery (number 99)"
    fake(tells_recovery=0)
    assert library.condition("GPU-whole").needs is None
    assert not library.condition("GPU-whole").tells_needs
    fake(pending_rows=1)
    assert "remapped" in str(library.condition("GPU-whole").needs)


def test_errors_come_with_the_card_and_the_slice(fake: Setting) -> None:
    library = Nvml()
    assert library.next_xid(0.01) is None
    library.inventory()
    assert library.next_xid(0.01) is None
    fake(xid=79)
    assert library.next_xid(0.01) == Xid("GPU-parent", 79)
    fake(xid=94, xid_instance=7)
    assert library.next_xid(0.01) == Xid("GPU-parent", 94, 7)
    assert library.next_xid(0.01) is None


def test_a_card_off_the_bus_is_a_fault(fake: Setting) -> None:
    library = Nvml()
    library.inventory()
    fake(lost=1)
    for ask in (library.sample, library.condition):
        with pytest.raises(GpuFault, match="fallen off the bus"):
            ask("GPU-whole")
    with pytest.raises(GpuFault, match="no GPU GPU-other"):
        library.sample("GPU-other")


def test_one_broken_card_does_not_take_the_others_with_it(
    fake: Setting, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ask = pynvml.nvmlDeviceGetHandleByIndex

    def handle(index: int) -> object:
        if index == 0:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return ask(index)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", handle)
    assert set(Nvml().inventory()) == {"GPU-whole"}
    assert "GPU number 0 is left out: it has fallen off the bus" in caplog.text


def test_no_driver_is_silent_and_a_broken_one_is_loud(
    fake: Setting,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    fake(init_result=pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    monkeypatch.setattr(module, "_DRIVER", (tmp_path / "nvidiactl",))
    with pytest.raises(NoDriver):
        Nvml()
    with caplog.at_level(logging.DEBUG, logger="infra.gpu"):
        assert isinstance(open_library(), NoGpus)
        assert caplog.text == ""
        (tmp_path / "nvidiactl").touch()
        with pytest.raises(GpuFault, match="does not start"):
            Nvml()
        assert isinstance(open_library(), NoGpus)
    assert "no GPU of this host can be used" in caplog.text
    assert "Driver Not Loaded" in caplog.text
