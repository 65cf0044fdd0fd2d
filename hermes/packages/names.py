"""Which names a package may hold: relative, clean, printable UTF-8, distinct on every system."""

from __future__ import annotations

import unicodedata

MAX_COMPONENT = 255
MAX_PATH = 1024
MAX_DEPTH = 32

_SHOWN = 120


def shown(text: str) -> str:
    """`text` safe to print and to store: control, bidi and undecodable characters escaped."""
    cut = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in cut
    )


def text_problem(text: str) -> str | None:
    """What makes `text` unfit as a name, or None. Names may hold any visible character."""
    if text.isascii() and text.isprintable():
        return None
    for char in text:
        category = unicodedata.category(char)
        if category == "Cs":
            return "is not valid UTF-8"
        if category in ("Cc", "Zl", "Zp"):
            return "holds a control character"
        if category == "Cf":
            return "holds an invisible or text-direction character"
    return None


def path_problem(path: str) -> str | None:
    """What makes `path` unfit as the place of a file, or None if it is relative and clean."""
    if not path:
        return "has no name"
    if path.startswith("/"):
        return "is an absolute path: use one relative to the function's folder"
    components = path.split("/")
    if ".." in components:
        return "leaves the folder with `..`"
    if "" in components or "." in components:
        return "is not a clean path: remove empty and `.` components"
    unfit = text_problem(path)
    if unfit is not None:
        return unfit
    if len(path.encode()) > MAX_PATH:
        return f"is longer than {MAX_PATH} bytes"
    if len(components) > MAX_DEPTH:
        return f"lies deeper than {MAX_DEPTH} folders"
    if any(len(component.encode()) > MAX_COMPONENT for component in components):
        return f"has a component longer than {MAX_COMPONENT} bytes"
    return None


class NameSpace:
    """The names of one tree. Two that some file system would take for one are refused."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}
        self._files: dict[str, str] = {}
        self._listed: set[str] = set()

    def __len__(self) -> int:
        """Files and folders so far, folders that only stand in a longer path included."""
        return len(self._folders) + len(self._files)

    def claim(self, path: str, *, folder: bool) -> str | None:
        """Take `path` for an entry. Returns what is in its way, or None if nothing is."""
        parent = path.rpartition("/")[0]
        if parent and parent != self._folders.get(_folded(parent)):
            problem = self._claim_parents(parent)
            if problem is not None:
                return problem
        key = _folded(path)
        other = self._files.get(key) or self._folders.get(key)
        if other is None:
            (self._folders if folder else self._files)[key] = path
        elif other != path:
            return _collision(other)
        elif folder != (key in self._folders):
            return "is both a file and a folder"
        elif not folder or path in self._listed:
            return "is in the archive twice"
        if folder:
            self._listed.add(path)
        return None

    def _claim_parents(self, parent: str) -> str | None:
        components = parent.split("/")
        for depth in range(1, len(components) + 1):
            prefix = "/".join(components[:depth])
            key = _folded(prefix)
            if key in self._files:
                return f"lies in `{shown(self._files[key])}`, which is a file"
            other = self._folders.setdefault(key, prefix)
            if other != prefix:
                return _collision(other)
        return None


def _folded(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def _collision(other: str) -> str:
    return f"has the same name as `{shown(other)}` where upper and lower case are one"
