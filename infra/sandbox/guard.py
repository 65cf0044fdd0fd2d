"""A process beside the agent that ends sandboxes when the agent cannot: frozen, or dead.

Run as a file of its own by a bare interpreter (no packages, so it starts fast and stays small). It
reads datagrams from descriptor 3, JSON with descriptors attached:

    {"watch": NAME, "cgroups": [FOLDER, ...]}  + pidfd of the sandbox's outer process, then the
                                               descriptors to hold (locks) while the sandbox lives;
                                               said again, it takes the place of what was said
    {"deadline": NAME, "at": MONOTONIC}        kill it then (CLOCK_MONOTONIC, seconds)
    {"done": NAME}                             it is gone, forget it

When the other end closes, the agent is dead: everything still watched is killed, its groups are
removed and, last of all, the locks are let go.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import signal
import socket
import time

_PATIENCE = 30.0
_MOST_FDS = 64


class Watched:
    """One sandbox: how to kill it, what to hold until it is dead."""

    def __init__(self, cgroups: list[str], pidfd: int, held: list[int]) -> None:
        self.cgroups = cgroups
        self.pidfd = pidfd
        self.held = held
        self.deadline: float | None = None

    def kill(self) -> None:
        """SIGKILL until nothing lives, bounded."""
        self.deadline = None
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        give_up = time.monotonic() + _PATIENCE
        while self._kill_members() and time.monotonic() < give_up:
            time.sleep(0.005)

    def _kill_members(self) -> bool:
        alive = False
        for folder in self.cgroups:
            with contextlib.suppress(OSError), open(folder + "/cgroup.procs") as members:  # noqa: PTH123
                for pid in members.read().split():
                    alive = True
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
        return alive

    def forget(self) -> None:
        """Let go of what was held."""
        for fd in (self.pidfd, *self.held):
            os.close(fd)

    def remove(self) -> None:
        """Remove the empty groups and the folders above that are empty then: owner, hermes."""
        for folder in self.cgroups:
            for path in (folder, os.path.dirname(folder), os.path.dirname(os.path.dirname(folder))):  # noqa: PTH120
                with contextlib.suppress(OSError):
                    os.rmdir(path)  # noqa: PTH106


def serve(channel: socket.socket) -> None:
    """Watch until the agent is gone, then clean up after it."""
    watched: dict[str, Watched] = {}
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    while True:
        deadlines = [w.deadline for w in watched.values() if w.deadline is not None]
        wait = max(0.0, min(deadlines) - time.monotonic()) * 1000 + 1 if deadlines else None
        if poll.poll(wait) and not _receive(channel, watched):
            break
        for sandbox in watched.values():
            if sandbox.deadline is not None and sandbox.deadline <= time.monotonic():
                sandbox.kill()
    for sandbox in watched.values():
        sandbox.kill()
        sandbox.remove()
        sandbox.forget()


def _receive(channel: socket.socket, watched: dict[str, Watched]) -> bool:
    """Take one message; False at the end of file."""
    room = array.array("i", [0] * _MOST_FDS)
    data, ancillary, _, _ = channel.recvmsg(65536, socket.CMSG_SPACE(len(room) * room.itemsize))
    if not data:
        return False
    fds = array.array("i")
    for _, _, content in ancillary:
        fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    message = json.loads(data)
    if "watch" in message:
        former = watched.get(message["watch"])
        watched[message["watch"]] = Watched(message["cgroups"], fds[0], list(fds[1:]))
        if former is not None:
            former.forget()
    elif "deadline" in message:
        if message["deadline"] in watched:
            watched[message["deadline"]].deadline = message["at"]
    elif message["done"] in watched:
        watched.pop(message["done"]).forget()
    return True


if __name__ == "__main__":
    # In a process group of its own (the agent sees to it) and deaf: not ended with the agent.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(ignored, signal.SIG_IGN)
    serve(socket.socket(fileno=3))
