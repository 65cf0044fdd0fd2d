"""How a role tells its supervisor that it serves: one line on an inherited descriptor."""

from __future__ import annotations

import os


def report_ready() -> None:
    """Write `ready` to the descriptor named by HERMES_READY_FD, once; without it do nothing."""
    fd = os.environ.pop("HERMES_READY_FD", "")
    if not fd:
        return
    try:
        os.write(int(fd), b"ready\n")
        os.close(int(fd))
    except OSError:
        # The supervisor is gone; this process is about to be ended as well.
        return
