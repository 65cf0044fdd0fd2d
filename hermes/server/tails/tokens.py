"""Resume tokens: a place in an execution's order, sealed so that only our own are taken."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct

from hermes.errors import InvalidCursor
from hermes.server.tails.items import Place

_PLACE = struct.Struct(">QIqB")
_SEAL_BYTES = 9


class ResumeTokens:
    """Writes and reads tokens under a secret of the server; each fits one execution only."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def write(self, execution_id: str, place: Place) -> str:
        """The token of the item at `place`: URL-safe ASCII."""
        body = _PLACE.pack(place.event, place.attempt, place.seq, place.rank)
        sealed = body + self._seal(execution_id, body)
        return base64.urlsafe_b64encode(sealed).decode()

    def read(self, execution_id: str, token: str) -> Place:
        """The place that a token names. Raises InvalidCursor for any that we did not write."""
        try:
            sealed = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeError, ValueError):
            raise InvalidCursor from None
        body, seal = sealed[: _PLACE.size], sealed[_PLACE.size :]
        if len(sealed) != _PLACE.size + _SEAL_BYTES or not hmac.compare_digest(
            seal, self._seal(execution_id, body)
        ):
            raise InvalidCursor
        # The last character of base64 may carry bits that mean nothing; only one spelling is ours.
        if base64.urlsafe_b64encode(sealed).decode() != token:
            raise InvalidCursor
        return Place(*_PLACE.unpack(body))

    def _seal(self, execution_id: str, body: bytes) -> bytes:
        message = execution_id.encode() + body
        return hashlib.blake2s(message, key=self._secret, digest_size=_SEAL_BYTES).digest()
