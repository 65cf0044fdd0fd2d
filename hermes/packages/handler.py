"""Checks, after a build, that what the config calls the handler is a program."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hermes.errors import FieldProblem
from hermes.packages.descriptors import open_below, open_root
from hermes.packages.fields import clean_path
from hermes.packages.names import path_problem, shown


def check_handler(folder: Path, handler: str) -> FieldProblem | None:
    """What is wrong with the handler that a build has left in `folder`, or None.

    It must be a regular, executable file and start as ELF or with `#!`. No link on its path is
    followed: the build could have pointed it anywhere on the host. Call it when nothing of the
    build runs any more.
    """
    path = clean_path(handler)
    problem = path_problem(path) or _problem(folder, path)
    return None if problem is None else FieldProblem("handler", f"`{shown(handler)}` {problem}")


def _problem(folder: Path, path: str) -> str | None:
    root = open_root(folder)
    try:
        fd = open_below(root, path)
    except FileNotFoundError:
        return "is not there after make: does the Makefile build it under this name?"
    except OSError:
        return "is not a regular file, or lies behind a link"
    finally:
        os.close(root)
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            return "is not a regular file"
        if not mode & 0o111:
            return "is not executable: add `chmod +x` to the Makefile"
        start = os.read(fd, 4)
    finally:
        os.close(fd)
    if start != b"\x7fELF" and not start.startswith(b"#!"):
        return "is not a program: it is neither ELF nor a script with `#!`"
    return None
