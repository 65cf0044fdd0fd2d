"""`.hermesignore`: which files of a folder stay at home, in gitignore's syntax."""

from __future__ import annotations

from collections.abc import Callable

from hermes.errors import FieldProblem
from hermes.packages.errors import FolderError

IGNORE_NAME = ".hermesignore"
MAX_IGNORE_BYTES = 256 * 1024

#: Says of a path relative to the folder (a folder's ends in `/`) whether it stays out.
Ignored = Callable[[str], bool]


def read_ignore(data: bytes | None) -> Ignored:
    """The rules of a `.hermesignore`, or of none. Raises FolderError if it cannot be read.

    As in git, nothing inside an ignored folder can be taken back in.
    """
    if data is None:
        return _ignored_always
    if len(data) > MAX_IGNORE_BYTES:
        raise FolderError([FieldProblem(IGNORE_NAME, f"is larger than {MAX_IGNORE_BYTES} bytes")])
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise FolderError([FieldProblem(IGNORE_NAME, "is not UTF-8")]) from None
    # Most folders have no ignore file, and the CLI should start fast for them.
    from pathspec import GitIgnoreSpec  # noqa: PLC0415

    try:
        rules = GitIgnoreSpec.from_lines(lines)
    except (ValueError, RecursionError) as error:
        raise FolderError([FieldProblem(IGNORE_NAME, f"has a bad pattern: {error}")]) from None
    return lambda path: _ignored_always(path) or rules.match_file(path)


def _ignored_always(path: str) -> bool:
    return path.rstrip("/").rpartition("/")[2] == ".git"
