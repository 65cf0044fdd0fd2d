"""`hermes agent`: the machines that run executions."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.execution import page_limit
from cli.options import Noun
from cli.session import Session

app = Noun("agent", "Look at the machines that run executions.")


@app.verb("list", examples="hermes agent list --pool default")
def list_agents(
    session: Session,
    pool: Annotated[str | None, typer.Option("--pool", metavar="P", help="Of this pool.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most N; 50 by default.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
) -> None:
    """List agents, with their GPUs and what they run."""
    from cli.shapes import show_agents  # noqa: PLC0415

    query = [("pool", pool)] if pool is not None else []
    size = page_limit(limit, everything)
    agents = list(session.client.pages("/v1/agents", query, size))
    if session.json:
        session.out.document(agents)
    else:
        show_agents(session.out, agents)
