"""`hermes doctor`: what this machine has and lacks for Hermes, quickly and without changing it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from hermes.errors import InvalidRequest
from infra.diagnosis import compilers, images, isolation, machine, servers
from infra.diagnosis.check import Check
from infra.toolchain import install_cuda

__all__ = ["Check", "fix", "run_checks"]

#: Seconds for all checks together; what has not answered by then counts as failed.
PATIENCE = 1.9

#: In the order in which they are shown.
_CHECKS: dict[str, Callable[[Path], Check]] = {
    "python": machine.python,
    "memory": machine.memory,
    "disk": machine.disk,
    "compiler": compilers.cpp,
    "nvcc": compilers.cuda,
    "gpu": machine.gpu,
    "bubblewrap": isolation.bubblewrap,
    "user namespaces": isolation.user_namespaces,
    "control groups": isolation.control_groups,
    "isolation": isolation.promises_kept,
    "docker": isolation.docker,
    "toolchain images": images.toolchains,
    "java": servers.java,
    "kafka": servers.kafka,
    "postgres": servers.postgres,
    "kcat": servers.kcat,
}

#: What Hermes cannot do without; a check of these that breaks or hangs fails the command.
_REQUIRED = frozenset({"python", "disk", "compiler", "bubblewrap", "java", "postgres"})


def run_checks(home: Path) -> list[Check]:
    """All checks, in the order in which to show them. Takes less than 2 s and never raises."""
    outcomes: dict[str, Check] = {}

    def run(name: str, check: Callable[[Path], Check]) -> None:
        try:
            outcomes[name] = check(home)
        except Exception as error:  # a check that breaks on an odd machine is an outcome too
            outcomes[name] = _unchecked(name, f"{type(error).__name__}: {error}")

    # Daemons, for a driver that hangs must not keep the command from ending.
    threads = [
        threading.Thread(target=run, args=item, name=f"doctor: {item[0]}", daemon=True)
        for item in _CHECKS.items()
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = f"no answer within {PATIENCE} s"
    return [outcomes.get(name) or _unchecked(name, late) for name in _CHECKS]


def fix(name: str, home: Path, progress: Callable[[str], None]) -> None:
    """Mends what Hermes can mend by itself: "cuda" installs CUDA's compiler below `home`.

    `progress` is called with a line per step. Raises InvalidRequest for another name, InstallFailed
    and ToolchainMissing.
    """
    if name != "cuda":
        raise InvalidRequest(f"hermes doctor cannot fix {name!r}; it can fix: cuda")
    install_cuda(home, progress)


def _unchecked(name: str, reason: str) -> Check:
    advice = "Run hermes doctor again; if it stays so, look at this part of the machine by hand."
    return Check(name, False, name in _REQUIRED, f"could not be checked: {reason}", advice)
