"""Times as everybody writes them: RFC 3339, UTC as `Z`, always with microseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import overload


@overload
def timestamp(moment: datetime) -> str: ...


@overload
def timestamp(moment: None) -> None: ...


def timestamp(moment: datetime | None) -> str | None:
    """The moment in text that sorts as time does; a JSON library alone would leave out zeros."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
