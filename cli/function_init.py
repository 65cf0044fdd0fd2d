"""`hermes function init`: a folder with a config, a Makefile and a program that works."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from cli.problem import Problem, from_error, usage
from cli.prompts import ask, is_interactive
from cli.session import Session
from hermes.errors import HermesError
from hermes.packages.config import CONFIG_NAME, parse_config

_TEMPLATES = Path(__file__).parent / "templates"
_LANGUAGES = ("cpp", "cuda")


def write_function(
    session: Session,
    parent: Path | None,
    name: str | None,
    language: str | None,
    gpu: bool | None,
    *,
    yes: bool,
) -> None:
    """Create the folder, or nothing at all; asks for what was not given unless `yes`."""
    folder = None
    if name is None and yes and parent is not None:
        folder, name = parent, parent.absolute().name
    name = name or ask("Name:", "--name")
    folder = folder or (parent or Path()) / name
    language = language or ("cpp" if yes else _ask_language())
    if language not in _LANGUAGES:
        raise usage(f"--language {language!r} is not known; there is {' and '.join(_LANGUAGES)}")
    if gpu is None:
        gpu = _default_gpu(language, yes=yes)
    config = {
        "functionName": name,
        "functionVersion": "1.0.0",
        "language": language,
        "gpuCapable": gpu,
        "scope": "public",
        "handler": "./a.out",
    }
    content = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    try:
        parse_config(content.encode("utf-8", "surrogateescape"))
    except HermesError as error:
        raise from_error(error) from None
    _create(folder, _TEMPLATES / language, content)
    _report(session, folder, config)


def _ask_language() -> str:
    return ask("Language (cpp or cuda):", "--language", "cpp")


def _default_gpu(language: str, *, yes: bool) -> bool:
    usual = language == "cuda"
    if yes or not is_interactive():
        return usual
    answer = ask("Can it use a GPU? [y/n]", "--gpu or --no-gpu", "y" if usual else "n")
    return answer.strip().lower().startswith("y")


def _create(folder: Path, template: Path, config: str) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except FileExistsError:
        raise Problem(
            "the folder exists already",
            f"{folder}; choose another --name, or another PATH",
            code="already_exists",
            status=409,
        ) from None
    except OSError as error:
        raise usage(f"cannot create {folder}: {error.strerror}") from None
    try:
        shutil.copytree(template, folder, dirs_exist_ok=True)
        (folder / CONFIG_NAME).write_text(config, encoding="utf-8")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise Problem("cannot write the function", f"{folder}: {error.strerror}") from None


def _report(session: Session, folder: Path, config: dict[str, Any]) -> None:
    if session.json:
        session.out.document({"path": str(folder), "config": config})
        return
    session.out.line(str(folder))
    session.out.note(f"next: hermes function deploy {folder}")
