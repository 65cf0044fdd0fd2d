"""How an audit looks to people."""

from __future__ import annotations

from typing import Any

from cli.output import Output
from cli.when import local

_POSITION = ("topic", "partition", "offset")


def show_gpu_audit(out: Output, found: dict[str, Any]) -> None:
    """What was found wrong, the sums, and the leases that are open; the verdict is last."""
    findings = found.get("findings") or []
    if findings:
        out.line("Findings")
        out.rows(("KIND", "POOL", "GPU", "POSITION", "MESSAGE"), map(_finding, findings))
        out.line("")
    for title, key, name in (
        ("Pools", "pools", "pool"),
        ("GPUs", "devices", "gpu"),
        ("Users", "users", "user"),
        ("Functions", "functions", "function"),
    ):
        shares = found.get(key) or []
        if shares:
            out.line(title)
            out.rows((name.upper(), "LEASES", "TIME"), [_share(share, name) for share in shares])
            out.line("")
    leases = found.get("open_leases") or []
    if leases:
        out.line("Leases that have not ended")
        out.rows(("GPU", "EXECUTION", "ATTEMPT", "USER", "AGENT", "SINCE"), map(_lease, leases))
        out.line("")
    out.line(_verdict(found))


def _verdict(found: dict[str, Any]) -> str:
    users, gpus = exact(found.get("user_time_us")), exact(found.get("device_time_us"))
    sums = f"users had GPUs for {users}, GPUs were had for {gpus}"
    if found.get("proved") is True:
        return f"Proved: no two leases of a GPU overlap; {sums}."
    return f"NOT proved ({found.get('failures')} failures); {sums}."


def exact(microseconds: Any) -> str:
    """Whole microseconds as seconds, with nothing rounded."""
    if not isinstance(microseconds, int):
        return "?"
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{seconds}.{rest:06d} s"


def _share(share: dict[str, Any], name: str) -> tuple[str, ...]:
    return str(share.get(name) or ""), str(share.get("leases")), exact(share.get("time_us"))


def _finding(finding: dict[str, Any]) -> tuple[str, ...]:
    position = finding.get("position") or {}
    return (
        str(finding.get("kind")),
        str(finding.get("pool") or ""),
        str(finding.get("gpu") or ""),
        "/".join(str(position.get(part)) for part in _POSITION) if position else "",
        str(finding.get("message") or ""),
    )


def _lease(lease: dict[str, Any]) -> tuple[str, ...]:
    attempt = str(lease.get("attempt")) + (" (lost)" if lease.get("lost") else "")
    return (
        str(lease.get("gpu")),
        str(lease.get("execution")),
        attempt,
        str(lease.get("user") or ""),
        str(lease.get("agent") or ""),
        local(lease.get("since")),
    )
