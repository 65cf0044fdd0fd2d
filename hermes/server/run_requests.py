"""What POST /executions asks for, checked, and the `requested` event that it becomes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import time
from typing import Any

import msgspec

from hermes.domain import events as ev
from hermes.domain.ids import id_time_ms, is_id
from hermes.domain.pool import REQUEST_WINDOW_MS
from hermes.domain.registry import FunctionState
from hermes.domain.resources import GpuRequest, Input, Limits
from hermes.errors import FieldProblem, InvalidRequest, TooLarge
from hermes.packages.config import parse_gpu
from hermes.packages.errors import ConfigError
from hermes.packages.limits import gpu_request
from hermes.packages.reference import FunctionRef, InvalidReference
from hermes.server.accounts.store import Account
from hermes.server.json_body import Fields, fields_of, refuse
from hermes.settings import Settings

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_INPUTS = ("input", "input_base64", "input_blob")
EMPTY = hashlib.sha256(b"").hexdigest()


class RunRequest(msgspec.Struct, kw_only=True):
    """A request for a run. `input` is what came inline, to be dropped once it is appended; `blob`
    the SHA-256 of what did not."""

    ref: FunctionRef
    id: str | None
    input: bytes
    blob: str | None
    timeout: float | None
    gpu: bool | GpuRequest | None
    pool: str


def parse_run_request(body: bytes, settings: Settings) -> RunRequest:
    """Raises InvalidRequest, InvalidInput, TooLarge."""
    fields = fields_of(body)
    ref = _reference(fields)
    execution_id = fields.text("id")
    data, blob = _input(fields, settings.max_inline_input)
    timeout = fields.number("timeout")
    if timeout is not None and timeout > settings.max_limits.time:
        fields.problem("timeout", f"is more than this server's {settings.max_limits.time:g} s")
    gpu = _gpu(fields)
    pool = fields.text("pool") or settings.pool
    fields.check()
    if execution_id is not None:
        _check_id(execution_id)
    return RunRequest(
        ref=ref, id=execution_id, input=data, blob=blob, timeout=timeout, gpu=gpu, pool=pool
    )


def requested_data(
    request: RunRequest,
    function: FunctionState,
    user: Account,
    *,
    execution_id: str,
    given: Input,
    retries: int,
    settings: Settings,
) -> ev.ExecutionRequested:
    """All that a run needs, so that nothing spans topics. Raises InvalidInput."""
    config = function.config
    return ev.ExecutionRequested(
        execution_id=execution_id,
        execution_kind="run",
        function=f"{function.owner}/{function.name}",
        version=function.version,
        artifact_sha256=function.artifact_sha256,
        source_sha256=function.source_sha256,
        handler=str(config["handler"]),
        language=str(config["language"]),
        owner=user.username,
        owner_id=user.id,
        pool=request.pool,
        input=given,
        limits=_limits(config.get("limits") or {}, request.timeout, settings),
        gpu=_resolved_gpu(request.gpu, config),
        retries=retries,
    )


def _reference(fields: Fields) -> FunctionRef:
    text = fields.text("function", required=True)
    if text is not None:
        try:
            return FunctionRef.parse(text)
        except InvalidReference as error:
            fields.problem("function", error.detail)
    return FunctionRef("", "")


def _input(fields: Fields, most: int) -> tuple[bytes, str | None]:
    given = [name for name in _INPUTS if fields.any(name) is not None]
    if len(given) > 1:
        fields.problem(given[1], f"cannot be given together with {given[0]}")
    data = b""
    text, encoded, blob = (fields.text(name) for name in _INPUTS)
    if text is not None:
        data = text.encode()
    elif encoded is not None:
        try:
            data = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            fields.problem("input_base64", "is not base64")
    elif blob is not None and not _SHA256.match(blob):
        fields.problem("input_blob", "must be a SHA-256 in lower-case hex")
    if len(data) > most:
        raise TooLarge(
            f"the input has {len(data)} bytes and at most {most} may stand in the request: "
            "upload it with PUT /v1/blobs/{sha256} and send input_blob",
            (FieldProblem(given[0], f"is longer than {most} bytes"),),
        )
    return data, blob


def _gpu(fields: Fields) -> bool | GpuRequest | None:
    value: Any = fields.any("gpu")
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, dict):
        fields.problem("gpu", 'must be true, false or an object such as {"count": 1}')
        return None
    try:
        return gpu_request(parse_gpu(value))
    except ConfigError as error:
        fields.problems.extend(error.problems)
        return None


def _check_id(execution_id: str) -> None:
    if not is_id(execution_id):
        raise InvalidRequest(
            "id must be a UUIDv7 in lower case", (FieldProblem("id", "is not a UUIDv7"),)
        )
    if abs(time.time() * 1000 - id_time_ms(execution_id)) > REQUEST_WINDOW_MS:
        message = "is more than 24 hours from now"
        raise InvalidRequest(f"the id's time {message}", (FieldProblem("id", message),))


def _limits(given: dict[str, Any], timeout: float | None, settings: Settings) -> Limits:
    limits = msgspec.structs.replace(settings.default_limits, **given)
    if timeout is not None:
        # Without a time in the config the caller decides, up to the server's maximum.
        limits = msgspec.structs.replace(limits, time=min(timeout, given.get("time", timeout)))
    most = settings.max_limits
    return Limits(
        time=float(min(limits.time, most.time)),
        memory=min(limits.memory, most.memory),
        cpus=float(min(limits.cpus, most.cpus)),
        output=min(limits.output, most.output),
        processes=min(limits.processes, most.processes),
    )


def _resolved_gpu(asked: bool | GpuRequest | None, config: dict[str, Any]) -> GpuRequest | None:
    capable = bool(config.get("gpuCapable"))
    of_config = config.get("gpu")
    if asked is False:
        return None
    if asked is None and not (of_config or (capable and config.get("language") == "cuda")):
        return None
    if not capable:
        refuse(FieldProblem("gpu", "is for functions with `gpuCapable: true` only"))
    if isinstance(asked, GpuRequest):
        return asked
    return gpu_request(parse_gpu(of_config) if of_config else None)
