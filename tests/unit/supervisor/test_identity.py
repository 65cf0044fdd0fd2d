"""A pid, its start time and its boot name one process."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import msgspec

from infra.supervisor.identity import ProcessIdentity


def test_another_start_time_or_boot_is_another_process() -> None:
    ours = ProcessIdentity.of(os.getpid())
    assert ours is not None
    assert ours.is_alive()
    assert not msgspec.structs.replace(ours, start_time=ours.start_time - 1).is_alive()
    assert not msgspec.structs.replace(ours, boot_id="another").is_alive()


def test_a_signal_does_not_reach_another_process_of_the_same_pid() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        identity = ProcessIdentity.of(process.pid)
        assert identity is not None
        former = msgspec.structs.replace(identity, start_time=identity.start_time - 1)
        assert former.send(signal.SIGKILL) is False
        assert process.poll() is None
        assert identity.send(signal.SIGKILL) is True
        assert process.wait() == -signal.SIGKILL
    assert identity.send(signal.SIGKILL) is False


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen(["true"]) as process:
        deadline = time.monotonic() + 5
        while ProcessIdentity.of(process.pid) is not None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.wait()
