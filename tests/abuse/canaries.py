"""Things on the host that an attack must not reach, and that tell when it did."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

# In this process's environment, as an agent's secrets are in its own.
ENVIRONMENT = secrets.token_hex(8)
_BRIDGE = "172.17.0.1"  # where a container of an engine's default network finds the host


class Canaries:
    """Files, listeners and a process of the host, for one attack; a context manager."""

    def __enter__(self) -> Canaries:
        os.environ["HERMES_CANARY"] = ENVIRONMENT
        self._undo = contextlib.ExitStack()
        # Not in /tmp, which typical sandboxes replace.
        self.folder = Path(tempfile.mkdtemp(prefix="hermes-canary-", dir="/var/tmp"))
        self._undo.callback(shutil.rmtree, self.folder)
        self.folder.chmod(0o755)
        self.content = f"of somebody else: {secrets.token_hex(8)}"
        self.private = self._file("private", 0o600)
        self.public = self._file("public", 0o644)
        self.writable = self._file("writable", 0o666)
        self._listen()
        self.leaking = os.open(self.private, os.O_RDONLY)
        os.set_inheritable(self.leaking, True)
        self._undo.callback(os.close, self.leaking)
        self.victim = subprocess.Popen(["sleep", "120"], env={})
        self._undo.callback(self.victim.wait)
        self._undo.callback(self.victim.kill)
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _file(self, name: str, mode: int) -> Path:
        path = self.folder / name
        path.write_text(self.content)
        path.chmod(mode)
        return path

    def _listen(self) -> None:
        name, path = f"hermes-canary-{self.folder.name}", self.folder / "socket"
        self.addresses = [f"abstract:{name}", f"path:{path}"]
        self._sockets = [socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
        self._sockets[0].bind(f"\0{name}")
        self._sockets[1].bind(str(path))
        path.chmod(0o777)
        for address in ("127.0.0.1", _BRIDGE):
            with contextlib.suppress(OSError):  # no such network on this host
                for kind, word in ((socket.SOCK_STREAM, "tcp"), (socket.SOCK_DGRAM, "udp")):
                    listener = socket.socket(socket.AF_INET, kind)
                    self._sockets.append(listener)
                    listener.bind((address, 0))
                    self.addresses.append(f"{word}:{address}:{listener.getsockname()[1]}")
        for listener in self._sockets:
            self._undo.callback(listener.close)
            listener.setblocking(False)
            if listener.type != socket.SOCK_DGRAM:
                listener.listen()

    def contacts(self) -> int:
        """How many connections and datagrams have arrived."""
        arrived = 0
        for listener in self._sockets:
            with contextlib.suppress(OSError):  # BlockingIOError: no more of them
                while True:
                    if listener.type == socket.SOCK_DGRAM:
                        listener.recv(16)
                    else:
                        listener.accept()[0].close()
                    arrived += 1
        return arrived

    def harm(self) -> list[str]:
        """What is no longer as it was."""
        found = [f"{path.name} was changed" for path in (self.private, self.public, self.writable)
                 if not path.exists() or path.read_text() != self.content]  # fmt: skip
        if self.victim.poll() is not None:
            found.append("a process of the host was killed")
        if count := self.contacts():
            found.append(f"{count} contacts with the host")
        return found

    def words(self) -> dict[str, str]:
        """What stands for them in the words of an attack."""
        return {
            "{private}": str(self.private),
            "{public}": str(self.public),
            "{writable}": str(self.writable),
            "{folder}": str(self.folder),
            "{victim}": str(self.victim.pid),
        }
