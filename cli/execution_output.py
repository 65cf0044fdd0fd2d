"""`hermes execution output`: one stream's bytes, fetched in pieces if the connection breaks."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cli.client import ConnectionLost
from cli.problem import Problem, usage
from cli.program_output import Sink
from cli.session import Session
from cli.tail import BACKOFF


def show_output(session: Session, target: str, stream: str, file: str | None, *, raw: bool) -> None:
    """Write the bytes to stdout or `file`; with `--json` one document about them."""
    chunks = _chunks(session, target)
    if file is not None:
        size, digest = _save(chunks, Path(file))
        if session.json:
            session.out.document(_document(stream, size, digest, None))
        return
    if session.json:
        content = b"".join(chunks)
        digest = hashlib.sha256(content).hexdigest()
        session.out.document(_document(stream, len(content), digest, content))
        return
    sink = Sink(session.out.stdout, raw)
    for chunk in chunks:
        sink.write(chunk)
    sink.finish()


def _chunks(session: Session, target: str) -> Iterator[bytes]:
    """The stream's bytes; a broken connection goes on where it broke."""
    received, failures = 0, 0
    while True:
        headers = {"Accept": "application/octet-stream"}
        if received:
            headers["Range"] = f"bytes={received}-"
        try:
            answer = session.client.stream("GET", target, headers=headers)
            if received and answer.status != 206:
                answer.close()
                raise Problem("unexpected answer", "the server cannot continue a broken download")
            for chunk in answer.chunks():
                received, failures = received + len(chunk), 0
                yield chunk
            return
        except ConnectionLost as error:
            cause = str(error)
        except Problem as problem:
            if not received or problem.status < 500:
                raise
            cause = problem.title
        if failures == len(BACKOFF):
            raise Problem("connection lost", cause, code="unavailable", status=503)
        session.out.note(f"{cause}; trying again")
        time.sleep(BACKOFF[failures])
        failures += 1


def _save(chunks: Iterator[bytes], file: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    first = next(chunks, b"")
    try:
        with file.open("wb") as target:
            while first:
                size += len(first)
                digest.update(first)
                target.write(first)
                first = next(chunks, b"")
    except OSError as error:
        raise usage(f"-o {file}: {error.strerror}") from None
    return size, digest.hexdigest()


def _document(stream: str, size: int, digest: str, content: bytes | None) -> dict[str, Any]:
    data = None if content is None else base64.b64encode(content).decode("ascii")
    return {"stream": stream, "bytes": size, "sha256": digest, "data_base64": data}
