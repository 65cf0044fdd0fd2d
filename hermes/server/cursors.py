"""Cursors of lists that are in memory: a sealed number, so that only our own are taken."""

from __future__ import annotations

import hashlib
import hmac
import re

from hermes.errors import InvalidCursor

_CURSOR = re.compile(r"([0-9]{1,9})-([0-9a-f]{16})\Z")


class OffsetCursors:
    """Writes and reads them under a secret of the server."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def write(self, offset: int) -> str:
        """The cursor of the page that starts at this item."""
        return f"{offset}-{self._seal(offset)}"

    def read(self, cursor: str) -> int:
        """Where the page starts. Raises InvalidCursor."""
        match = _CURSOR.match(cursor)
        if match is None or not hmac.compare_digest(match[2], self._seal(int(match[1]))):
            raise InvalidCursor
        return int(match[1])

    def _seal(self, offset: int) -> str:
        message = f"offset {offset}".encode()
        return hashlib.blake2s(message, key=self._secret, digest_size=8).hexdigest()
