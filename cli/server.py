"""`hermes up`, `down`, `status`, `doctor`: Hermes on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Noun
from cli.session import Session

app = Noun("server", "Hermes on this machine.")

Home = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="Data folder; $HERMES_HOME or ~/.hermes."),
]


@app.verb(
    "up",
    examples="""hermes up
    hermes up --detach --home /srv/hermes --port 9090""",
)
def up(
    session: Session,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Leave once it serves; print its URL.")
    ] = False,
    home: Home = None,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="N", min=1, max=65535, help="Port of the API."),
    ] = None,
    sandbox: Annotated[
        str | None,
        typer.Option(
            "--sandbox", metavar="S", help="docker, bubblewrap, or auto: docker where it can be."
        ),
    ] = None,
) -> None:
    """Start Hermes with Kafka, PostgreSQL and all roles; Ctrl-C stops it."""
    from cli.local_server import start  # noqa: PLC0415

    start(session, home, port, sandbox, detach=detach)


@app.verb("down", examples="hermes down --home /srv/hermes")
def down(session: Session, home: Home = None) -> None:
    """Stop Hermes; it is fine if it does not run."""
    from cli.local_server import stop  # noqa: PLC0415

    stop(session, home)


@app.verb("status")
def status(session: Session, home: Home = None) -> int:
    """Show the roles of Hermes; exit with 6 if it does not run."""
    from cli.local_server import show_status  # noqa: PLC0415

    return show_status(session, home)


@app.verb("doctor", examples="hermes doctor --fix cuda")
def doctor(
    session: Session,
    home: Home = None,
    mend: Annotated[
        str | None, typer.Option("--fix", metavar="NAME", help="Install what is missing: cuda.")
    ] = None,
) -> int:
    """Check what this machine needs for Hermes; exit with 1 if something required is missing."""
    from cli.local_server import diagnose  # noqa: PLC0415

    return diagnose(session, home, mend)
