"""How the server's shapes look to people."""

from __future__ import annotations

from typing import Any

from cli.output import Output
from cli.when import duration, elapsed, local

EXECUTION_COLUMNS = ("ID", "STATUS", "EXIT", "START", "ELAPSED", "FUNCTION")
FUNCTION_COLUMNS = ("FUNCTION", "STATUS", "LANGUAGE", "GPU", "SCOPE", "CREATED")
AGENT_COLUMNS = ("AGENT", "POOL", "STATE", "SANDBOX", "RUNNING", "SLOTS", "GPUS", "SEEN")

GPU_COLUMNS = ("GPU", "NAME", "MEMORY", "CAPABILITY", "STATE", "EXECUTION", "AGENT")
_REASON = "REASON"


def execution_row(execution: dict[str, Any]) -> tuple[str, ...]:
    """A row for EXECUTION_COLUMNS."""
    started = execution.get("started_at")
    return (
        str(execution.get("id")),
        status_of(execution),
        exit_of(execution),
        local(started or execution.get("created_at")),
        elapsed(started, execution.get("finished_at")),
        str(execution.get("function") or ""),
    )


def function_row(function: dict[str, Any]) -> tuple[str, ...]:
    """A row for FUNCTION_COLUMNS."""
    return (
        str(function.get("id")),
        str(function.get("status")),
        str(function.get("language")),
        "yes" if function.get("gpu_capable") else "no",
        str(function.get("scope")),
        local(function.get("created_at")),
    )


def show_agents(out: Output, agents: list[dict[str, Any]]) -> None:
    """The table of agents."""
    _show_with_reasons(out, AGENT_COLUMNS, [(agent_row(a), _agent_reason(a)) for a in agents])


def show_gpus(out: Output, gpus: list[dict[str, Any]]) -> None:
    """The table of GPUs."""
    reasons = [(gpu_row(gpu), str(gpu.get("reason") or "")) for gpu in gpus]
    _show_with_reasons(out, GPU_COLUMNS, reasons)


def _show_with_reasons(
    out: Output, columns: tuple[str, ...], rows: list[tuple[tuple[str, ...], str]]
) -> None:
    """The column of reasons is there only if something has one."""
    if any(reason for _, reason in rows):
        out.rows((*columns, _REASON), [(*row, reason) for row, reason in rows])
    else:
        out.rows(columns, [row for row, _ in rows])


def _agent_reason(agent: dict[str, Any]) -> str:
    reasons = [str(gpu["reason"]) for gpu in agent.get("gpus") or () if gpu.get("reason")]
    return "; ".join(dict.fromkeys(reasons))


def agent_row(agent: dict[str, Any]) -> tuple[str, ...]:
    """A row for AGENT_COLUMNS."""
    gpus = agent.get("gpus") or []
    free = sum(1 for gpu in gpus if gpu.get("state") == "free")
    return (
        str(agent.get("id")),
        str(agent.get("pool")),
        str(agent.get("state")),
        str(agent.get("sandbox") or ""),
        str(len(agent.get("running") or ())),
        str(agent.get("slots", "")),
        f"{free} of {len(gpus)} free" if gpus else "none",
        local(agent.get("seen_at")),
    )


def gpu_row(gpu: dict[str, Any]) -> tuple[str, ...]:
    """A row for GPU_COLUMNS."""
    return (
        str(gpu.get("uuid")),
        str(gpu.get("name") or ""),
        size_of(gpu.get("memory")),
        str(gpu.get("compute_capability") or ""),
        str(gpu.get("state")),
        str(gpu.get("execution") or ""),
        str(gpu.get("agent") or ""),
    )


def status_of(execution: dict[str, Any]) -> str:
    """The outcome once there is one, else the status."""
    return str(execution.get("outcome") or execution.get("status"))


def exit_of(execution: dict[str, Any]) -> str:
    """Exit code, or the signal that ended it."""
    if execution.get("signal") is not None:
        return f"signal {execution['signal']}"
    return "" if execution.get("exit_code") is None else str(execution["exit_code"])


def size_of(number: Any) -> str:
    """Bytes as people write them."""
    if not isinstance(number, int | float):
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(number) < 1024:
            return f"{number:g} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def show_execution(out: Output, execution: dict[str, Any]) -> None:
    """Fields, attempts and usage of one execution."""
    limits = execution.get("limits") or {}
    out.fields(
        {
            "ID": str(execution.get("id")),
            "Function": str(execution.get("function") or ""),
            "Owner": str(execution.get("owner") or ""),
            "Pool": str(execution.get("pool") or ""),
            "Status": str(execution.get("status")),
            "Outcome": str(execution.get("outcome") or ""),
            "Reason": str(execution.get("reason") or ""),
            "Exit": exit_of(execution),
            "Created": local(execution.get("created_at")),
            "Started": local(execution.get("started_at")),
            "Finished": local(execution.get("finished_at")),
            "Elapsed": elapsed(execution.get("started_at"), execution.get("finished_at")),
            "Limits": _limits(limits),
            "GPU": _gpu(execution.get("gpu")),
            "Input": size_of((execution.get("input") or {}).get("bytes")),
            "Stdout": _stream(execution, "stdout"),
            "Stderr": _stream(execution, "stderr"),
        }
    )
    attempts = execution.get("attempts") or []
    if attempts:
        out.line("\nAttempts")
        out.rows(
            ("ATTEMPT", "STATUS", "AGENT", "GPUS", "SCHEDULED", "STARTED", "ENDED", "REASON"),
            map(_attempt_row, attempts),
        )
    usage = execution.get("usage")
    if usage:
        out.line("\nUsage")
        out.fields(_usage(out, usage))


def _attempt_row(attempt: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(attempt.get("attempt")),
        str(attempt.get("status") or ""),
        str(attempt.get("agent") or ""),
        " ".join(map(str, attempt.get("gpus") or ())),
        local(attempt.get("scheduled_at")),
        local(attempt.get("started_at")),
        local(attempt.get("ended_at")),
        str(attempt.get("reason") or ""),
    )


def _limits(limits: dict[str, Any]) -> str:
    parts = []
    if limits.get("time") is not None:
        parts.append(f"{limits['time']:g} s")
    if limits.get("memory") is not None:
        parts.append(f"{size_of(limits['memory'])} memory")
    if limits.get("cpus") is not None:
        parts.append(f"{limits['cpus']:g} CPUs")
    if limits.get("processes") is not None:
        parts.append(f"{limits['processes']} processes")
    if limits.get("output") is not None:
        parts.append(f"{size_of(limits['output'])} output per stream")
    return ", ".join(parts)


def _gpu(gpu: Any) -> str:
    if not isinstance(gpu, dict):
        return ""
    wishes = [f"{gpu.get('count', 1)}"]
    if gpu.get("memory"):
        wishes.append(f"at least {size_of(gpu['memory'])}")
    if gpu.get("name"):
        wishes.append(str(gpu["name"]))
    if gpu.get("compute_capability"):
        wishes.append(f"compute capability {gpu['compute_capability']} or more")
    return ", ".join(wishes)


def _stream(execution: dict[str, Any], name: str) -> str:
    stream = (execution.get("output") or {}).get(name) or {}
    digest = stream.get("sha256")
    return size_of(stream.get("bytes")) + (f", SHA-256 {digest}" if digest else "")


def _usage(out: Output, usage: dict[str, Any]) -> dict[str, str]:
    from cli.gpu_usage import gpu_usage  # noqa: PLC0415

    return {
        "Wall time": _seconds(usage.get("wall_time")),
        "CPU time": _seconds(usage.get("cpu_time")),
        "Peak memory": size_of(usage.get("peak_memory")),
        "Output": size_of(usage.get("output_bytes")),
        **gpu_usage(out, usage),
    }


def _seconds(number: Any) -> str:
    return duration(float(number)) if isinstance(number, int | float) else ""


def show_function(out: Output, function: dict[str, Any]) -> None:
    """The fields of one function."""
    out.fields(
        {
            "Function": str(function.get("id")),
            "Status": str(function.get("status")),
            "Language": str(function.get("language")),
            "GPU capable": "yes" if function.get("gpu_capable") else "no",
            "GPU": _gpu(function.get("gpu")),
            "Scope": str(function.get("scope")),
            "Handler": str(function.get("handler")),
            "Limits": _limits(function.get("limits") or {}),
            "Build": str(function.get("build_id") or ""),
            "Source": str(function.get("source_sha256") or ""),
            "Artifact": str(function.get("artifact_sha256") or ""),
            "Error": str(function.get("error") or ""),
            "Created": local(function.get("created_at")),
            "Built": local(function.get("built_at")),
        }
    )
