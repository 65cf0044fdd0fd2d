"""Every layer of a bubblewrap sandbox is needed: without it an attack succeeds, or the read-back
of what the kernel knows of a program shows the gap."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from infra.sandbox import bubblewrap, cgroup_layouts, command, kernel_files, mounts, spawn
from infra.sandbox.bubblewrap import BubblewrapSandbox
from infra.sandbox.port import MIB
from tests.abuse import evidence
from tests.abuse.attack import Enclosure, Order, drive
from tests.abuse.enclosures import Enclosed
from tests.abuse.matrix import ATTACKS
from tests.support.sandboxes import LIMITS

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="layers are the ones that root has")

READ_BACK = "every layer, read back"
SELF = "processes, ids, descriptors, environment"
TakeAway = Callable[[pytest.MonkeyPatch], None]


class Layer(msgspec.Struct, frozen=True):
    """How to take it away, and the attack that notices. `refuses`: nothing starts without it."""

    take_away: TakeAway
    noticed_by: str = READ_BACK
    refuses: bool = False


def without_words(*phrases: str) -> TakeAway:
    """Take phrases out of bwrap's arguments."""

    def take_away(monkeypatch: pytest.MonkeyPatch) -> None:
        def arguments(*given: object) -> bytes:
            said = b"\0" + command.arguments(*given)  # type: ignore[arg-type]
            for phrase in phrases:
                spoken = b"\0" + phrase.replace(" ", "\0").encode() + b"\0"
                assert spoken in said, phrase
                said = said.replace(spoken, b"\0", 1)
            return said[1:]

        monkeypatch.setattr(bubblewrap, "arguments", arguments)

    return take_away


def without_ulimit(letter: str) -> TakeAway:
    """Leave a limit of the shell unset."""

    def take_away(monkeypatch: pytest.MonkeyPatch) -> None:
        real = command._rlimits

        def rlimits(*given: object) -> str:
            limits, count = re.subn(f"ulimit -{letter} \\d+; ", "", real(*given))  # type: ignore[arg-type]
            assert count == 1
            return limits

        monkeypatch.setattr(command, "_rlimits", rlimits)

    return take_away


def without_limit(*names: str) -> TakeAway:
    """Leave files of the control group unwritten."""

    def take_away(monkeypatch: pytest.MonkeyPatch) -> None:
        def write(path: str, value: object) -> None:
            if Path(path).name not in names:
                kernel_files.write(path, value)  # type: ignore[arg-type]

        monkeypatch.setattr(cgroup_layouts, "write", write)

    return take_away


def as_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        bubblewrap, "command", lambda bwrap, spec, _, grouped: command.command(
            bwrap, spec, 0, grouped=grouped)
    )  # fmt: skip


def of_mounts(name: str) -> TakeAway:
    """Leave a flag off every mount. Set-id bits are dead by bwrap's own doing too."""
    return lambda monkeypatch: monkeypatch.setattr(mounts, name, 0)


def with_larger_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    real = mounts.mount_tmpfs
    monkeypatch.setattr(
        mounts, "mount_tmpfs", lambda target, size, files, uid: real(target, 80 * MIB, files, uid)
    )


def with_more_files(monkeypatch: pytest.MonkeyPatch) -> None:
    real = mounts.mount_tmpfs
    monkeypatch.setattr(
        mounts, "mount_tmpfs", lambda target, size, files, uid: real(target, size, 90_000, uid)
    )


def with_the_agents_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "mark_close_on_exec", lambda: None)


def with_the_agents_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two layers: bwrap gets no environment, and passes none on."""
    real = os.posix_spawn

    def posix_spawn(path: str, argv: object, _: object, **options: object) -> int:
        return real(path, argv, os.environ, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "posix_spawn", posix_spawn)
    without_words("--clearenv")(monkeypatch)


def without_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_masks", lambda: ())


def with_netlink(monkeypatch: pytest.MonkeyPatch) -> None:
    real = bubblewrap.seccomp.program
    monkeypatch.setattr(bubblewrap.seccomp, "program", lambda netlink: real(netlink=True))


def with_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow filters of one's own, everything else is refused as ever."""
    real = bubblewrap.seccomp.program.__wrapped__
    refused = dict(bubblewrap.seccomp.REFUSED)
    del refused["seccomp"]
    monkeypatch.setattr(bubblewrap.seccomp, "REFUSED", refused)
    monkeypatch.setattr(bubblewrap.seccomp, "program", lambda netlink: real(netlink=netlink))


NETWORK = "network and families of sockets"
LAYERS = {
    "network namespace": Layer(without_words("--unshare-net"), NETWORK),
    "process namespace": Layer(without_words("--unshare-pid", "--as-pid-1"), SELF),
    "IPC namespace": Layer(without_words("--unshare-ipc"), SELF),
    "name of its own": Layer(without_words("--unshare-uts", "--hostname hermes"), SELF),
    "control group namespace": Layer(without_words("--unshare-cgroup"), SELF),
    "session of its own": Layer(without_words("--new-session"), SELF),
    "filter of system calls": Layer(without_words("--seccomp 6"), "61 system calls"),
    "no filters of its own": Layer(with_filters, "filters of its own"),
    "no netlink": Layer(with_netlink, NETWORK),
    "masks over /proc": Layer(without_masks),
    "empty environment": Layer(with_the_agents_environment, SELF),
    "no descriptors of the agent": Layer(with_the_agents_descriptors, SELF),
    "user of its own": Layer(as_root, SELF, refuses=True),
    "limit on core files": Layer(without_ulimit("c"), "core dump"),
    "limit on files' size": Layer(without_ulimit("f"), "sparse file of 1 TiB"),
    "limit on descriptors": Layer(without_ulimit("n"), "descriptors without end"),
    "limit on memory": Layer(
        without_limit("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max"),
        "memory bomb",
    ),
    "limit on swap": Layer(without_limit("memory.memsw.limit_in_bytes", "memory.swap.max")),
    "limit on processes": Layer(without_limit("pids.max"), "fork bomb"),
    "limit on CPU": Layer(without_limit("cpu.cfs_quota_us", "cpu.max"), "CPU in 8 processes"),
    "size of folders": Layer(with_larger_folders, "fill the work folder"),
    "number of files": Layer(with_more_files, "very many files"),
    "read-only root": Layer(of_mounts("_RDONLY")),
    "no devices": Layer(of_mounts("_NODEV")),
}
if not Path("/sys/fs/cgroup/cgroup.controllers").exists():
    LAYERS["limit on TCP's buffers"] = Layer(
        without_limit("memory.kmem.tcp.limit_in_bytes"), "unread data in TCP"
    )


@pytest.mark.parametrize("name", LAYERS)
async def test_without_a_layer_something_gets_through(
    name: str,
    opened: tuple[Mapping[str, Enclosure], Mapping[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = opened[0]["bubblewrap"]
    assert isinstance(whole, Enclosed)
    layer = LAYERS[name]
    (attack,) = (attack for attack in ATTACKS if attack.name == layer.noticed_by)
    layer.take_away(monkeypatch)
    sandbox = BubblewrapSandbox(f"layers-{os.getpid()}")
    await sandbox.open()
    try:
        if layer.refuses:
            with pytest.raises(bubblewrap.SandboxError):
                await drive(Enclosed("bubblewrap", sandbox, whole.functions), attack)
            return
        seen = await drive(Enclosed("bubblewrap", sandbox, whole.functions), attack)
    finally:
        monkeypatch.undo()
        await sandbox.close()
    assert seen.looked or seen.said, "the program must have run"
    assert attack.judge(seen)


async def survivors(functions: Path) -> int:
    """Processes that live on when bwrap was killed and nobody is there to kill the rest."""
    sandbox = BubblewrapSandbox(f"layers-{os.getpid()}")
    await sandbox.open()
    token, (stdin, ours) = f"{os.getpid()}-orphan", os.pipe()
    enclosed = Enclosed("bubblewrap", sandbox, functions)
    order = Order(
        token=token, argv=("/fn/bomb", "nothing", "1"), limits=LIMITS, stdin=stdin, sources=None
    )
    running = await enclosed.start(order)
    try:
        while len(evidence.pids_of(token)) < 2:
            await asyncio.sleep(0.05)
        os.kill(running.prepared._pid, signal.SIGKILL)  # type: ignore[attr-defined]
        for _ in range(30):
            await asyncio.sleep(0.1)
            if not (left := evidence.pids_of(token)):
                break
    finally:
        await running.close()
        await sandbox.close()
        os.close(stdin)
        os.close(ours)
    return len(left)


async def test_with_its_parent_a_sandbox_dies_by_itself(
    opened: tuple[Mapping[str, Enclosure], Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = opened[0]["bubblewrap"]
    assert isinstance(whole, Enclosed)
    assert await survivors(whole.functions) == 0
    without_words("--die-with-parent")(monkeypatch)
    assert await survivors(whole.functions) > 0
