"""`hermes gpu`: the GPUs that executions can have."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.execution import page_limit
from cli.options import Noun
from cli.session import Session

app = Noun("gpu", "Look at the GPUs that executions can have.")


@app.verb("list", examples="hermes gpu list --pool default")
def list_gpus(
    session: Session,
    pool: Annotated[str | None, typer.Option("--pool", metavar="P", help="Of this pool.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most N; 50 by default.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
) -> None:
    """List GPUs, and which execution has which."""
    from cli.shapes import show_gpus  # noqa: PLC0415

    query = [("pool", pool)] if pool is not None else []
    gpus = list(session.client.pages("/v1/gpus", query, page_limit(limit, everything)))
    if session.json:
        session.out.document(gpus)
    else:
        show_gpus(session.out, gpus)
