"""From how a sandbox ended to what is said of the execution."""

from __future__ import annotations

from hermes.domain.execution import ExecutionState
from infra.sandbox.port import SandboxExit


def outcome_of(
    execution: ExecutionState, ended: SandboxExit, limited: str | None
) -> tuple[str, str | None]:
    """Outcome and reason; `limited` names the stream that was longer than allowed, if one was."""
    limits = execution.limits
    if limited is not None:
        return "output_limit", f"{limited} is longer than {limits.output} bytes"
    if ended.killed == "cancelled":
        return "cancelled", None
    if ended.timed_out:
        return "timed_out", f"it ran longer than {limits.time:g} s"
    if ended.oom:
        return "out_of_memory", f"it used more than {limits.memory} bytes of memory"
    if ended.exit_code == 0:
        return "succeeded", None
    if ended.processes_limited:
        return "failed", f"it reached its limit of {limits.processes} processes"
    if execution.kind == "build":
        return "failed", f"make failed with exit code {ended.exit_code}"
    return "failed", None
