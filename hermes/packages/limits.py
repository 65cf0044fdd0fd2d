"""What a config asks for against what a server gives."""

from __future__ import annotations

import msgspec

from hermes.domain.resources import GpuRequest, Limits
from hermes.errors import FieldProblem
from hermes.packages.config import ConfigGpu, FunctionConfig

_UNITS = {
    "time": "seconds",
    "memory": "bytes",
    "cpus": "cores",
    "output": "bytes per stream",
    "processes": "processes",
}


def check_limits(
    config: FunctionConfig, maximum: Limits, max_gpus: int | None = None
) -> list[FieldProblem]:
    """A problem for each limit above the server's maximum, and for more GPUs than `max_gpus`."""
    problems = []
    for name, unit in _UNITS.items():
        asked = getattr(config.limits, name, None)
        most = getattr(maximum, name)
        if asked is not None and asked > most:
            problems.append(
                FieldProblem(f"limits.{name}", f"is {asked}; this server allows {most} {unit}")
            )
    count = config.gpu.count if config.gpu else 1
    if max_gpus is not None and config.gpu_capable and count > max_gpus:
        problems.append(FieldProblem("gpu.count", f"is {count}; this server allows {max_gpus}"))
    return problems


def effective_limits(config: FunctionConfig, default: Limits) -> Limits:
    """The config's limits, the server's `default` where the config says nothing."""
    if config.limits is None:
        return default
    given = msgspec.structs.asdict(config.limits)
    return msgspec.structs.replace(
        default, **{name: value for name, value in given.items() if value is not None}
    )


def gpu_request(gpu: ConfigGpu | None) -> GpuRequest:
    """The GPUs to ask for: those of the config's object, or one of any kind."""
    return GpuRequest(**msgspec.structs.asdict(gpu or ConfigGpu()))
