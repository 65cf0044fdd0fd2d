"""`hermes projection`: the views of the log."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli import exit_codes
from cli.options import Noun
from cli.session import Session

app = Noun("projection", "Look at views of the log, rebuild them.")


@app.verb("status")
def status(session: Session) -> int:
    """Show how far each view has read; exit with 1 if one has stopped."""
    from cli.rebuild import views  # noqa: PLC0415

    found = views(session)
    if session.json:
        session.out.document(found)
    else:
        session.out.rows(("PROJECTION", "STATUS", "LAG", "ERROR"), map(_row, found))
    stopped = any(view.get("status") == "stopped" for view in found)
    return exit_codes.FAILURE if stopped else exit_codes.OK


def _row(view: dict[str, Any]) -> tuple[str, ...]:
    return (
        str(view.get("name")),
        str(view.get("status")),
        str(view.get("lag")),
        str(view.get("error") or ""),
    )


@app.verb("rebuild", examples="hermes projection rebuild executions --yes")
def rebuild(
    session: Session,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One view; all if left out.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> int:
    """Build a view anew from the log, check it against the old one, put it in its place."""
    from cli.prompts import confirm  # noqa: PLC0415
    from cli.rebuild import rebuild_all, views  # noqa: PLC0415

    names = [name] if name is not None else [str(view["name"]) for view in views(session)]
    if not yes:
        confirm(f"Rebuild {', '.join(names)} from the log?")
    return rebuild_all(session, names)
