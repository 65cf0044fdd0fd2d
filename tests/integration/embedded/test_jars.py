"""Fetching pinned jars from a Maven repository that fails in every way we know of."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.embedded.errors import JarsUnavailable
from infra.embedded.jars import Jar, ensure_jars, pinned


class Repository(ThreadingHTTPServer):
    """A real Maven repository on loopback, with the jars `a` and `b`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = {"a": b"class a", "b": b"class b" * 1000}
        self.asked: list[str] = []
        self.cut_short: set[str] = set()

    def jar(self, name: str) -> Jar:
        return Jar("org.example", name, "1.0", hashlib.sha256(self.files[name]).hexdigest())


class _Handler(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        name = self.path.split("/")[3]
        if not self.path.endswith(".jar") or name not in self.server.files:
            self.send_error(404)
            return
        self.server.asked.append(name)
        content = self.server.files[name]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if name in self.server.cut_short:
            self.server.cut_short.remove(name)
            content = content[:100]
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    server = Repository()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HERMES_MAVEN", f"http://127.0.0.1:{server.server_port}/")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(repository: Repository, folder: Path) -> list[Path]:
    return ensure_jars(folder=folder, jars=(repository.jar("a"), repository.jar("b")))


def test_jars_are_fetched_once(repository: Repository, tmp_path: Path) -> None:
    paths = fetch(repository, tmp_path)
    assert [path.read_bytes() for path in paths] == list(repository.files.values())
    assert fetch(repository, tmp_path) == paths
    assert sorted(repository.asked) == ["a", "b"]


def test_a_fetch_goes_on_where_it_stopped(repository: Repository, tmp_path: Path) -> None:
    content = repository.files.pop("b")
    with pytest.raises(JarsUnavailable, match=r"org.example:b:1.0.*run the command again"):
        jars = (repository.jar("a"), Jar("org.example", "b", "1.0", "0" * 64))
        ensure_jars(folder=tmp_path, jars=jars)
    repository.files["b"] = content
    repository.asked.clear()
    fetch(repository, tmp_path)
    assert repository.asked == ["b"]


def test_a_transfer_that_breaks_off_is_tried_again(repository: Repository, tmp_path: Path) -> None:
    repository.cut_short.add("b")
    assert fetch(repository, tmp_path)[1].read_bytes() == repository.files["b"]


def test_a_jar_that_is_not_the_pinned_one_is_refused(
    repository: Repository, tmp_path: Path
) -> None:
    jars = (repository.jar("a"), repository.jar("b"))
    repository.files["b"] = b"something else"
    with pytest.raises(JarsUnavailable, match=r"org.example:b:1.0.*SHA-256"):
        ensure_jars(folder=tmp_path, jars=jars)
    assert not (tmp_path / "b-1.0.jar").exists()


def test_a_damaged_jar_in_the_cache_is_fetched_anew(repository: Repository, tmp_path: Path) -> None:
    damaged = fetch(repository, tmp_path)[0]
    damaged.write_bytes(b"class z")
    fetch(repository, tmp_path)
    assert damaged.read_bytes() == repository.files["a"]


def test_without_a_network_the_error_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HERMES_MAVEN", "http://127.0.0.1:1")
    with pytest.raises(JarsUnavailable, match=r"Check the network.*HERMES_KAFKA"):
        ensure_jars(folder=tmp_path, jars=(Jar("org.example", "a", "1.0", "0" * 64),))


def test_every_jar_is_pinned() -> None:
    jars = pinned()
    assert len(jars) == 45
    assert len({jar.file_name for jar in jars}) == 45
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in jars)
