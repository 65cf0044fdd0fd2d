"""hermes.config.json: what a function is called, what it is and what it may use."""

from __future__ import annotations

import json
import re
from typing import Any, Literal, cast

import msgspec

from hermes.errors import FieldProblem
from hermes.packages import fields
from hermes.packages.errors import ConfigError
from hermes.packages.fields import ObjectReader, clean_path
from hermes.packages.reference import NAME, VERSION
from hermes.packages.strict_json import JsonError, JsonObject, parse_json

CONFIG_NAME = "hermes.config.json"
MAKEFILE_NAME = "Makefile"
MAX_CONFIG_BYTES = 64 * 1024

_COMPUTE_CAPABILITY = re.compile(r"[1-9][0-9]?\.[0-9]\Z")


class ConfigLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the config bounds; None leaves it to the server. Seconds, bytes, cores, bytes per
    stream, processes."""

    time: float | None = None
    memory: int | None = None
    cpus: float | None = None
    output: int | None = None
    processes: int | None = None


class ConfigGpu(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The GPUs a function asks for: how many, and what each has at least (memory in bytes)."""

    count: int = 1
    memory: int | None = None
    name: str | None = None
    compute_capability: str | None = None


class FunctionConfig(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A valid config. `limits` and `gpu` are None where the file has none."""

    function_name: str
    function_version: str
    language: Literal["cpp", "cuda"]
    handler: str
    gpu_capable: bool = False
    scope: Literal["public", "private"] = "private"
    limits: ConfigLimits | None = None
    gpu: ConfigGpu | None = None

    @property
    def handler_path(self) -> str:
        """The handler relative to the folder, without `./`."""
        return clean_path(self.handler)


def parse_config(data: bytes) -> FunctionConfig:
    """Read a config of at most 64 KiB. Raises ConfigError with every problem, nothing else."""
    if len(data) > MAX_CONFIG_BYTES:
        raise _whole_file(f"is larger than {MAX_CONFIG_BYTES // 1024} KiB")
    try:
        document = parse_json(data)
    except JsonError as error:
        raise _whole_file(str(error)) from None
    if type(document) is not JsonObject:
        raise _whole_file("must hold one JSON object")

    problems: list[FieldProblem] = []
    config = _read_config(ObjectReader(document, "", problems))
    if problems:
        raise ConfigError(problems)
    return config


def encode_config(config: FunctionConfig) -> bytes:
    """The config as a file for people: indented, the fields in their documented order."""
    return (json.dumps(config_as_json(config), indent=2, ensure_ascii=False) + "\n").encode()


def config_as_json(config: FunctionConfig) -> dict[str, Any]:
    """The config as plain JSON values under its wire names, absent objects left out."""
    values: dict[str, Any] = {
        "functionName": config.function_name,
        "functionVersion": config.function_version,
        "language": config.language,
        "gpuCapable": config.gpu_capable,
        "scope": config.scope,
        "handler": config.handler,
    }
    if config.limits is not None:
        values["limits"] = msgspec.to_builtins(config.limits)
    if config.gpu is not None:
        values["gpu"] = msgspec.to_builtins(config.gpu)
    return values


def parse_gpu(document: Any) -> ConfigGpu:
    """Read the config's `gpu` object from anywhere else, a run request for one.

    `document` is a decoded JSON value. Raises ConfigError with every problem.
    """
    problems: list[FieldProblem] = []
    root = ObjectReader(JsonObject(gpu=_marked(document)), "", problems)
    gpu = _read_gpu(root)
    if problems or gpu is None:
        raise ConfigError(problems)
    return gpu


def _marked(document: Any) -> Any:
    return JsonObject(document) if type(document) is dict else document


def _read_config(root: ObjectReader) -> FunctionConfig:
    name = root.take(
        "functionName",
        fields.matching(NAME, "1 to 64 of a-z, 0-9, `_` and `-`, not starting with `-`"),
        required=True,
    )
    version = root.take(
        "functionVersion",
        fields.matching(VERSION, "three numbers such as 1.0.0, without leading zeros"),
        required=True,
    )
    language = root.take("language", fields.one_of("cpp", "cuda"), required=True)
    gpu_capable = root.take("gpuCapable", fields.boolean)
    scope = root.take("scope", fields.one_of("public", "private"))
    handler = root.take("handler", fields.relative_file, required=True)
    limits = _read_limits(root)
    gpu = _read_gpu(root)
    if gpu is not None and not gpu_capable:
        root.problem("gpu", "needs `gpuCapable: true`")
    root.refuse_the_rest()
    # Where a required field is missing or wrong, the caller raises and never sees this value.
    return FunctionConfig(
        function_name=name or "",
        function_version=version or "",
        language=cast(Literal["cpp", "cuda"], language),
        handler=handler or "",
        gpu_capable=bool(gpu_capable),
        scope=cast(Literal["public", "private"], scope or "private"),
        limits=limits,
        gpu=gpu,
    )


def _read_limits(root: ObjectReader) -> ConfigLimits | None:
    reader = root.take_object("limits")
    if reader is None:
        return None
    limits = ConfigLimits(
        time=reader.take("time", fields.positive_number("seconds")),
        memory=reader.take("memory", fields.positive_integer("bytes")),
        cpus=reader.take("cpus", fields.positive_number("cores")),
        output=reader.take("output", fields.positive_integer("bytes")),
        processes=reader.take("processes", fields.positive_integer("processes")),
    )
    reader.refuse_the_rest()
    return limits


def _read_gpu(root: ObjectReader) -> ConfigGpu | None:
    reader = root.take_object("gpu")
    if reader is None:
        return None
    gpu = ConfigGpu(
        count=reader.take("count", fields.positive_integer("GPUs")) or 1,
        memory=reader.take("memory", fields.positive_integer("bytes")),
        name=reader.take("name", fields.glob),
        compute_capability=reader.take(
            "computeCapability", fields.matching(_COMPUTE_CAPABILITY, 'a string such as "8.6"')
        ),
    )
    reader.refuse_the_rest()
    return gpu


def _whole_file(message: str) -> ConfigError:
    return ConfigError([FieldProblem(CONFIG_NAME, message)])
