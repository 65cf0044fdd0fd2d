"""NVIDIA's own library, NVML, behind the port. Its binding is the package nvidia-ml-py."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pynvml

from hermes.domain.resources import GIB, MIB, Gpu
from infra.gpu.model import GpuCondition, GpuFault, GpuReading, HostGpu, NoDriver, Xid
from infra.gpu.nodes import gpu_nodes, make_shared_nodes, mig_nodes

log = logging.getLogger(__name__)

_T = TypeVar("_T")
# Any of them says that a driver is there, or that somebody meant it to be.
_DRIVER = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"))
_PROFILE = re.compile(r"MIG (\S+)$")
_NO_INSTANCE = 0xFFFFFFFF
_NEEDS = {
    pynvml.NVML_GPU_RECOVERY_ACTION_GPU_RESET: "a reset",
    pynvml.NVML_GPU_RECOVERY_ACTION_NODE_REBOOT: "a reboot of the host",
    pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_P2P: "its peers' traffic to be drained",
    pynvml.NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET: "a reset, once nothing runs on it",
}


class Nvml:
    """See GpuLibrary. Raises NoDriver where there is none, GpuFault where it does not work."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}
        self._parents: dict[str, Any] = {}
        self._events: Any = None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            if not any(path.exists() for path in _DRIVER):
                raise NoDriver("this host has no NVIDIA driver") from None
            raise GpuFault(f"NVIDIA's driver is here, but NVML does not start: {error}") from error

    def inventory(self) -> dict[str, HostGpu]:
        """By UUID; watches what it finds for errors."""
        found: dict[str, HostGpu] = {}
        with _faults("the driver"):
            driver = _text(pynvml.nvmlSystemGetDriverVersion())
            count = pynvml.nvmlDeviceGetCount()
        if count:
            make_shared_nodes()
        for index in range(count):
            # One broken GPU does not take the others with it.
            try:
                with _faults(f"GPU number {index}"):
                    whole = pynvml.nvmlDeviceGetHandleByIndex(index)
                    found |= self._parts_of(whole, driver)
                    self._watch(whole)
            except GpuFault as error:
                log.error("GPU number %d is left out: %s", index, error)
        return found

    def _parts_of(self, whole: Any, driver: str) -> dict[str, HostGpu]:
        minor = pynvml.nvmlDeviceGetMinorNumber(whole)
        uuid = _text(pynvml.nvmlDeviceGetUUID(whole))
        if not _in_mig_mode(whole):
            self._handles[uuid] = whole
            return {uuid: HostGpu(_describe(whole, whole, driver), gpu_nodes(minor))}
        found = {}
        for part in _slices(whole):
            gpu = _describe(part, whole, driver)
            instance = pynvml.nvmlDeviceGetGpuInstanceId(part)
            try:
                nodes = mig_nodes(minor, instance, pynvml.nvmlDeviceGetComputeInstanceId(part))
            except (OSError, ValueError) as error:
                log.error("MIG slice %s is left out: %s", gpu.uuid, error)
                continue
            self._handles[gpu.uuid], self._parents[gpu.uuid] = part, whole
            found[gpu.uuid] = HostGpu(gpu, nodes, instance)
        return found

    def _watch(self, whole: Any) -> None:
        kind = pynvml.nvmlEventTypeXidCriticalError
        try:
            if self._events is None:
                self._events = pynvml.nvmlEventSetCreate()
            pynvml.nvmlDeviceRegisterEvents(whole, kind, self._events)
        except pynvml.NVMLError as error:
            log.warning("the driver reports no errors of %s: %s", _uuid(whole), error)

    def sample(self, uuid: str) -> GpuReading:
        """How busy it is now."""
        handle = self._handle(uuid)
        with _faults(uuid):
            memory = _used_memory(handle)
            if uuid in self._parents:
                # Power and utilisation are those of all slices of the card together.
                return GpuReading(memory=memory)
            rates = _if_known(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle))
            power = _if_known(lambda: pynvml.nvmlDeviceGetPowerUsage(handle))
            energy = _if_known(lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        return GpuReading(
            memory=memory,
            utilisation=None if rates is None else rates.gpu / 100,
            power=None if power is None else power / 1000,
            energy=None if energy is None else energy / 1000,
        )

    def condition(self, uuid: str) -> GpuCondition:
        """How well it is now."""
        handle = self._handle(uuid)
        whole = self._parents.get(uuid, handle)
        with _faults(uuid):
            running = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
            uncorrected = _if_known(
                lambda: pynvml.nvmlDeviceGetTotalEccErrors(
                    whole, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
                )
            )
            tells, needs = _recovery(whole)
            rows = _if_known(lambda: pynvml.nvmlDeviceGetRemappedRows(whole))
        if needs is None and rows is not None:
            needs = _rows_need(*rows[2:])
        return GpuCondition(
            processes=tuple(sorted(one.pid for one in running)),
            uncorrected=uncorrected or 0,
            needs=needs,
            tells_needs=tells,
        )

    def next_xid(self, timeout: float) -> Xid | None:
        """The next error that the driver reports, or None after `timeout` seconds."""
        if self._events is None:
            time.sleep(timeout)
            return None
        try:
            data = pynvml.nvmlEventSetWait(self._events, int(timeout * 1000))
        except pynvml.NVMLError_Timeout:
            return None
        except pynvml.NVMLError as error:
            raise GpuFault(f"the driver reports no more errors: {error}") from error
        with _faults("a GPU with an error"):
            uuid = _uuid(data.device)
        instance = None if data.gpuInstanceId == _NO_INSTANCE else int(data.gpuInstanceId)
        return Xid(uuid, int(data.eventData), instance)

    def _handle(self, uuid: str) -> Any:
        try:
            return self._handles[uuid]
        except KeyError:
            raise GpuFault(f"this host has no GPU {uuid}") from None


@contextmanager
def _faults(what: str) -> Iterator[None]:
    try:
        yield
    except pynvml.NVMLError_GpuIsLost:
        raise GpuFault("it has fallen off the bus") from None
    except pynvml.NVMLError as error:
        raise GpuFault(f"the driver refuses to speak of {what}: {error}") from error


def _if_known(ask: Callable[[], _T]) -> _T | None:
    """None if this GPU, or this driver, does not tell; other errors are the caller's."""
    try:
        return ask()
    except (
        pynvml.NVMLError_NotSupported,
        pynvml.NVMLError_FunctionNotFound,
        pynvml.NVMLError_NoPermission,
    ):
        return None


def _in_mig_mode(whole: Any) -> bool:
    modes = _if_known(lambda: pynvml.nvmlDeviceGetMigMode(whole))
    return modes is not None and modes[0] == pynvml.NVML_DEVICE_MIG_ENABLE


def _slices(whole: Any) -> Iterator[Any]:
    for index in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(whole)):
        try:
            yield pynvml.nvmlDeviceGetMigDeviceHandleByIndex(whole, index)
        except pynvml.NVMLError_NotFound:
            continue  # their numbers have gaps


def _describe(part: Any, whole: Any, driver: str) -> Gpu:
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(whole)
    is_slice = part is not whole
    return Gpu(
        uuid=_uuid(part),
        name=_text(pynvml.nvmlDeviceGetName(whole)),
        memory=int(pynvml.nvmlDeviceGetMemoryInfo(part).total),
        compute_capability=f"{major}.{minor}",
        driver=driver,
        mig=_profile(part) if is_slice else None,
        parent=_uuid(whole) if is_slice else None,
    )


def _profile(part: Any) -> str:
    """A slice's profile, as in "1g.10gb", which the driver tells behind the card's name only."""
    told = _PROFILE.search(_text(pynvml.nvmlDeviceGetName(part)))
    if told is not None:
        return told[1]
    shape = pynvml.nvmlDeviceGetAttributes(part)
    gigabytes = max(1, round(shape.memorySizeMB * MIB / GIB))
    return f"{shape.gpuInstanceSliceCount}g.{gigabytes}gb"


def _used_memory(handle: Any) -> int:
    # The second version leaves out what the driver itself has reserved.
    precise = _if_known(
        lambda: pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2)
    )
    return int((precise or pynvml.nvmlDeviceGetMemoryInfo(handle)).used)


def _recovery(whole: Any) -> tuple[bool, str | None]:
    """Whether the driver tells what the GPU needs, and what that is. Since driver 560 or so."""
    field = pynvml.NVML_FI_DEV_GET_GPU_RECOVERY_ACTION
    values = _if_known(lambda: pynvml.nvmlDeviceGetFieldValues(whole, [field]))
    if not values or values[0].nvmlReturn != pynvml.NVML_SUCCESS:
        return False, None
    action = int(values[0].value.uiVal)
    if action == pynvml.NVML_GPU_RECOVERY_ACTION_NONE:
        return True, None
    return True, _NEEDS.get(action, f"a recovery (number {action})")


def _rows_need(is_pending: int, has_failed: int) -> str | None:
    if has_failed:
        return "replacement: a broken row of its memory cannot be remapped"
    if is_pending:
        return "a reset: a broken row of its memory waits to be remapped"
    return None


def _uuid(handle: Any) -> str:
    return _text(pynvml.nvmlDeviceGetUUID(handle))


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
