"""`hermes audit`: what must hold, proved from the log."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import exit_codes
from cli.options import Noun
from cli.session import Session

#: Seconds: the server reads some 30,000 events of the log in one.
_PATIENCE = 900.0

app = Noun("audit", "Prove from the log what must hold.")


@app.verb("gpus", examples="hermes audit gpus --pool default")
def gpus(
    session: Session,
    pool: Annotated[str | None, typer.Option("--pool", metavar="P", help="Of this pool.")] = None,
) -> int:
    """Show who had which GPU for how long; exit with 1 if two ever had one at a time.

    The server reads the log from its start. Times are exact: the sum over users must be the sum
    over GPUs, to the microsecond. For admins.
    """
    from cli.audit_tables import show_gpu_audit  # noqa: PLC0415

    query = [("pool", pool)] if pool is not None else []
    answer = session.client.request("GET", "/v1/audit/gpus", query=query, timeout=_PATIENCE)
    found: dict[str, Any] = answer.json()
    if session.json:
        session.out.document(found)
    else:
        show_gpu_audit(session.out, found)
    return exit_codes.OK if found.get("proved") is True else exit_codes.FAILURE
