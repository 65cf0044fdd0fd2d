"""Every field of a container's profile is needed: without it an attack succeeds, or what is read
back of a live container is not what it must be."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infra.sandbox import cgroup_layouts, kernel_files, seccomp
from infra.sandbox.docker import adapter
from infra.sandbox.docker.adapter import DockerSandbox
from infra.sandbox.port import SandboxError
from tests.abuse.attack import Enclosure, Order, drive
from tests.abuse.enclosures import Enclosed, PlainContainer, remove_images_of
from tests.abuse.matrix import ATTACKS
from tests.integration.docker import test_profile as read_back
from tests.support.containers import containers_of
from tests.support.sandboxes import LIMITS, Runner

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers are for root")

READ_BACK = "every layer, read back"
SELF = "processes, ids, descriptors, environment"
NETWORK = "network and families of sockets"
OWNER = f"docker-layers-{os.getpid()}"
ALLOW_ALL = bytes.fromhex("060000000000ff7f")  # one instruction: return SECCOMP_RET_ALLOW
Config = dict[str, Any]
Change = Callable[[Config], None]
Whole = tuple[Enclosed, DockerSandbox]


class Layer(msgspec.Struct, frozen=True):
    """How a container's config is without it, the attack that notices (None: what the engine
    tells is all that shows it), and files of the control group that stand in its place else.
    `refuses`: nothing starts without it. `unfiltered`: nor does the guard's filter refuse a thing.
    """

    change: Change
    noticed_by: str | None = None
    also: tuple[str, ...] = ()
    refuses: bool = False
    unfiltered: bool = False


def host(**fields: Any) -> Change:
    """Other fields of HostConfig; None takes one away."""

    def change(config: Config) -> None:
        for name, value in fields.items():
            assert name in config["HostConfig"], name
            config["HostConfig"][name] = value
            if value is None:
                del config["HostConfig"][name]

    return change


def without_ulimit(name: str) -> Change:
    """One limit less."""

    def change(config: Config) -> None:
        limits = config["HostConfig"]["Ulimits"]
        assert name in {limit["Name"] for limit in limits}
        config["HostConfig"]["Ulimits"] = [one for one in limits if one["Name"] != name]

    return change


def other_tmpfs(path: str, old: str, new: str) -> Change:
    """Another option of a folder in memory."""

    def change(config: Config) -> None:
        options = config["HostConfig"]["Tmpfs"]
        assert old in options[path], options
        options[path] = options[path].replace(old, new)

    return change


def with_a_network(config: Config) -> None:
    config["NetworkDisabled"] = False
    config["HostConfig"]["NetworkMode"] = "bridge"


def with_the_hosts_name(config: Config) -> None:
    del config["Hostname"]
    config["HostConfig"]["UTSMode"] = "host"


def with_privileges(config: Config) -> None:
    config["HostConfig"]["Privileged"] = True


def as_root(config: Config) -> None:
    config["User"] = "0:0"


def without_security(word: str) -> Change:
    """One of SecurityOpt less."""

    def change(config: Config) -> None:
        options = config["HostConfig"]["SecurityOpt"]
        config["HostConfig"]["SecurityOpt"] = [one for one in options if word not in one]
        assert len(config["HostConfig"]["SecurityOpt"]) == len(options) - 1

    return change


def unfiltered(config: Config) -> None:
    without_security("seccomp=")(config)
    config["HostConfig"]["SecurityOpt"].append("seccomp=unconfined")


def writable_mounts(config: Config) -> None:
    for mount in config["HostConfig"]["Mounts"]:
        mount["ReadOnly"] = False


_BYTES, _FILES = f"size={LIMITS.work_bytes}", f"nr_inodes={LIMITS.work_files + 1}"
_MEMORY = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max", "memory.swap.max")
LAYERS = {
    "network": Layer(with_a_network, NETWORK),
    "user of its own": Layer(as_root, refuses=True),  # the agent's socket is for that user
    "no capabilities": Layer(host(CapDrop=[]), SELF),
    "no new privileges": Layer(without_security("no-new-privileges"), refuses=True),
    "filters of system calls": Layer(unfiltered, "61 system calls", unfiltered=True),
    "the guard's filter": Layer(lambda _: None, NETWORK, unfiltered=True),
    "the engine's filter": Layer(unfiltered, READ_BACK),
    "our words to the engine, not its own": Layer(without_security("seccomp=")),
    "not privileged": Layer(with_privileges, SELF),
    "read-only root": Layer(host(ReadonlyRootfs=False), SELF),
    "read-only mounts": Layer(writable_mounts),
    "IPC namespace": Layer(host(IpcMode="host"), SELF),
    "process namespace": Layer(host(PidMode="host")),
    "name of its own": Layer(with_the_hosts_name, SELF),
    "control group namespace": Layer(host(CgroupnsMode="host"), SELF),
    "masks over /proc and /sys": Layer(host(MaskedPaths=[]), READ_BACK),
    "read-only /proc/sys": Layer(host(ReadonlyPaths=[])),
    "limit on memory": Layer(host(Memory=None, MemorySwap=None), "memory bomb", _MEMORY),
    "limit on swap": Layer(host(MemorySwap=-1), READ_BACK, _MEMORY[1::2]),
    "no swapping": Layer(host(MemorySwappiness=60)),
    "limit on processes": Layer(host(PidsLimit=None), "fork bomb", ("pids.max",)),
    "limit on CPU": Layer(
        host(NanoCpus=None), "CPU in 8 processes", ("cpu.cfs_quota_us", "cpu.max")
    ),
    "first for the kernel to kill": Layer(host(OomScoreAdj=0)),
    "core files": Layer(without_ulimit("core"), "core dump"),
    "size of a file": Layer(without_ulimit("fsize"), "sparse file of 1 TiB"),
    "descriptors": Layer(without_ulimit("nofile"), "descriptors without end"),
    "message queues": Layer(without_ulimit("msgqueue")),
    "pending signals": Layer(without_ulimit("sigpending")),
    "size of /work": Layer(other_tmpfs("/work", _BYTES, "size=80m"), "fill the work folder"),
    "files of /work": Layer(other_tmpfs("/work", _FILES, "nr_inodes=9000"), "very many files"),
    "no programs in /tmp": Layer(other_tmpfs("/tmp", "noexec", "exec")),
    "no set-id bits": Layer(other_tmpfs("/work", "nosuid", "suid"), READ_BACK),
    "no devices": Layer(other_tmpfs("/work", "nodev", "dev"), READ_BACK),
    "size of the engine's own /dev/shm": Layer(host(ShmSize=1 << 30)),
    "no log": Layer(host(LogConfig={"Type": "json-file", "Config": {}})),
    "gone when it has ended": Layer(host(AutoRemove=False)),
    "never started again": Layer(host(AutoRemove=False, RestartPolicy={"Name": "always"})),
    "process 1 is the guard": Layer(host(Init=True)),
}
if Path("/sys/fs/cgroup/cgroup.controllers").exists():
    del LAYERS["no swapping"]
else:
    LAYERS["limit on TCP's buffers"] = Layer(
        lambda _: None, "unread data in TCP", ("memory.kmem.tcp.limit_in_bytes",)
    )


@pytest.fixture
def whole(
    opened: tuple[Mapping[str, Enclosure], Mapping[str, str]],
) -> Whole:
    """The functions, and a sandbox of which a layer can be taken away."""
    enclosures, lacking = opened
    if "docker" in lacking:
        pytest.skip(f"no containers: {lacking['docker']}")
    enclosed, plain = enclosures["docker"], enclosures["D0"]
    assert isinstance(enclosed, Enclosed) and isinstance(plain, PlainContainer)
    return enclosed, DockerSandbox(OWNER, run_image=plain.run_image, build_image=plain.build_image)


@pytest.mark.parametrize("name", LAYERS)
async def test_without_a_layer_something_gets_through_or_is_seen(
    name: str, whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    enclosed, sandbox = whole
    layer = LAYERS[name]
    real = adapter.container_config

    def container_config(*given: Any, **more: Any) -> Config:
        config = real(*given, **more)
        layer.change(config)
        return config

    def write(path: str, value: object) -> None:
        if Path(path).name not in layer.also:
            kernel_files.write(path, value)  # type: ignore[arg-type]

    monkeypatch.setattr(adapter, "container_config", container_config)
    monkeypatch.setattr(cgroup_layouts, "write", write)
    if layer.unfiltered:
        monkeypatch.setattr(seccomp, "program", lambda netlink: ALLOW_ALL)
    await sandbox.open()
    try:
        mutated = Enclosed("docker", sandbox, enclosed.functions)
        if layer.refuses:
            monkeypatch.setattr(adapter, "_START_PATIENCE", 3.0)
            with pytest.raises(SandboxError):
                await Runner(sandbox, enclosed.functions).run("/bin/true")
            return
        if layer.noticed_by is None:
            assert await complaints(mutated, sandbox)
            return
        (attack,) = (attack for attack in ATTACKS if attack.name == layer.noticed_by)
        seen = await drive(mutated, attack)
    finally:
        await sandbox.close()
        await remove_images_of(OWNER)
    assert seen.looked or seen.said, "the program must have run"
    assert attack.judge(seen)


async def test_the_whole_profile_is_read_back_without_a_complaint(
    whole: Whole,
) -> None:
    enclosed, sandbox = whole
    await sandbox.open()
    try:
        assert await complaints(Enclosed("docker", sandbox, enclosed.functions), sandbox) == []
    finally:
        await sandbox.close()


async def complaints(enclosed: Enclosed, sandbox: DockerSandbox) -> list[str]:
    """What the tests of the profile find wrong with a live container."""
    token, stdin = f"{os.getpid()}-profile", os.open(os.devnull, os.O_RDONLY)
    order = Order(token=token, argv=("/bin/true",), limits=LIMITS, stdin=stdin, sources=None)
    spec = msgspec.structs.replace(enclosed.spec(order), function="ann/echo:1", artifact=None)
    prepared = await sandbox.prepare(spec)
    try:
        seen = (await containers_of(OWNER))[f"hermes-{spec.name}"]
        live = read_back.Live(spec, seen, read_back._group_files(seen["State"]["Pid"]))
        return [check.__name__ for check in _checks() if not _holds(check, live)]
    finally:
        await prepared.close()
        os.close(stdin)


def _checks() -> list[Callable[[read_back.Live], None]]:
    names = [name for name in dir(read_back) if name.startswith("test_")]
    checks = [getattr(read_back, name) for name in names]
    return [check for check in checks if not asyncio.iscoroutinefunction(check)]


def _holds(check: Callable[[read_back.Live], None], live: read_back.Live) -> bool:
    try:
        check(live)
    except (AssertionError, KeyError):
        return False
    return True
