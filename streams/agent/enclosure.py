"""What an agent runs programs in: the sandbox, and the toolchains that belong to it."""

from __future__ import annotations

import hashlib
import logging
import os

from hermes.errors import InvalidRequest
from hermes.settings import SANDBOXES, Settings
from infra.sandbox.bubblewrap import BubblewrapSandbox
from infra.sandbox.warm import Lease, WarmSandboxes
from infra.toolchain.find import HostToolchains
from infra.toolchain.model import Toolchains

log = logging.getLogger(__name__)


class Enclosure:
    """`name` is that of the sandbox, as agents list it."""

    def __init__(self, name: str, sandbox: WarmSandboxes, toolchains: Toolchains) -> None:
        self.name = name
        self.sandbox = sandbox
        self.toolchains = toolchains


async def enclose(settings: Settings, keep: Lease) -> Enclosure:
    """The sandbox that `settings` ask for, open and rid of what an earlier agent left.

    `keep` is for the functions' folders that waiting sandboxes show.
    Never something weaker or other than what the operator asked for. Raises InvalidRequest,
    SandboxError.
    """
    if settings.sandbox not in SANDBOXES:
        known = ", ".join(SANDBOXES)
        raise InvalidRequest(f"HERMES_SANDBOX: {settings.sandbox!r} is none of {known}")
    budget = settings.warm if settings.warm is not None else os.cpu_count() or 1
    sandbox = WarmSandboxes(BubblewrapSandbox(_owner(settings)), budget, keep)
    await sandbox.open()
    await sandbox.reap(())
    return Enclosure("bubblewrap", sandbox, HostToolchains(settings.home))


def _owner(settings: Settings) -> str:
    """Whose sandboxes these are: two Hermes on a host may both call their agent by its name, and
    neither may take the other's sandboxes for leftovers of its own."""
    home = hashlib.sha256(str(settings.home).encode()).hexdigest()
    return f"{settings.agent}-{home[:12]}"
