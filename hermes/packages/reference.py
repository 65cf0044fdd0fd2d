"""How users name functions: `OWNER/NAME[:VERSION]`, and which version is newer."""

from __future__ import annotations

import re

import msgspec

from hermes.errors import InvalidRequest
from hermes.packages.names import shown

OWNER = re.compile(r"[a-z0-9][a-z0-9_-]{0,38}\Z")
NAME = re.compile(r"[a-z0-9_][a-z0-9_-]{0,63}\Z")
VERSION = re.compile(r"(0|[1-9][0-9]{0,8})(\.(0|[1-9][0-9]{0,8})){2}\Z")

_MAX_REFERENCE = 39 + 1 + 64 + 1 + 29


class InvalidReference(InvalidRequest):
    """Not the name of a function"""


class FunctionRef(msgspec.Struct, frozen=True, order=False):
    """A function, or with `version` None the newest built version of it."""

    owner: str
    name: str
    version: str | None = None

    @classmethod
    def parse(cls, text: str) -> FunctionRef:
        """Read `OWNER/NAME[:VERSION]`. Raises InvalidReference saying which part is wrong."""
        owner, slash, rest = text.partition("/")
        name, colon, version = rest.partition(":")
        if not slash or len(text) > _MAX_REFERENCE:
            raise InvalidReference(f"`{shown(text)}` is not OWNER/NAME or OWNER/NAME:VERSION")
        if not OWNER.match(owner):
            raise InvalidReference(f"`{shown(owner)}` is not the name of a user")
        if not NAME.match(name):
            raise InvalidReference(f"`{shown(name)}` is not the name of a function")
        if colon and not VERSION.match(version):
            raise InvalidReference(f"`{shown(version)}` is not a version such as 1.0.0")
        return cls(owner, name, version if colon else None)

    def __str__(self) -> str:
        name = f"{self.owner}/{self.name}"
        return name if self.version is None else f"{name}:{self.version}"


def version_key(version: str) -> tuple[int, int, int]:
    """Orders versions by number: 1.0.10 after 1.0.9. The version must be a valid one."""
    major, minor, patch = version.split(".")
    return int(major), int(minor), int(patch)
