"""Which process a pid stood for: pids come again, a pid with its start time and boot does not."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class ProcessIdentity(msgspec.Struct, frozen=True):
    """A process for good. `start_time` is in clock ticks since boot."""

    pid: int
    start_time: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The process that has this pid now; None if there is none, or only a zombie."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        # The second field, the name, may hold spaces and brackets.
        fields = stat.rpartition(")")[2].split()
        if fields[0] in "ZX":
            return None
        return cls(pid, int(fields[19]), _BOOT_ID.read_text().strip())

    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        return ProcessIdentity.of(self.pid) == self

    def send(self, signal_number: signal.Signals) -> bool:
        """Signal that very process, never another one of the same pid. False if it is gone."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # The descriptor keeps its process; so the check holds for what is signalled below.
            if not self.is_alive():
                return False
            signal.pidfd_send_signal(descriptor, signal_number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
