"""The process that reads one stranger's archive for a server.

`python -m hermes.packages.unpack_worker REQUEST`, the archive on stdin, the answer on stdout. It
holds no secrets and gives up, before it reads a byte, what it does not need; if a parser fails
after all, this process alone fails.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from hermes.errors import FieldProblem
from hermes.packages.archive import UnpackedPackage, unpack, validate
from hermes.packages.archive_limits import ArchiveLimits
from hermes.packages.errors import ArchiveError, ConfigError

_MEMORY = 1024 * 1024 * 1024
_OPEN_FILES = 64
_NOBODY = 65534


class Request(msgspec.Struct, frozen=True):
    """What to read and under which bounds; without `target` it is only checked."""

    target: str | None
    limits: ArchiveLimits
    cpu_seconds: int


class Accepted(msgspec.Struct, frozen=True, tag=True):
    """The archive is good."""

    package: UnpackedPackage


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The archive, or the config in it, is not valid."""

    what: str
    problems: list[FieldProblem]


Answer = Accepted | Refused


def answer(request: Request, source: BinaryIO) -> Answer:
    """Read the archive; what its sender did wrong becomes part of the answer."""
    try:
        if request.target is None:
            return Accepted(validate(source, request.limits))
        return Accepted(unpack(source, Path(request.target), request.limits))
    except ConfigError as error:
        return Refused("config", error.problems)
    except ArchiveError as error:
        return Refused("archive", error.problems)
    except MemoryError:
        return Refused("archive", [FieldProblem("archive", "takes too much memory to read")])


def confine(request: Request) -> None:
    """Bound this process for good: CPU time, memory, size of a file, open files, no core."""
    for what, most in (
        (resource.RLIMIT_CPU, request.cpu_seconds),
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_FSIZE, max(request.limits.unpacked, 1)),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (bound, bound))
    if request.target is None and os.geteuid() == 0:
        # Only checking touches no file, so root's rights are of no use.
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def main() -> None:
    """Serve one request."""
    request = msgspec.json.decode(sys.argv[1], type=Request)
    confine(request)
    sys.stdout.buffer.write(msgspec.json.encode(answer(request, sys.stdin.buffer)))


if __name__ == "__main__":
    main()
