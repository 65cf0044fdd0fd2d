"""Nothing outlives its owner: agent frozen, agent killed, guard killed, agent come back."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import resource
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.sandbox import lifetime
from infra.sandbox.bubblewrap import BubblewrapSandbox
from infra.sandbox.port import SandboxError
from tests.support.sandboxes import Runner, control_groups_of, members_of
from tests.support.second_agent import StartAgent, second_agents


@pytest.fixture
def start_owner(attacks: Path) -> Iterator[StartAgent]:
    with second_agents(attacks) as start:
        yield start


_PATIENCE = 20.0  # longer than an idle connection to the engine is kept


class Taken:
    """What this process has open, and which mounts of sandboxes it sees."""

    def __init__(self) -> None:
        self.descriptors = []
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # that of the listing itself
                self.descriptors.append(str(entry.readlink()))
        # Others on the host mount things too, and that arrives here.
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        self.mounts = [mount for mount in mounts if "/run/hermes-sandbox/" in mount]

    async def is_all(self) -> None:
        """Nothing more is taken now. Fewer may be: what earlier tests left to be collected; and for
        a moment more, as their sandboxes still talk to the engine in this same process."""
        give_up = time.monotonic() + _PATIENCE
        while (now := Taken()).exceeds(self):
            new = Counter(now.descriptors + now.mounts) - Counter(self.descriptors + self.mounts)
            assert time.monotonic() < give_up, new
            await asyncio.sleep(0.1)

    def exceeds(self, before: Taken) -> bool:
        """Whether there are more of either kind."""
        return len(self.descriptors) > len(before.descriptors) or len(self.mounts) > len(
            before.mounts
        )


async def until(condition: Callable[[], bool], patience: float) -> None:
    """Wait until `condition` holds."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < patience, "it did not come true"
        await asyncio.sleep(0.02)


async def test_a_killed_agent_leaves_no_process_and_no_control_group(
    start_owner: StartAgent,
) -> None:
    owner = start_owner("killed")
    await until(lambda: len(members_of(owner.name)) >= 3, 5.0)
    owner.send(signal.SIGKILL)
    await until(lambda: not members_of(owner.name), 5.0)
    await until(lambda: not control_groups_of(owner.name), 5.0)
    assert "hermes-sandbox/mounts" not in Path("/proc/1/mountinfo").read_text()


async def test_a_frozen_agents_sandbox_ends_when_its_time_is_over(start_owner: StartAgent) -> None:
    owner = start_owner("frozen", limit=0.6)
    owner.send(signal.SIGSTOP)
    await until(lambda: not members_of(owner.name), 5.0)
    owner.send(signal.SIGCONT)
    assert owner.next_line() == b"ended timed_out\n"
    assert owner.process.wait(5) == 0


async def test_a_lock_is_free_exactly_when_the_sandbox_of_a_killed_agent_is_gone(
    start_owner: StartAgent, tmp_path: Path
) -> None:
    path = tmp_path / "gpu0"
    locked = os.open(path, os.O_CREAT | os.O_RDONLY)
    fcntl.flock(locked, fcntl.LOCK_EX)
    owner = start_owner("locked", lock=locked)
    os.close(locked)
    probe = os.open(path, os.O_RDONLY)

    def is_free() -> bool:
        try:
            fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    assert not is_free()
    owner.send(signal.SIGKILL)
    await until(is_free, 5.0)
    assert not members_of(owner.name)
    os.close(probe)


async def test_without_a_guard_a_killed_agent_leaves_no_process_and_reap_removes_the_rest(
    start_owner: StartAgent,
) -> None:
    owner = start_owner("unguarded")
    owner.kill_guard()
    owner.send(signal.SIGKILL)
    await until(lambda: not members_of(owner.name), 5.0)
    assert control_groups_of(owner.name)
    again = BubblewrapSandbox(owner.name)
    await again.open()
    (name,) = await again.reap(())
    assert name.startswith("test-")
    await again.close()
    assert not control_groups_of(owner.name)


async def test_reap_kills_what_lives_in_a_group_and_spares_the_known(runner: Runner) -> None:
    sandbox = BubblewrapSandbox(f"reaped-{os.getpid()}")
    await sandbox.open()
    assert sandbox._groups is not None
    strangers = []
    for name in ("old-1", "known-1"):
        group = sandbox._groups.group(name)
        group.create(64 << 20, 8, 1.0)
        stranger = subprocess.Popen(["sleep", "60"])
        group.admit(stranger.pid)
        strangers.append(stranger)
    old, known = strangers
    assert await sandbox.reap(["known-1"]) == ["old-1"]
    assert old.wait(5) == -signal.SIGKILL
    assert known.poll() is None
    known.kill()
    known.wait()
    assert await sandbox.reap(()) == ["known-1"]
    await sandbox.close()


async def test_a_killed_guard_is_replaced_and_told_everything(runner: Runner) -> None:
    guard = runner.sandbox._guard  # type: ignore[attr-defined]
    spec = runner.spec("linger", "sleep", stdin=os.open(os.devnull, os.O_RDONLY))
    prepared = await runner.sandbox.prepare(spec)
    before = guard.pid
    os.kill(before, signal.SIGKILL)
    await asyncio.sleep(0.05)
    prepared.go()
    assert guard.pid != before
    guard.deadline(spec.name, 0.1)
    ended = await asyncio.wait_for(prepared.wait(), 5)
    assert (ended.signal, ended.killed) == (signal.SIGKILL, None)
    await prepared.close()
    os.close(spec.stdin)


async def test_a_sandbox_never_released_leaves_nothing(runner: Runner) -> None:
    before = Taken()
    spec = runner.spec("/bin/sh", "-c", "echo started", stdin=os.open(os.devnull, os.O_RDONLY))
    prepared = await runner.sandbox.prepare(spec)
    await asyncio.sleep(0.05)
    with pytest.raises(BlockingIOError):
        os.read(prepared.stdout, 10)
    await prepared.close()
    await prepared.close()
    os.close(spec.stdin)
    await before.is_all()
    assert control_groups_of(f"test-{os.getpid()}") == []


async def test_a_failed_start_says_why_and_leaves_nothing(runner: Runner, tmp_path: Path) -> None:
    before = Taken()
    missing = ((str(tmp_path / "missing"), "/missing"),)
    with pytest.raises(SandboxError, match="missing"):
        await runner.run("normal", extra_ro_binds=missing)
    with pytest.raises(SandboxError):
        await runner.run("normal", function_dir=tmp_path / "missing")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(SandboxError, match="readable"):
        await runner.run("normal", function_dir=private)
    await before.is_all()
    assert control_groups_of(f"test-{os.getpid()}") == []


async def test_a_start_whose_guard_cannot_be_told_leaves_nothing(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("too many open files")

    before = Taken()
    with monkeypatch.context() as patched:
        patched.setattr(runner.sandbox._guard, "watch", fail)  # type: ignore[attr-defined]
        with pytest.raises(SandboxError, match="too many open files"):
            await runner.run("normal")
    await before.is_all()
    assert control_groups_of(f"test-{os.getpid()}") == []


async def test_a_cancelled_start_leaves_nothing(runner: Runner) -> None:
    before = Taken()
    stdin = os.open(os.devnull, os.O_RDONLY)
    cancelled = 0
    for pause in (0, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.005):
        starting = asyncio.ensure_future(runner.sandbox.prepare(runner.spec("normal", stdin=stdin)))
        await asyncio.sleep(pause)
        starting.cancel()
        try:
            await (await starting).close()
        except asyncio.CancelledError:
            cancelled += 1
    assert cancelled > 0
    os.close(stdin)
    assert control_groups_of(f"test-{os.getpid()}") == []
    await before.is_all()


async def test_an_agent_out_of_descriptors_starts_nothing_and_leaks_nothing(
    runner: Runner,
) -> None:
    before = Taken()
    stdin = os.open(os.devnull, os.O_RDONLY)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 64, hard))
    spare: list[int] = []
    with contextlib.suppress(OSError):
        while True:
            spare.append(os.dup(stdin))
    outcomes = []
    try:
        for _ in range(40):
            try:
                prepared = await runner.sandbox.prepare(runner.spec("normal", stdin=stdin))
                await prepared.close()
                outcomes.append("started")
            except SandboxError:
                outcomes.append("refused")
            os.close(spare.pop())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in (stdin, *spare):
            os.close(fd)
    assert outcomes[0] == "refused" and outcomes[-1] == "started", outcomes
    await before.is_all()
    assert control_groups_of(f"test-{os.getpid()}") == []


async def test_many_sandboxes_at_once_stay_apart(runner: Runner) -> None:
    async def one(number: int) -> None:
        script = f"echo {number} > mine; sleep 0.1; cat mine; id -u"
        outcome = await runner.run("/bin/sh", "-c", script)
        assert outcome.stdout == f"{number}\n1000\n".encode()

    await asyncio.gather(*(one(number) for number in range(20)))


async def test_two_agents_on_one_host_use_different_users(runner: Runner) -> None:
    other = BubblewrapSandbox(f"other-{os.getpid()}")
    before = os.umask(0o077)  # of an agent that keeps to itself
    await other.open()
    assert await other.probe() is None
    os.umask(before)
    ours, theirs = (
        {sandbox._as_root[0].take() for _ in range(3)} for sandbox in (runner.sandbox, other)
    )
    assert len(ours | theirs) == 6
    for user in ours:
        runner.sandbox._as_root[0].give_back(user)
    await other.close()


async def test_a_sandbox_is_not_started_from_another_thread(runner: Runner) -> None:
    def from_a_thread() -> None:
        with pytest.raises(SandboxError, match="main thread"):
            asyncio.run(runner.sandbox.prepare(runner.spec("normal")))  # type: ignore[arg-type]

    await asyncio.to_thread(from_a_thread)


async def test_what_does_not_die_keeps_what_it_holds(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifetime, "KILL_PATIENCE", 0.1)
    users, _ = runner.sandbox._as_root
    spec = runner.spec("linger", "deaf", stdin=os.open(os.devnull, os.O_RDONLY))
    prepared = await runner.sandbox.prepare(spec)
    free = len(users._free)
    prepared.go()
    # As if stuck in a driver's call: no signal ends it.
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda *_: None)
    with pytest.raises(SandboxError, match="does not die"):
        await prepared.kill("cancelled")
    with pytest.raises(SandboxError, match="does not die"):
        await prepared.close()
    assert len(users._free) == free
    assert members_of(f"test-{os.getpid()}")
    monkeypatch.undo()
    await prepared.close()
    os.close(spec.stdin)
    assert len(users._free) == free + 1
    assert not members_of(f"test-{os.getpid()}")


async def test_sandboxes_can_be_opened_again_in_a_process_whose_threads_are_older() -> None:
    """A thread made before the first opening does not see what that mounted."""
    await asyncio.to_thread(lambda: None)
    for _ in range(2):
        sandbox = BubblewrapSandbox(f"again-{os.getpid()}")
        await sandbox.open()
        await sandbox.close()
