"""`hermes toolchain`: the images that functions are built and run in, in this machine's engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Noun
from cli.session import Session

app = Noun("toolchain", "Build and list the images that functions are built and run in.")

Home = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="Data folder; $HERMES_HOME or ~/.hermes."),
]


@app.verb("build", examples="hermes toolchain build\nhermes toolchain build cuda")
def build(
    session: Session,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="cpp or cuda. Default: cpp.")
    ] = None,
    home: Home = None,
) -> None:
    """Build the images of a language from this machine's packages; no registry is needed.

    What is up to date already is left as it is. Needs root and mmdebstrap, and for cuda the
    host's g++.
    """
    from cli.local_images import build_toolchains  # noqa: PLC0415

    build_toolchains(session, names or ["cpp"], home)


@app.verb("list", examples="hermes toolchain list --json")
def list_(session: Session) -> None:
    """List the images that the engine has."""
    from cli.local_images import list_toolchains  # noqa: PLC0415

    list_toolchains(session)
