"""`hermes up` itself: lock, plan, prepare, supervise, tell."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable

from infra.supervisor.child import Child
from infra.supervisor.display import Display
from infra.supervisor.home import Home, Running, home_folder
from infra.supervisor.identity import ProcessIdentity
from infra.supervisor.plan import Plan, UpOptions, make_plan
from infra.supervisor.results import RoleStatus, UpResult
from infra.supervisor.supervise import Supervisor

_DESCRIPTORS = 65_536


def run_foreground(
    options: UpOptions, display: Display, on_ready: Callable[[UpResult], None] = lambda _: None
) -> None:
    """Run Hermes until SIGINT, SIGTERM or SIGHUP, and leave no process behind. Main thread only.

    Raises AlreadyRunning, PortTaken, HomeUnusable, InvalidRequest, JarsUnavailable, EmbeddedFault
    or StartFailed; all of them say what to do.
    """
    home = home_folder(options.home)
    home.create()
    _allow_many_descriptors()
    lock = home.lock()
    try:
        _supervise(home, lock, make_plan(options, home), display, on_ready)
    finally:
        display.close()
        home.status_file.unlink(missing_ok=True)
        os.close(lock)


def _allow_many_descriptors() -> None:
    # 1,024 by default, for programs that use select(2); an API with a thousand tails needs more.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, _DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _supervise(
    home: Home,
    lock: int,
    plan: Plan,
    display: Display,
    on_ready: Callable[[UpResult], None],
) -> None:
    board = _Board(home, plan)
    # Before the steps that take time, so that `hermes down` finds us.
    board.write()
    plan.prepare(display.line)
    board.children = [Child(role, home.log_file(role.name), lock) for role in plan.roles()]

    def changed(name: str, what: str) -> None:
        board.write()
        display.role(name, what, board.roles())

    def ready() -> None:
        display.ready(board.up)
        on_ready(board.up)

    Supervisor(board.children, changed).run(ready)


class _Board:
    """What the status file says of a run."""

    def __init__(self, home: Home, plan: Plan) -> None:
        supervisor = ProcessIdentity.of(os.getpid())
        assert supervisor is not None
        self.up = UpResult(plan.url, str(home.path), supervisor.pid, plan.ports)
        self.children: list[Child] = []
        self._home = home
        self._supervisor = supervisor
        servers = {"kafka": plan.kafka, "postgres": plan.postgres}
        self._external = tuple(
            RoleStatus(name, "external", None, 0) for name, ours in servers.items() if not ours
        )
        self._planned = tuple(
            RoleStatus(name, "starting", None, 0)
            for name in (*(name for name, ours in servers.items() if ours), *plan.modules)
        )

    def roles(self) -> tuple[RoleStatus, ...]:
        """How every role stands."""
        children = tuple(child.status() for child in self.children)
        return (*self._external, *(children or self._planned))

    def write(self) -> None:
        """Replace the status file."""
        identities = tuple(child.identity for child in self.children if child.identity)
        # A full disk makes the file stale; it must not end what still serves.
        with contextlib.suppress(OSError):
            self._home.write(Running(self._supervisor, self.up, self.roles(), identities))
