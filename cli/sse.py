"""Server-sent events, read byte by byte as they come (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from typing import NamedTuple

#: Longer than any event Hermes sends; more is a broken or hostile server.
MAX_LINE = 16 * 1024 * 1024


class Frame(NamedTuple):
    """One dispatched event. `id` is the resume token as of this event, "" if there was none."""

    event: str
    id: str
    data: str


class BrokenStream(Exception):
    """What came is not an event stream."""


class Parser:
    """Feed it bytes however they were split; it hands back the events that are complete."""

    def __init__(self) -> None:
        self._rest = b""
        self._skip_line_feed = False
        self._first = True
        self._event = ""
        self._id = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[Frame]:
        """Events completed by this chunk, in order. A cut-off event is never handed out."""
        if self._skip_line_feed and chunk:
            self._skip_line_feed = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._skip_line_feed = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MAX_LINE:
            raise BrokenStream("a line of the event stream is too long")
        frames = []
        for line in lines:
            frame = self._line(line)
            if frame is not None:
                frames.append(frame)
        return frames

    def _line(self, line: bytes) -> Frame | None:
        if self._first:
            self._first = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._dispatch()
        if line.startswith(b":"):
            return None
        name, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode("utf-8", "replace")
        if name == b"data":
            self._data.append(text)
        elif name == b"event":
            self._event = text
        elif name == b"id" and "\0" not in text:
            self._id = text
        return None

    def _dispatch(self) -> Frame | None:
        data, event = self._data, self._event
        self._data, self._event = [], ""
        if not data:
            return None
        return Frame(event or "message", self._id, "\n".join(data))
