"""What the client keeps between commands: its server, a token per server, recent positions.

Two files under `$XDG_CONFIG_HOME/hermes`, both 0600 and replaced whole: `config.json` for what the
user set, `positions.json` for read-your-writes (it may be lost without harm).
"""

from __future__ import annotations

import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from cli.problem import Problem

#: Views that have not caught up with a write after this long are a fault to see, not to wait for.
POSITION_LIFETIME = 60.0


def folder() -> Path:
    """`$XDG_CONFIG_HOME/hermes`, by default `~/.config/hermes`."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "hermes"


class ClientFile:
    """`config.json`: the server's URL and a token per URL."""

    def __init__(self, directory: Path | None = None) -> None:
        self.path = (directory or folder()) / "config.json"

    def url(self) -> str | None:
        """The server the user chose, if any."""
        value = self._read().get("url")
        return value if isinstance(value, str) and value else None

    def set_url(self, url: str) -> None:
        """Make `url` the server of the commands to come."""
        self._write({**self._read(), "url": url})

    def token(self, url: str) -> str | None:
        """The token that `url` gave to this client."""
        value = self._tokens().get(url)
        return value if isinstance(value, str) else None

    def set_token(self, url: str, token: str | None) -> None:
        """Keep a token for `url`, or forget it."""
        tokens = {key: value for key, value in self._tokens().items() if key != url}
        if token is not None:
            tokens[url] = token
        self._write({**self._read(), "tokens": tokens})

    def _tokens(self) -> dict[str, Any]:
        tokens = self._read().get("tokens")
        return tokens if isinstance(tokens, dict) else {}

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Problem("cannot read the client file", f"{self.path}: {error.strerror}") from None
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise Problem(
                "the client file is damaged",
                f"{self.path} is not a JSON object; mend or remove it, then log in again",
            )
        return document

    def _write(self, document: dict[str, Any]) -> None:
        try:
            replace(self.path, document, durable=True)
        except OSError as error:
            detail = f"{self.path}: {error.strerror}"
            raise Problem("cannot write the client file", detail) from None


class Positions:
    """`positions.json`: how far this client's own recent writes reach, per server and partition."""

    def __init__(self, directory: Path | None = None) -> None:
        self._path = (directory or folder()) / "positions.json"

    def after(self, url: str) -> str | None:
        """The value of `Hermes-After` for reads from `url`; None when nothing recent is known."""
        known = self._recent().get(url, {})
        return ",".join(f"{place}/{offset}" for place, (offset, _) in known.items()) or None

    def advance(self, url: str, position: str) -> None:
        """Remember `topic/partition/offset` of a write. Never fails: it is a convenience."""
        place, _, offset = position.rpartition("/")
        if place and offset.isdecimal():
            recent = self._recent()
            recent.setdefault(url, {})[place] = (int(offset), time.time())
            self._write(recent)

    def forget(self, url: str) -> None:
        """Drop what is known of `url`: its views do not reach it, or its log was started anew."""
        recent = self._recent()
        if recent.pop(url, None):
            self._write(recent)

    def _recent(self) -> dict[str, dict[str, tuple[int, float]]]:
        """What was written lately; whatever else the file holds does not count."""
        oldest = time.time() - POSITION_LIFETIME
        try:
            document = json.loads(self._path.read_bytes())
            return {
                url: {
                    place: (int(offset), float(at))
                    for place, (offset, at) in places.items()
                    if at > oldest
                }
                for url, places in document.items()
            }
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def _write(self, recent: dict[str, dict[str, tuple[int, float]]]) -> None:
        try:
            replace(self._path, {url: places for url, places in recent.items() if places})
        except OSError:
            return


def replace(path: Path, document: dict[str, Any], *, durable: bool = False) -> None:
    """Write JSON so that a reader sees the old or the new file, and nobody else sees either.

    `durable`: the new one outlives a power cut, for the price of waiting for the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
            file.write("\n")
            file.flush()
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
