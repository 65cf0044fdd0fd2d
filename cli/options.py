"""Commands and command groups that all know the global options, before and after their name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from cli.output import ReaderLeft
from cli.session import Session

_PANEL = "Global options"


def _show_help(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        typer.echo(ctx.get_help())
        raise typer.Exit(0)


def _show_version(wanted: bool) -> None:
    if wanted:
        from hermes import __version__  # noqa: PLC0415

        typer.echo(f"hermes {__version__}")
        raise typer.Exit(0)


def _global_options(  # noqa: PLR0917 - options, given by name
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="Server to speak to.", rich_help_panel=_PANEL),
    ] = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="Results for programs, as JSON.", rich_help_panel=_PANEL),
    ] = False,
    no_color: Annotated[
        bool, typer.Option("--no-color", help="No colour.", rich_help_panel=_PANEL)
    ] = False,
    token_file: Annotated[
        str | None,
        typer.Option(
            "--token-file", metavar="FILE", help="Read the token there.", rich_help_panel=_PANEL
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--help",
            "-h",
            help="Show this text and leave.",
            is_eager=True,
            callback=_show_help,
            rich_help_panel=_PANEL,
        ),
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Show the version and leave.",
            is_eager=True,
            callback=_show_version,
            rich_help_panel=_PANEL,
        ),
    ] = False,
) -> None:
    """The signature that every command shares; `explain` and `version` act while parsing."""


_GLOBALS = inspect.signature(_global_options, eval_str=True).parameters


def _apply(session: Session, options: dict[str, Any]) -> None:
    """Take global options of one level; a deeper level has the last word."""
    url, token_file = options.pop("url"), options.pop("token_file")
    session.url_flag = session.url_flag if url is None else url
    session.token_file = session.token_file if token_file is None else token_file
    session.out.json |= bool(options.pop("json"))
    session.out.no_color |= bool(options.pop("no_color"))
    del options["explain"], options["version"]


def with_globals(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """Give a command the global options, and the session as its first argument."""

    @wraps(function)
    def command(ctx: typer.Context, **values: Any) -> int | None:
        session: Session = ctx.obj
        _apply(session, values)
        try:
            return function(session, **values)
        except BrokenPipeError:
            # Under another name, for typer would turn it into a failure.
            raise ReaderLeft from None

    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    return _declare(command, own)


def group_callback(summary: str) -> Callable[..., int | None]:
    """What a group does with its own options; alone, it shows its help."""

    def group(ctx: typer.Context, **values: Any) -> None:
        session: Session = ctx.obj
        _apply(session, values)
        if ctx.invoked_subcommand is None:
            typer.echo(ctx.get_help())

    group.__doc__ = summary
    return _declare(group, [])


def _declare(
    command: Callable[..., int | None], own: list[inspect.Parameter]
) -> Callable[..., int | None]:
    """Tell typer the options that a command takes as keywords."""
    context = inspect.Parameter(
        "ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
    )
    keyword = inspect.Parameter.KEYWORD_ONLY
    options = [parameter.replace(kind=keyword) for parameter in (*own, *_GLOBALS.values())]
    parameters = [context, *options]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


class Noun(typer.Typer):
    """A group of commands about one thing: `hermes NOUN COMMAND`."""

    def __init__(self, name: str, summary: str) -> None:
        super().__init__(name=name, add_completion=False, add_help_option=False)
        self.callback(invoke_without_command=True)(group_callback(summary))

    def verb(
        self, name: str, *, examples: str = ""
    ) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
        """Register a command; its docstring is its help, `examples` a line each."""

        def register(function: Callable[..., int | None]) -> Callable[..., int | None]:
            self.command(
                name,
                help=_paragraphs(function.__doc__ or ""),
                epilog=_example_block(examples),
                add_help_option=False,
            )(with_globals(function))
            return function

        return register


def _paragraphs(text: str) -> str:
    """Running text without the line breaks of the source; a terminal has its own width."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _example_block(examples: str) -> str | None:
    """Lines under the heading Examples, kept as they are."""
    lines = [line.strip() for line in examples.strip().splitlines()]
    return "\n\n".join(["Examples:", *lines]) if lines else None
