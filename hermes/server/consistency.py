"""Reads see one's own writes: what position of the log each user has written or was shown."""

from __future__ import annotations

import re
from collections import OrderedDict

from hermes.domain.resources import Position
from hermes.errors import InvalidRequest

_MOST_USERS = 10_000
_MOST_POSITIONS = 16
_POSITION = re.compile(r"([a-zA-Z0-9._-]{1,249})/([0-9]{1,9})/([0-9]{1,18})\Z")


class SessionPositions:
    """The newest position per user and partition, in memory: a convenience, not a promise."""

    def __init__(self) -> None:
        self._users: OrderedDict[str, dict[tuple[str, int], Position]] = OrderedDict()

    def saw(self, user_id: str, position: Position) -> None:
        """The user has written this event, or was shown it."""
        known = self._users.pop(user_id, {})
        key = (position.topic, position.partition)
        if key not in known or known[key].offset < position.offset:
            known[key] = position
        self._users[user_id] = known
        if len(self._users) > _MOST_USERS:
            self._users.popitem(last=False)

    def of(self, user_id: str) -> tuple[Position, ...]:
        """What this user's reads should have passed."""
        return tuple(self._users.get(user_id, {}).values())


def parse_positions(header: str) -> tuple[Position, ...]:
    """`topic/partition/offset`, several separated by commas. Raises InvalidRequest."""
    found: list[Position] = []
    for part in header.split(","):
        match = _POSITION.match(part.strip())
        if match is None or len(found) >= _MOST_POSITIONS:
            raise InvalidRequest(
                f"Hermes-After takes at most {_MOST_POSITIONS} positions topic/partition/offset"
            )
        found.append(Position(match[1], int(match[2]), int(match[3])))
    return tuple(found)
