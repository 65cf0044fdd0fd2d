"""Events of made-up functions and executions, as agents and schedulers would append them."""

from __future__ import annotations

from hermes.domain import events as ev
from hermes.domain.ids import new_id
from hermes.domain.resources import Gpu, GpuRequest, Input, Inventory, Limits, StreamDigest, Usage

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
AGENT = "host-1"
INCARNATION = "incarnation-1"
GPU = "GPU-0000"


def registered(owner: str, name: str, version: str = "1.0.0", **config: object) -> ev.EventData:
    """`owner`'s id is `id-of-OWNER`."""
    return ev.FunctionRegistered(
        owner=owner,
        owner_id=f"id-of-{owner}",
        name=name,
        version=version,
        config={
            "functionName": name,
            "functionVersion": version,
            "language": "cpp",
            "handler": "./a.out",
            "scope": "public",
            **config,
        },
        source_sha256=EMPTY_SHA256,
    )


def built(version: str, build_id: str) -> ev.EventData:
    return ev.FunctionBuilt(
        version=version, build_id=build_id, artifact_sha256=EMPTY_SHA256, toolchain="gcc"
    )


def requested(
    execution_id: str | None = None,
    owner: str = "ann",
    pool: str = "default",
    kind: str = "run",
    function: str = "ann/pi",
    gpu: GpuRequest | None = None,
) -> ev.ExecutionRequested:
    return ev.ExecutionRequested(
        execution_id=execution_id or new_id(),
        execution_kind=kind,
        function=function,
        version="1.0.0",
        artifact_sha256=EMPTY_SHA256,
        source_sha256=EMPTY_SHA256,
        handler="./a.out",
        language="cpp",
        owner=owner,
        owner_id=f"id-of-{owner}",
        pool=pool,
        input=Input(bytes=0, sha256=EMPTY_SHA256),
        limits=Limits(),
        gpu=gpu,
    )


def joined(agent: str = AGENT, incarnation: str = INCARNATION) -> ev.EventData:
    gpu = Gpu(uuid=GPU, name="Test GPU", memory=2**33, compute_capability="9.0", driver="1")
    return ev.AgentJoined(
        agent=agent,
        incarnation=incarnation,
        inventory=Inventory(slots=4, cpus=2.0, memory=2**34, gpus=(gpu,), version="0.0"),
    )


def gpu_drained(reason: str = "Xid 79") -> ev.EventData:
    return ev.AgentGpuDrained(agent=AGENT, incarnation=INCARNATION, gpu=GPU, reason=reason)


def gpu_restored() -> ev.EventData:
    return ev.AgentGpuRestored(agent=AGENT, incarnation=INCARNATION, gpu=GPU)


def scheduled(execution_id: str, attempt: int = 1, gpus: tuple[str, ...] = ()) -> ev.EventData:
    return ev.ExecutionScheduled(
        execution_id=execution_id,
        attempt=attempt,
        agent=AGENT,
        incarnation=INCARNATION,
        epoch=0,
        gpus=gpus,
        lease=10.0,
    )


def claimed(execution_id: str, attempt: int = 1) -> ev.EventData:
    return ev.ExecutionClaimed(
        execution_id=execution_id, attempt=attempt, agent=AGENT, incarnation=INCARNATION
    )


def started(execution_id: str, attempt: int = 1) -> ev.EventData:
    return ev.ExecutionStarted(
        execution_id=execution_id,
        attempt=attempt,
        agent=AGENT,
        output_partition=0,
        output_offset=0,
    )


def finished(execution_id: str, attempt: int = 1, outcome: str = "succeeded") -> ev.EventData:
    empty = StreamDigest(bytes=0, sha256=EMPTY_SHA256)
    return ev.ExecutionFinished(
        execution_id=execution_id,
        attempt=attempt,
        outcome=outcome,
        exit_code=0 if outcome == "succeeded" else 1,
        signal=None,
        usage=Usage(wall_time=1.5, cpu_time=1.0, peak_memory=2**20, output_bytes=0),
        last_seq=-1,
        output={"stdout": empty, "stderr": empty},
    )


def whole_life(execution_id: str, outcome: str = "succeeded") -> list[ev.EventData]:
    """What follows `requested`, for an agent that has joined."""
    return [
        scheduled(execution_id),
        claimed(execution_id),
        started(execution_id),
        finished(execution_id, outcome=outcome),
    ]
