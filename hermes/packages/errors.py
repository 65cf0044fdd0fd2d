"""What can be wrong with a package. Every problem found is listed, one line each."""

from __future__ import annotations

from collections.abc import Sequence

from hermes.errors import FieldProblem, InvalidArchive, InvalidConfig, InvalidRequest


class ConfigError(InvalidConfig):
    """hermes.config.json is not valid"""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__(_summary(problems), tuple(problems))

    @property
    def problems(self) -> list[FieldProblem]:
        """Every problem, in the order of the config's fields."""
        return list(self.errors)


class ArchiveError(InvalidArchive):
    """The archive is not valid"""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__(_summary(problems), tuple(problems))

    @property
    def problems(self) -> list[FieldProblem]:
        """The problems found up to where reading stopped; `field` is the entry, or `archive`."""
        return list(self.errors)


class FolderError(InvalidRequest):
    """The folder cannot be packed"""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__(_summary(problems), tuple(problems))

    @property
    def problems(self) -> list[FieldProblem]:
        """The problems found; `field` is the path inside the folder."""
        return list(self.errors)


def broken_archive(message: str) -> ArchiveError:
    """An archive that cannot be read any further."""
    return ArchiveError([FieldProblem("archive", message)])


def _summary(problems: Sequence[FieldProblem]) -> str:
    if len(problems) == 1:
        return f"{problems[0].field}: {problems[0].message}"
    return f"{len(problems)} problems"
