"""`hermes function`: write, build, deploy and look at functions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.execution import page_limit
from cli.options import Noun
from cli.problem import Problem
from cli.refs import parse_ref, path
from cli.run import EXAMPLES, run
from cli.session import Session, own_username

app = Noun("function", "Write, build, deploy and look at functions.")

Folder = Annotated[
    Path, typer.Argument(metavar="PATH", help="The function's folder.", show_default=False)
]

app.verb("run", examples=EXAMPLES)(run)


@app.verb(
    "init",
    examples="""hermes function init --name reduce-sum --language cpp
    hermes function init ~/functions --name gpu-pi --language cuda --gpu""",
)
def init(  # noqa: PLR0917 - options, given by name
    session: Session,
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="PATH", help="Where the new folder goes; here if left out."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="N", help="Its name.")] = None,
    language: Annotated[
        str | None, typer.Option("--language", metavar="L", help="cpp or cuda.")
    ] = None,
    gpu: Annotated[
        bool | None, typer.Option("--gpu/--no-gpu", help="Whether it can use a GPU.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Take the defaults, do not ask.")
    ] = False,
) -> None:
    """Write a function that builds and runs, to start from. Its folder is PATH/NAME.

    With --yes and no --name, PATH itself is the new folder and gives the function its name.
    """
    from cli.function_init import write_function  # noqa: PLC0415

    write_function(session, folder, name, language, gpu, yes=yes)


@app.verb("build", examples="hermes function build reduce-sum")
def build(session: Session, folder: Folder = Path()) -> int:
    """Build a folder on the server and show the log; nothing is registered."""
    from cli.function_build import build_folder  # noqa: PLC0415

    return build_folder(session, folder)


@app.verb("deploy", examples="hermes function deploy reduce-sum")
def deploy(
    session: Session,
    folder: Folder = Path(),
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Leave once the server has it.")
    ] = False,
) -> int:
    """Register a folder as a new version, follow its build, print its name."""
    from cli.function_build import deploy_folder  # noqa: PLC0415

    return deploy_folder(session, folder, wait=not no_wait)


@app.verb("list", examples="hermes function list --owner ana")
def list_functions(
    session: Session,
    owner: Annotated[
        str | None, typer.Option("--owner", metavar="O", help="Of this user only.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most N; 50 by default.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
) -> None:
    """List the functions you may run, the newest first."""
    from cli.shapes import FUNCTION_COLUMNS, function_row  # noqa: PLC0415

    query = [("owner", owner)] if owner is not None else []
    functions = list(session.client.pages("/v1/functions", query, page_limit(limit, everything)))
    if session.json:
        session.out.document(functions)
    else:
        session.out.rows(FUNCTION_COLUMNS, map(function_row, functions))


@app.verb("inspect", examples="hermes function inspect ana/reduce-sum:1.0.0")
def inspect(
    session: Session,
    ref: Annotated[str, typer.Argument(metavar="REF", help="OWNER/NAME[:VERSION].")],
) -> None:
    """Show one version of a function; without a version the highest built one."""
    from cli.shapes import show_function  # noqa: PLC0415

    wanted = parse_ref(ref)
    if wanted.version is None:
        versions = list(session.client.pages(path("functions", wanted.owner, wanted.name)))
        function = _newest(versions)
        if function is None:
            raise Problem("not found", f"no function {wanted}", code="not_found", status=404)
    else:
        target = path("functions", wanted.owner, wanted.name, wanted.version)
        function = session.client.get(target).json()
    if session.json:
        session.out.document(function)
    else:
        show_function(session.out, function)


def _newest(versions: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The highest built version; where none is built, the highest."""
    from hermes.packages.reference import version_key  # noqa: PLC0415

    return max(
        versions,
        key=lambda one: (one["status"] == "built", version_key(str(one["version"]))),
        default=None,
    )


@app.verb(
    "delete",
    examples="""hermes function delete reduce-sum:1.0.0
    hermes function delete reduce-sum --yes""",
)
def delete(
    session: Session,
    name: Annotated[
        str, typer.Argument(metavar="NAME[:VERSION]", help="Without a version, all versions.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete your function's versions. What ran stays in the history."""
    from cli.prompts import confirm  # noqa: PLC0415
    from cli.shapes import FUNCTION_COLUMNS, function_row  # noqa: PLC0415

    ref = parse_ref(name if "/" in name else f"{own_username(session)}/{name}")
    if not yes:
        confirm(f"Delete {ref}{'' if ref.version else ' in all versions'}?")
    version = [ref.version] if ref.version else []
    target = path("functions", ref.owner, ref.name, *version)
    deleted = session.client.request("DELETE", target).json()["items"]
    if session.json:
        session.out.document(deleted)
    else:
        session.out.rows(FUNCTION_COLUMNS, map(function_row, deleted))
