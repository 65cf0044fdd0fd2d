"""Which server to speak to, and whether a secret may travel there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from cli.problem import Problem, usage
from cli.store import ClientFile

DEFAULT_URL = "http://127.0.0.1:9090"


def check_url(text: str, source: str) -> str:
    """`text` without its trailing slash, if it is a server's URL; else a usage problem."""
    url = text.strip().rstrip("/")
    parts = _parts(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise usage(f"{source} {text!r} is no http(s) URL; write one such as {DEFAULT_URL}")
    if parts.username is not None or parts.query or parts.fragment:
        raise usage(f"{source} {text!r} may hold scheme, host, port and path only")
    return url


def resolve_url(flag: str | None) -> str:
    """Flag, then HERMES_URL, then the client file, then a server of this machine, then default."""
    if flag:
        return check_url(flag, "--url")
    from_environment = os.environ.get("HERMES_URL")
    if from_environment:
        return check_url(from_environment, "HERMES_URL")
    from_file = ClientFile().url()
    if from_file:
        return check_url(from_file, "hermes.url")
    return local_server_url() or DEFAULT_URL


def hermes_home() -> Path:
    """The server's data folder: `$HERMES_HOME`, by default `~/.hermes`."""
    home = os.environ.get("HERMES_HOME")
    return Path(home) if home else Path.home() / ".hermes"


def local_server_url() -> str | None:
    """The URL that a running `hermes up` of this user wrote down."""
    try:
        document = json.loads((hermes_home() / "run" / "status.json").read_bytes())
        return check_url(document["up"]["url"], "status")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, Problem):
        return None


def check_secrecy(url: str) -> None:
    """Refuse to send a token or password in clear over a network."""
    parts = _parts(url)
    if parts is None or parts.scheme == "https" or os.environ.get("HERMES_INSECURE") == "1":
        return
    host = parts.hostname or ""
    if host == "localhost" or host.endswith(".localhost") or host == "::1" or _is_loopback4(host):
        return
    raise usage(
        f"{url} would carry your token or password over the network in clear; "
        "use https://, or set HERMES_INSECURE=1 if that network is yours alone"
    )


def _is_loopback4(host: str) -> bool:
    numbers = host.split(".")
    return len(numbers) == 4 and all(n.isdecimal() for n in numbers) and numbers[0] == "127"


def _parts(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    if any(character.isspace() or ord(character) < 0x21 for character in url):
        return None
    return parts
