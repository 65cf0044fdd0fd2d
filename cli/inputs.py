"""An execution's input: text, a file or standard input; what is large goes ahead as a blob."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from cli.problem import Problem, usage
from cli.refs import path

if TYPE_CHECKING:
    from cli.client import Client

#: Larger inputs are uploaded as blobs.
INLINE_LIMIT = 1024 * 1024
#: What Hermes accepts.
INPUT_LIMIT = 100 * 1024 * 1024
_BLOCK = 256 * 1024


def input_fields(client: Client, file: str | None, text: str | None) -> dict[str, Any]:
    """The fields of the request that carry the input; uploads it first where it is large."""
    if file is not None and text is not None:
        raise usage("--file and --input exclude each other; give one of them")
    if text is not None:
        return _inline(text.encode("utf-8", "surrogateescape"))
    if file is not None and file != "-":
        with _open(file) as source:
            return _from_stream(client, source)
    if file is None and sys.stdin is not None and sys.stdin.isatty():
        from cli.prompts import ask  # noqa: PLC0415

        return _inline(ask("Input:", "--input").encode("utf-8", "surrogateescape"))
    if sys.stdin is None:
        return _inline(b"")
    return _from_stream(client, sys.stdin.buffer)


def _inline(data: bytes) -> dict[str, Any]:
    if not data:
        return {}
    try:
        return {"input": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"input_base64": base64.b64encode(data).decode("ascii")}


def _open(file: str) -> IO[bytes]:
    try:
        source = Path(file).open("rb")  # noqa: SIM115
    except OSError as error:
        raise usage(f"--file {file}: {error.strerror}") from None
    mode = os.fstat(source.fileno()).st_mode
    if stat.S_ISREG(mode) and os.fstat(source.fileno()).st_size > INPUT_LIMIT:
        source.close()
        raise _too_large()
    return source


def _from_stream(client: Client, source: IO[bytes]) -> dict[str, Any]:
    head = _read_up_to(source, INLINE_LIMIT + 1)
    if len(head) <= INLINE_LIMIT:
        return _inline(head)
    with tempfile.TemporaryFile(prefix="hermes-input-") as spool:
        digest, size = hashlib.sha256(head), len(head)
        spool.write(head)
        while block := source.read(_BLOCK):
            size += len(block)
            if size > INPUT_LIMIT:
                raise _too_large()
            digest.update(block)
            spool.write(block)
        spool.seek(0)
        _upload(client, digest.hexdigest(), spool, size)
    return {"input_blob": digest.hexdigest()}


def _read_up_to(source: IO[bytes], limit: int) -> bytes:
    """At most `limit` bytes; fewer only at the end of the stream."""
    buffer = io.BytesIO()
    while (left := limit - buffer.tell()) > 0 and (block := source.read(left)):
        buffer.write(block)
    return buffer.getvalue()


def _upload(client: Client, digest: str, spool: IO[bytes], size: int) -> None:
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
    client.request("PUT", path("blobs", digest), body=spool, headers=headers)


def _too_large() -> Problem:
    limit = INPUT_LIMIT // (1024 * 1024)
    return Problem("too large", f"an input has at most {limit} MiB", code="too_large", status=413)
