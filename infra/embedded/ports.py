"""Free ports on loopback."""

from __future__ import annotations

import contextlib
import socket

LOOPBACK = "127.0.0.1"


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket() as server:
        # As servers do: connections of a former server in TIME_WAIT do not count.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((host, port))
        except OSError:
            return False
        return True


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on, picked by the kernel."""
    with contextlib.ExitStack() as held:
        ports = []
        for _ in range(count):
            server = held.enter_context(socket.socket())
            server.bind((LOOPBACK, 0))
            ports.append(int(server.getsockname()[1]))
        return ports
