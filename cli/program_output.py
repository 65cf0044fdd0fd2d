"""What a program wrote, on its way to the terminal, the pipe or a JSON reader."""

from __future__ import annotations

import binascii
import signal
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from cli.escape import StreamEscaper
from cli.output import Output
from cli.problem import Problem

if TYPE_CHECKING:
    from cli.tail import Entry

_REASONS = {
    "timed_out": "timed out",
    "cancelled": "cancelled",
    "out_of_memory": "out of memory; raise limits.memory, or use less",
    "output_limit": "wrote more than its output limit and was stopped; raise limits.output",
    "build_missing": "the build's result is missing; deploy the function again",
    "lost": "the machine that ran it was lost",
}


class Sink:
    """One stream: exact bytes into a pipe, or `raw`; visible control characters on a terminal."""

    def __init__(self, target: TextIO, raw: bool) -> None:
        self._bytes: BinaryIO = target.buffer
        self._escaper = StreamEscaper() if target.isatty() and not raw else None

    def write(self, data: bytes) -> None:
        """Pass on bytes; characters cut in two wait for their other half on a terminal."""
        self._bytes.write(self._escaper.feed(data).encode() if self._escaper else data)

    def flush(self) -> None:
        """Let the reader have it now."""
        self._bytes.flush()

    def finish(self) -> None:
        """The stream is over: show what was still waiting."""
        if self._escaper:
            self._bytes.write(self._escaper.feed(b"", final=True).encode())
        self._bytes.flush()


class TailPrinter:
    """Shows the entries of a tail: the program's streams for people, JSON Lines for programs."""

    def __init__(self, out: Output, *, raw: bool, all_to_stderr: bool = False) -> None:
        self._out = out
        stdout = out.stderr if all_to_stderr else out.stdout
        self._sinks = {"stdout": Sink(stdout, raw), "stderr": Sink(out.stderr, raw)}
        self.end: dict[str, Any] | None = None
        self._reason: str | None = None

    def show(self, entries: list[Entry]) -> None:
        """Show one batch and flush it."""
        for entry in entries:
            if entry.data.get("kind") in ("execution.finished", "execution.rejected"):
                # The end says what became of it, the terminal event says why.
                self._reason = (entry.data.get("data") or {}).get("reason")
            elif entry.event == "end":
                self.end = {**entry.data, "reason": self._reason}
            if self._out.json:
                self._out.document(entry._asdict())
            else:
                self._show(entry)
        if not self._out.json:
            for sink in self._sinks.values():
                sink.flush()

    def finish(self) -> None:
        """No more entries will come."""
        if not self._out.json:
            for sink in self._sinks.values():
                sink.finish()

    def _show(self, entry: Entry) -> None:
        data = entry.data
        if entry.event == "output":
            self._sinks[_stream(data)].write(_content(data))
        elif entry.event == "gap":
            seqs = f"{data.get('from_seq')} to {data.get('to_seq')}"
            self._out.note(f"output {seqs} is missing ({data.get('reason')})")
        elif entry.event == "attempt":
            self._out.note(
                f"attempt {data.get('attempt')} begins ({data.get('reason')}); its output follows"
            )


def describe_end(end: dict[str, Any], timeout: float | None = None) -> str | None:
    """Why an execution did not end by itself, in words; None if it did."""
    outcome = end.get("outcome")
    reason = end.get("reason")
    if end.get("status") == "rejected":
        return f"rejected: {reason or 'the server did not take it on'}"
    if outcome == "failed":
        number = end.get("signal")
        if number is not None:
            return f"ended by signal {number}{_signal_name(number)}"
        return f"failed: {reason}" if reason else None
    if outcome in ("lost", "build_missing") and reason:
        return f"{outcome.replace('_', ' ')}: {reason}"
    if outcome == "timed_out" and timeout is not None:
        return f"timed out after {timeout:g} s"
    if outcome == "succeeded":
        return None
    return _REASONS.get(str(outcome), f"ended: {outcome}")


def _signal_name(number: Any) -> str:
    try:
        return f" ({signal.Signals(int(number)).name})"
    except ValueError:
        return ""


def _stream(data: dict[str, Any]) -> str:
    return "stderr" if data.get("stream") == "stderr" else "stdout"


def _content(data: dict[str, Any]) -> bytes:
    try:
        return binascii.a2b_base64(str(data.get("data") or ""), strict_mode=True)
    except ValueError:
        raise Problem("unexpected answer", "output in the tail is not base64") from None
