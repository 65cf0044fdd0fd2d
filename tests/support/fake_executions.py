"""Executions of the FakeApi: they follow scripts, and show what the interface would show."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any

NOW = "2026-01-31T12:00:00.000000Z"


def moment(seconds: float) -> str:
    """A time `seconds` after NOW's minute, in the interface's form."""
    whole = int(seconds)
    return f"2026-01-31T12:00:{whole:02d}.{round((seconds - whole) * 1_000_000):06d}Z"


@dataclass
class Script:
    """What an execution does. `output` = (stream, bytes, seconds after its start)."""

    output: list[tuple[str, bytes, float]] = field(default_factory=list)
    outcome: str | None = "succeeded"
    exit_code: int | None = 0
    signal: int | None = None
    status: str = "finished"
    holds: bool = False
    complete: bool = True
    extra: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@dataclass
class FakeExecution:
    """An execution: its shape and the frames of its tail so far."""

    shape: dict[str, Any]
    script: Script
    frames: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def ended(self) -> bool:
        return bool(self.frames) and self.frames[-1][0] == "end"

    def begin(self) -> None:
        """Everything up to the end, or up to where the script holds."""
        script, shape = self.script, self.shape
        requested = {
            "execution_id": shape["id"],
            "kind": shape["kind"],
            "function": "ana/echo",
            "limits": shape["limits"],
        }
        frames = self.frames
        frames.append(("event", event("execution.requested", requested, 1)))
        if script.status == "rejected":
            frames.append(("event", event("execution.rejected", {"reason": "no_gpu"}, 2)))
        else:
            frames.append(("event", event("execution.started", {"attempt": 1}, 3)))
            frames.extend(script.extra)
            offsets = {"stdout": 0, "stderr": 0}
            for seq, (stream, data, seconds) in enumerate(script.output):
                frames.append(("output", chunk(seq, stream, offsets[stream], data, seconds)))
                offsets[stream] += len(data)
        if not script.holds:
            self.end()

    def end(self) -> None:
        """What the script says of its end."""
        script = self.script
        end = {
            "status": script.status,
            "outcome": script.outcome,
            "exit_code": script.exit_code,
            "signal": script.signal,
            "last_seq": len(script.output) - 1,
            "complete": script.complete,
        }
        if script.status != "rejected":
            data = {"attempt": 1, "outcome": script.outcome}
            self.frames.append(("event", event("execution.finished", data, 9)))
        self.frames.append(("end", end))


def execution_shape(execution_id: str, script: Script, changes: dict[str, Any]) -> dict[str, Any]:
    """An Execution in the interface's shape."""
    streams = {
        name: b"".join(data for stream, data, _ in script.output if stream == name)
        for name in ("stdout", "stderr")
    }
    return {
        "id": execution_id,
        "kind": "run",
        "function": "ana/echo:1.0.0",
        "owner": "ana",
        "pool": "default",
        "status": "running" if script.holds else script.status,
        "outcome": None if script.holds else script.outcome,
        "reason": None,
        "exit_code": None if script.holds else script.exit_code,
        "signal": None if script.holds else script.signal,
        "attempt": 1,
        "attempts": [
            {
                "attempt": 1,
                "agent": "host-1",
                "gpus": ["GPU-1"],
                "status": "ended",
                "scheduled_at": NOW,
                "claimed_at": NOW,
                "started_at": NOW,
                "ended_at": moment(3),
                "reason": None,
            }
        ],
        "limits": {"time": 600.0, "memory": 2**30, "cpus": 1.0, "output": 10, "processes": 9},
        "gpu": None,
        "input": {"bytes": 0, "sha256": "0" * 64},
        "output": {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in streams.items()
        },
        "usage": {
            "wall_time": 1.5,
            "cpu_time": 1.25,
            "peak_memory": 3 * 2**20,
            "output_bytes": 12,
            "gpu_time": None,
            "gpu_peak_memory": None,
            "gpu_utilisation": None,
            "gpu_energy": None,
            "gpu_samples": None,
        },
        "created_at": NOW,
        "started_at": NOW,
        "finished_at": None if script.holds else moment(3),
        "cancel_requested_at": None,
        "positions": {"requested": position(1), "started": position(3), "finished": None},
        **changes,
    }


def event(kind: str, data: dict[str, Any], offset: int, **changes: Any) -> dict[str, Any]:
    """An Event in the interface's shape."""
    return {
        "id": f"event-{offset}",
        "kind": kind,
        "version": 1,
        "occurred_at": moment(offset / 100),
        "actor": "ana",
        "causation_id": None,
        "correlation_id": None,
        "data": data,
        "position": position(offset),
        "superseded": False,
        **changes,
    }


def chunk(seq: int, stream: str, offset: int, data: bytes, seconds: float) -> dict[str, Any]:
    """The data of an `output` event."""
    return {
        "attempt": 1,
        "seq": seq,
        "stream": stream,
        "offset": offset,
        "time": moment(seconds),
        "data": base64.b64encode(data).decode(),
    }


def position(offset: int, topic: str = "hermes.executions.default") -> dict[str, Any]:
    return {"topic": topic, "partition": 0, "offset": offset}
