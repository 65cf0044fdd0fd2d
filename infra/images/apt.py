"""What the host's apt would install: its sources, its package lists as of its last update.

Hermes names no mirror. Whatever the host trusts for its own distribution is used, by the lists that
its apt has already fetched and verified; so building again gives the same packages until the host's
administrator runs `apt-get update`.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from infra.images.errors import ImageFailed

_FIELDS = ("REPO_URI", "RELEASE", "COMPONENT", "ORIGIN", "FILENAME")
_LISTED = re.compile(r"^Inst (\S+) (?:\[\S+\] )?\((\S+)", re.MULTILINE)
_UPDATE = "run: apt-get update"
_PATIENCE = 120.0


class AptSources(msgspec.Struct, frozen=True):
    """Where the host's apt gets its distribution's packages."""

    #: As in sources.list, without keys: the lists were verified when the host fetched them.
    lines: tuple[str, ...]
    #: The fetched lists, and the signed release files they belong to.
    lists: tuple[Path, ...]
    #: What every run of apt has to be told: how to reach the mirrors from here.
    options: tuple[str, ...]


def host_sources() -> AptSources:
    """The sources of the host's own distribution. Raises ImageFailed if there are none."""
    pattern = "|".join(f"$({field})" for field in _FIELDS)
    found = _apt("apt-get", "indextargets", "--format", pattern, "Created-By: Packages")
    indexes = [line.split("|") for line in found.splitlines()]
    own = [index for index in indexes if index[3].lower() in _distributions()]
    lines: dict[str, None] = {}
    lists: dict[Path, None] = {}
    for uri, release, component, _origin, name in own or indexes:
        path = Path(name)
        if not path.is_file():
            raise ImageFailed(f"apt has no list of the packages at {uri} {release}; {_UPDATE}")
        suite = release if release.endswith("/") else f"{release} {component}"
        lines[f"deb {uri} {suite}"] = None
        lists[path] = None
        lists |= dict.fromkeys(_release_files(path))
    if not lines:
        raise ImageFailed(f"apt knows no packages; {_UPDATE}")
    return AptSources(lines=tuple(lines), lists=tuple(lists), options=_reach())


def planned(packages: Iterable[str], sources: AptSources) -> tuple[str, ...]:
    """The packages and all that they need, as "name=version", sorted. Raises ImageFailed.

    Takes seconds, apt reads all lists for it.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".list") as listed:
        listed.write("\n".join(sources.lines) + "\n")
        listed.flush()
        options = {
            "Dir::Etc::SourceList": listed.name,
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Status": "/dev/null",  # as if nothing were installed
            "Dir::Cache::SrcPkgCache": "",
            "Dir::Cache::PkgCache": "",
            "APT::Install-Recommends": "false",
        }
        told = [f"-o{name}={value}" for name, value in options.items()]
        answer = _apt("apt-get", *told, "--simulate", "install", *packages)
    return tuple(sorted(f"{name}={version}" for name, version in _LISTED.findall(answer)))


def _release_files(index: Path) -> Iterable[Path]:
    # HOST_dists_SUITE_COMPONENT_binary-ARCH_Packages is listed in HOST_dists_SUITE_InRelease.
    prefix = index.name
    while "_" in prefix:
        prefix = prefix.rpartition("_")[0]
        for suffix in ("InRelease", "Release", "Release.gpg"):
            release = index.with_name(f"{prefix}_{suffix}")
            if release.is_file():
                yield release


def _distributions() -> set[str]:
    facts = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
        if "=" in line
    )
    words = f"{facts.get('ID', '')} {facts.get('ID_LIKE', '')}".replace('"', "")
    return set(words.split())


def _reach() -> tuple[str, ...]:
    """The host's settings about proxies and certificates."""
    settings = re.findall(r'^(Acquire::https?::.*) "(.*)";$', _apt("apt-config", "dump"), re.M)
    return tuple(f'{name} "{value}"' for name, value in settings if not name.endswith("::"))


def _apt(*command: str) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise ImageFailed(
            f"{command[0]} is not on this machine; images are made of Debian's or Ubuntu's packages"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise ImageFailed(f"{command[0]} did not answer within {_PATIENCE:.0f} s") from error
    if done.returncode != 0:
        reason = done.stderr.strip()[-500:]
        raise ImageFailed(f"{command[0]} failed: {reason}; perhaps {_UPDATE}")
    return done.stdout
