"""The supervisor's loop: start all roles at once, restart what crashes, end all in order.

One thread, woken by process ends, readiness reports and signals. A thread would not do: the kernel
ends children with the thread that started them.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from hermes.errors import FieldProblem
from infra.supervisor import logs
from infra.supervisor.child import Child
from infra.supervisor.errors import StartFailed

_PROBE_INTERVAL = 0.03
_IDLE_INTERVAL = 1.0  # between looks at the sizes of logs
_START_TIMEOUT = 120.0
# Before everything served for the first time, a role that crashes so often will not come.
_START_CRASHES = 4

#: Told of every change: the name of a role, what happened to it.
Observer = Callable[[str, str], None]


class Supervisor:
    """Runs `children` until SIGINT, SIGTERM or SIGHUP. Use it in the main thread."""

    def __init__(self, children: Sequence[Child], observe: Observer) -> None:
        self._children = children
        self._observe = observe
        self._selector = selectors.DefaultSelector()
        self._stops_asked = 0
        self._served = False
        self._started = time.monotonic()

    def run(self, on_ready: Callable[[], None]) -> None:
        """Start, call `on_ready` once all serve, and return when all have ended after a signal.

        Raises StartFailed, also with nothing left running, if they do not all come to serve.
        """
        with self._signals():
            try:
                for child in self._children:
                    self._start(child)
                while not self._stops_asked:
                    self._turn()
                    self._check_start(on_ready)
            finally:
                self._stop_all()
                self._selector.close()

    def _check_start(self, on_ready: Callable[[], None]) -> None:
        if self._served:
            return
        if all(child.state == "ready" for child in self._children):
            self._served = True
            on_ready()
            return
        late = time.monotonic() - self._started > _START_TIMEOUT
        for child in self._children:
            if child.crashes >= _START_CRASHES or (late and child.state != "ready"):
                end = child.last_end or f"does not serve after {_START_TIMEOUT:.0f} s"
                raise StartFailed(f"{child.role.name} {end}; see {child.log}", _last_lines(child))

    def _turn(self) -> None:
        """Wait for something to happen, and see to it."""
        for key, _ in self._selector.select(self._patience()):
            key.data()
        now = time.monotonic()
        for child in self._children:
            logs.bound(child.log)
            if child.state == "waiting" and child.next_start <= now:
                self._start(child)
            elif child.check_probe():
                self._tell(child, "ready")

    def _patience(self) -> float:
        now = time.monotonic()
        waits = [_IDLE_INTERVAL]
        waits += [child.next_start - now for child in self._children if child.state == "waiting"]
        if any(child.state == "starting" and child.role.probe for child in self._children):
            waits.append(_PROBE_INTERVAL)
        return max(0.0, min(waits))

    def _start(self, child: Child) -> None:
        child.start()
        if child.pidfd < 0:
            self._tell(child, child.last_end)
            return
        self._selector.register(child.pidfd, selectors.EVENT_READ, partial(self._end, child))
        if child.ready_fd >= 0:
            self._selector.register(
                child.ready_fd, selectors.EVENT_READ, partial(self._report, child)
            )
        self._tell(child, "starting")

    def _report(self, child: Child) -> None:
        # Both may have become readable in one turn, and the end was seen first.
        if child.ready_fd < 0:
            return
        self._selector.unregister(child.ready_fd)
        if child.read_report():
            self._tell(child, "ready")

    def _end(self, child: Child) -> None:
        self._selector.unregister(child.pidfd)
        if child.ready_fd >= 0:
            self._selector.unregister(child.ready_fd)
        child.ended()
        self._tell(child, child.last_end if child.state == "waiting" else "stopped")

    def _tell(self, child: Child, what: str) -> None:
        self._observe(child.role.name, what)

    def _stop_all(self) -> None:
        """Stage after stage, so nobody loses the servers it still needs to end well."""
        for stage in sorted({child.role.stop_stage for child in self._children}):
            self._stop([child for child in self._children if child.role.stop_stage == stage])

    def _stop(self, children: list[Child]) -> None:
        asked = self._stops_asked
        deadline = time.monotonic() + max(child.role.stop_timeout for child in children)
        for child in children:
            child.stop()
            if child.state == "stopping":
                self._tell(child, "stopping")
        while any(child.pidfd >= 0 for child in children):
            patience = deadline - time.monotonic()
            # A second Ctrl-C means now.
            if patience <= 0 or self._stops_asked > asked:
                for child in children:
                    child.kill()
                patience = _IDLE_INTERVAL
            for key, _ in self._selector.select(patience):
                key.data()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Let signals wake the loop, and be counted, instead of breaking into it."""
        read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(read_end, selectors.EVENT_READ, partial(os.read, read_end, 64))
        wakeup = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup sets it
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._asked_to_stop) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            os.close(read_end)
            os.close(write_end)

    def _asked_to_stop(self, *_: object) -> None:
        self._stops_asked += 1


def _last_lines(child: Child) -> tuple[FieldProblem, ...]:
    lines = logs.tail(child.log).splitlines()
    return tuple(FieldProblem(child.log.name, line) for line in lines if line.strip())
