"""`hermes config`, `hermes version`, `hermes completion`: the client itself."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from cli.address import check_url, resolve_url
from cli.options import Noun
from cli.problem import Problem, usage
from cli.session import Session
from cli.store import ClientFile

app = Noun("config", "The client itself.")

_URL = "hermes.url"


@app.verb(
    "config",
    examples="""hermes config
    hermes config hermes.url https://hermes.example.org""",
)
def config(
    session: Session,
    name: Annotated[str | None, typer.Argument(help="`hermes.url`, the server.")] = None,
    value: Annotated[str | None, typer.Argument(help="What to set it to.")] = None,
) -> None:
    """Show or set what this client keeps. Tokens are never shown."""
    if name is not None and name != _URL:
        raise usage(f"there is no setting {name!r}; there is {_URL}")
    if value is None:
        url = resolve_url(session.url_flag)
    else:
        url = check_url(value, _URL)
        ClientFile().set_url(url)
        if os.environ.get("HERMES_URL"):
            session.out.note("HERMES_URL is set and has precedence over this setting")
    if session.json:
        session.out.document({_URL: url})
    else:
        session.out.line(f"{_URL}: {url}")


@app.verb("version")
def version(session: Session) -> None:
    """Show the versions of this client and of the server (a dash if it cannot be reached)."""
    from hermes import __version__  # noqa: PLC0415

    server: str | None = None
    try:
        document = session.anonymous().request("GET", "/v1/openapi.json").json()
        server = str(document["info"]["version"])
    except (Problem, KeyError, TypeError):
        server = None
    if session.json:
        session.out.document({"client": __version__, "server": server})
    else:
        session.out.line(f"client: {__version__}")
        session.out.line(f"server: {server or '-'}")


@app.verb(
    "completion",
    examples="""hermes completion bash > ~/.local/share/bash-completion/completions/hermes
    hermes completion zsh > ~/.zfunc/_hermes
    hermes completion fish > ~/.config/fish/completions/hermes.fish""",
)
def completion(
    session: Session,
    shell: Annotated[str, typer.Argument(help="bash, zsh or fish.")],
) -> None:
    """Print a script that completes `hermes` in your shell."""
    from typer._completion_shared import get_completion_script  # noqa: PLC0415

    if shell not in ("bash", "zsh", "fish"):
        raise usage(f"no completion for {shell!r}; there is bash, zsh and fish")
    script = get_completion_script(prog_name="hermes", complete_var="_HERMES_COMPLETE", shell=shell)
    if session.json:
        session.out.document({"shell": shell, "script": script})
    else:
        session.out.stdout.write(script + "\n")
