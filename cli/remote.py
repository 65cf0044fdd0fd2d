"""`hermes remote`: this user at a server."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.options import Noun
from cli.problem import Problem, usage
from cli.session import Session, own_username
from cli.store import ClientFile

app = Noun("remote", "Register, log in and out of a server.")

Username = Annotated[str | None, typer.Argument(metavar="USERNAME", help="Asked for if left out.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


@app.verb("register", examples="hermes remote register ana")
def register(
    session: Session, username: Username = None, password_stdin: PasswordStdin = False
) -> None:
    """Create an account and log in. The first account of a server is its admin."""
    from cli.prompts import ask_secret  # noqa: PLC0415

    name = _username(username)
    password = _password(password_stdin)
    while not password_stdin and ask_secret("Password again:", "--password-stdin") != password:
        session.out.note("the passwords differ; type it once more")
        password = _password(password_stdin)
    _log_in(session, "/v1/users", name, password)


@app.verb("login", examples="hermes remote login ana --password-stdin < password.txt")
def login(
    session: Session, username: Username = None, password_stdin: PasswordStdin = False
) -> None:
    """Get a token for this client."""
    _log_in(session, "/v1/tokens", _username(username), _password(password_stdin))


@app.verb("logout")
def logout(session: Session) -> None:
    """Revoke this client's token and forget it."""
    if session.token() is not None:
        try:
            session.client.request("DELETE", "/v1/tokens/current")
        except Problem as problem:
            # A token that the server no longer knows is as good as revoked.
            if problem.status != 401:
                raise
    ClientFile().set_token(session.url, None)
    if session.json:
        session.out.document({"logged_out": True})
    else:
        session.out.line("Logged out")


@app.verb("whoami")
def whoami(session: Session) -> None:
    """Say who you are at this server."""
    user: dict[str, Any] = session.client.get("/v1/users/me").json()
    if session.json:
        session.out.document(user)
    else:
        session.out.line(f"You're {user['username']}")


@app.verb("unregister")
def unregister(
    session: Session,
    password_stdin: PasswordStdin = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete your account for good."""
    from cli.client import encode, json_headers  # noqa: PLC0415
    from cli.prompts import ask  # noqa: PLC0415

    name = own_username(session)
    if not yes and ask(f"Type your username ({name}) to delete your account:", "--yes") != name:
        raise Problem("not done", "that is not your username; nothing was changed", exit_code=1)
    body = encode({"password": _password(password_stdin)})
    session.client.request("DELETE", "/v1/users/me", body=body, headers=json_headers())
    ClientFile().set_token(session.url, None)
    if session.json:
        session.out.document({"deleted": name})
    else:
        session.out.line(f"Deleted {name}")


def _log_in(session: Session, path: str, username: str, password: str) -> None:
    answer = session.anonymous().post(path, {"username": username, "password": password}).json()
    ClientFile().set_token(session.url, str(answer["token"]))
    if session.json:
        session.out.document(answer["user"])
    else:
        session.out.line(f"Logged in as {answer['user']['username']}")


def _username(given: str | None) -> str:
    from cli.prompts import ask  # noqa: PLC0415

    name = given or ask("Username:", "USERNAME")
    if not name:
        raise usage("a username is needed")
    return name


def _password(from_stdin: bool) -> str:
    from cli.prompts import ask_secret, read_secret_line  # noqa: PLC0415

    if from_stdin:
        return read_secret_line()
    return ask_secret("Password:", "--password-stdin")
