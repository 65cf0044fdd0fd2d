"""Appends a run: its input first, then `requested`, which carries all that it needs."""

from __future__ import annotations

import asyncio
import hashlib
import time
from datetime import UTC, datetime

import msgspec

from hermes.domain import events as ev
from hermes.domain.execution import ExecutionState, begin
from hermes.domain.resources import Input, Position
from hermes.errors import AlreadyExists, FieldProblem, RateLimited
from hermes.server.accounts.store import Account
from hermes.server.json_body import refuse
from hermes.server.pool_tap import PoolTap
from hermes.server.run_requests import EMPTY, RunRequest
from hermes.server.services import Services
from streams.log import new_event
from streams.output import MAX_CHUNK, headers, partition_of

# What one user may have queued and running in a pool.
MOST_LIVE = 10_000


class Submitted(msgspec.Struct, frozen=True):
    """An accepted request: the execution, and where its `requested` stands."""

    state: ExecutionState
    position: Position


def refuse_more_live(tap: PoolTap, user: Account) -> None:
    """Raises RateLimited for a user who has very much queued and running, builds included."""
    if tap.journal.live_of(user.id) >= MOST_LIVE:
        raise RateLimited(f"{MOST_LIVE} of your executions have not ended yet", retry_after=5.0)


async def resolve_input(services: Services, user: Account, request: RunRequest) -> Input:
    """The input without the position of its bytes. Raises InvalidInput for an unknown blob."""
    if request.blob is None:
        sha256 = hashlib.sha256(request.input).hexdigest() if request.input else EMPTY
        return Input(bytes=len(request.input), sha256=sha256)
    size = await services.accounts.blob_size(user, request.blob)
    if size is None:
        refuse(FieldProblem("input_blob", "was not uploaded: send it with PUT /v1/blobs/{sha256}"))
    return Input(bytes=size, sha256=request.blob, blob=request.blob)


async def append_input(
    services: Services, tap: PoolTap, execution_id: str, given: Input, data: bytes
) -> Input:
    """Append inline input to the output topic; the same input with its position.

    Raises LogUnavailable; then nothing refers to what may have been appended.
    """
    if not data:
        return given
    partition = partition_of(execution_id, len(tap.output_partitions))
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    sent = [
        await services.output_writer.send(
            tap.output_topic,
            execution_id,
            data[offset : offset + MAX_CHUNK],
            partition=partition,
            headers=headers(
                attempt=0,
                seq=seq,
                stream="stdin",
                offset=offset,
                time=now,
                after=max(0, tap.fold.state.next_offset - 1),
            ),
        )
        for seq, offset in enumerate(range(0, len(data), MAX_CHUNK))
    ]
    positions = await asyncio.gather(*(services.output_writer.acknowledged(one) for one in sent))
    return msgspec.structs.replace(given, position=positions[0])


async def append_fresh(
    services: Services, tap: PoolTap, data: ev.ExecutionRequested, actor: str
) -> Submitted:
    """Append a request whose id we made: it always fits, so the acknowledgement is enough."""
    event = new_event(data, actor, correlation_id=data.execution_id)
    position = await services.writer.append(tap.fold.topic, data.execution_id, event)
    record = ev.Recorded(
        position.topic,
        position.partition,
        position.offset,
        time.time_ns() // 1_000_000,
        data.execution_id,
        event,
    )
    return Submitted(begin(data, record, event), position)


async def append_with_given_id(
    services: Services, tap: PoolTap, data: ev.ExecutionRequested, actor: str
) -> Submitted:
    """Append a request whose id its caller chose: the fold decides. Raises AlreadyExists."""
    event = new_event(data, actor, correlation_id=data.execution_id)
    offset, applied = await tap.fold.append(services.writer, data.execution_id, event)
    if applied.superseded or applied.execution is None:
        raise AlreadyExists(f"the id {data.execution_id} is in use")
    return Submitted(applied.execution, Position(tap.fold.topic, 0, offset))


def is_same_request(known: ExecutionState, data: ev.ExecutionRequested) -> bool:
    """Whether `data` asks for what `known` was asked for, by the same user."""
    return (
        known.kind == data.execution_kind
        and known.owner_id == data.owner_id
        and known.function == data.function
        and known.version == data.version
        and known.pool == data.pool
        and known.limits == data.limits
        and known.gpu == data.gpu
        and (known.input.bytes, known.input.sha256) == (data.input.bytes, data.input.sha256)
    )
