"""`hermes execution`: look at executions; their streams are in `execution_streams`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.options import Noun
from cli.problem import Problem, usage
from cli.refs import parse_execution, parse_ref, path
from cli.session import Session

app = Noun("execution", "Follow, inspect, replay and cancel executions.")

Id = Annotated[
    str, typer.Argument(metavar="ID", help="Its id, the start of its id, or @last (your newest).")
]
Raw = Annotated[bool, typer.Option("--raw", help="Do not escape control characters on a terminal.")]


def resolve(session: Session, text: str) -> str:
    """The id to ask the server for: `@last` becomes the newest one, prefixes stay prefixes."""
    execution_id = parse_execution(text)
    if execution_id != "@last":
        return execution_id
    newest = next(session.client.pages("/v1/executions", limit=1), None)
    if newest is None:
        raise Problem("not found", "you have no executions yet", code="not_found", status=404)
    return str(newest["id"])


@app.verb(
    "list",
    examples="""hermes execution list --status running
    hermes execution list --function ana/reduce-sum --since 2h --all --json""",
)
def list_executions(  # noqa: PLR0917 - options, given by name
    session: Session,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="S", help="Status or outcome; may be given repeatedly."),
    ] = None,
    function: Annotated[
        str | None, typer.Option("--function", metavar="REF", help="OWNER/NAME[:VERSION].")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="T", help="RFC 3339, or an age such as 2h.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="T", help="RFC 3339, or an age such as 2h.")
    ] = None,
    builds: Annotated[bool, typer.Option("--builds", help="List builds instead.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most N; 50 by default.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
) -> None:
    """List your executions, the newest first."""
    from cli.shapes import EXECUTION_COLUMNS, execution_row  # noqa: PLC0415
    from cli.when import parse_when  # noqa: PLC0415

    query = [("status", value) for value in status or ()]
    if function is not None:
        query.append(("function", str(parse_ref(function))))
    if since is not None:
        query.append(("since", parse_when(since, "--since")))
    if until is not None:
        query.append(("until", parse_when(until, "--until")))
    if builds:
        query.append(("kind", "build"))
    size = page_limit(limit, everything)
    executions = list(session.client.pages("/v1/executions", query, size))
    if session.json:
        session.out.document(executions)
    else:
        session.out.rows(EXECUTION_COLUMNS, map(execution_row, executions))


def page_limit(limit: int | None, everything: bool) -> int | None:
    """How many items a list shows; None = all."""
    if everything and limit is not None:
        raise usage("--limit and --all exclude each other")
    return None if everything else (limit or 50)


@app.verb("inspect", examples="hermes execution inspect @last")
def inspect(session: Session, execution_id: Id) -> None:
    """Show everything that is known about one execution."""
    from cli.shapes import show_execution  # noqa: PLC0415

    execution = session.client.get(path("executions", resolve(session, execution_id))).json()
    if session.json:
        session.out.document(execution)
    else:
        show_execution(session.out, execution)


@app.verb("cancel", examples="hermes execution cancel 0197f")
def cancel(session: Session, execution_id: Id) -> None:
    """Ask for an execution to be stopped."""
    target = path("executions", resolve(session, execution_id), "cancel")
    execution: dict[str, Any] = session.client.request("POST", target).json()
    if session.json:
        session.out.document(execution)
    else:
        session.out.line(f"Cancelling {execution['id']}")


@app.verb("tail", examples="hermes execution tail @last --since 100")
def tail(
    session: Session,
    execution_id: Id,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Stay until it ends, or leave at once.")
    ] = True,
    since: Annotated[
        int | None, typer.Option("--since", metavar="SEQ", min=0, help="From this output on.")
    ] = None,
    raw: Raw = False,
) -> None:
    """Show an execution's output from its start, then live until it ends."""
    from cli.execution_streams import show_tail  # noqa: PLC0415

    query = [("follow", "true" if follow else "false")]
    if since is not None:
        query.append(("since", str(since)))
    target = path("executions", resolve(session, execution_id), "tail")
    show_tail(session, target, query, raw=raw)


@app.verb("replay", examples="hermes execution replay @last --speed 10")
def replay(
    session: Session,
    execution_id: Id,
    speed: Annotated[
        str, typer.Option("--speed", metavar="X|max", help="Times as fast; max = no pauses.")
    ] = "1",
    raw: Raw = False,
) -> None:
    """Show an execution's output again, with the pauses it had."""
    from cli.execution_streams import parse_speed, show_replay  # noqa: PLC0415

    factor = parse_speed(speed)
    target = path("executions", resolve(session, execution_id), "tail")
    show_replay(session, target, factor, raw=raw)


@app.verb(
    "output",
    examples="""hermes execution output @last > result.txt
    hermes execution output @last --stderr -o errors.txt""",
)
def output(
    session: Session,
    execution_id: Id,
    stderr: Annotated[bool, typer.Option("--stderr", help="The other stream.")] = False,
    file: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="Write it there.")
    ] = None,
    raw: Raw = False,
) -> None:
    """Print one stream's bytes as far as they are there."""
    from cli.execution_output import show_output  # noqa: PLC0415

    stream = "stderr" if stderr else "stdout"
    target = path("executions", resolve(session, execution_id), "output", stream)
    show_output(session, target, stream, file, raw=raw)


@app.verb("events", examples="hermes execution events @last --json")
def events(
    session: Session,
    execution_id: Id,
    follow: Annotated[bool, typer.Option("--follow", help="Stay until it ends.")] = False,
) -> None:
    """Show the facts that the log holds about an execution, superseded ones too."""
    from cli.execution_streams import show_events  # noqa: PLC0415

    show_events(session, resolve(session, execution_id), follow=follow)
