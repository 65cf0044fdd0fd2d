"""Program output and server text are hostile: what a terminal would obey is shown, not sent."""

from __future__ import annotations

import codecs
import re
from typing import Final

#: Controls but newline and tab; C1; bidi marks, embeddings, overrides and isolates; line and
#: paragraph separators; the byte order mark; tag characters (invisible text).
_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
    "\U000e0001-\U000e007f]"
)


def _visible(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    if code < 0x20 or code == 0x7F:
        return "^" + chr(code ^ 0x40)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def escape(text: str) -> str:
    """Text whose control characters are visible; newline and tab stay."""
    return _UNSAFE.sub(_visible, text)


def escape_line(text: str) -> str:
    """Text that is sure to stay on its line: newline and tab are made visible too."""
    return escape(text).replace("\n", "^J").replace("\t", "^I")


class StreamEscaper:
    """One stream's bytes made fit for a terminal; characters may be cut anywhere by the chunks."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def feed(self, data: bytes, final: bool = False) -> str:
        """The text of this chunk; with `final`, what was still waiting for its other bytes too."""
        return escape(self._decoder.decode(data, final))
