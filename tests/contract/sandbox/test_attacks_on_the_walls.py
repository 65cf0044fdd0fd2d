"""Programs that look or reach out of the sandbox."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.support.sandboxes import Runner

HOST_PATHS = """
/etc/shadow /etc/gshadow /etc/ssh/sshd_config /etc/hostname /etc/passwd:w /etc/machine-id
/root /root/.bashrc /home /var /var/run/docker.sock /run/docker.sock /run/hermes-sandbox /mnt /srv
/opt /sys /sys/fs/cgroup /sys/kernel/debug /boot
/proc/kcore /proc/kmsg /proc/keys /proc/timer_list /proc/1/root/etc/shadow
/proc/sysrq-trigger:w /proc/sys/kernel/core_pattern:w /proc/sys/kernel/hostname:w
/proc/sys/vm/drop_caches:w /proc/sys/user/max_user_namespaces:w
/dev/mem /dev/kmsg /dev/vda /dev/sda /dev/kvm /dev/fuse /dev/vsock /dev/userfaultfd
/dev/net/tun /dev/loop-control /dev/nvidia0 /fn/normal:w /usr/bin/env:w
""".split()  # noqa: SIM905

REFUSALS = {
    "No such file or directory",
    "Permission denied",
    "Read-only file system",
    "Operation not permitted",
    "empty",
}


async def test_the_hosts_files_are_out_of_sight(runner: Runner, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of another tenant")
    secret.chmod(0o644)
    outcome = await runner.run("look", *HOST_PATHS, str(secret))
    assert len(outcome.steps) == len(HOST_PATHS) + 1
    reached = {path: how for path, how in outcome.steps.items() if how not in REFUSALS}
    assert reached == {}


async def test_a_program_sees_itself_and_nothing_of_the_agent(runner: Runner) -> None:
    outcome = await runner.run("look", ":self", env={"GIVEN": "1"})
    steps = outcome.steps
    assert int(steps["processes"]) == 2, "process 1 of the sandbox and the program"
    assert steps["descriptors"] == "0"
    assert int(steps["uid"]) >= 1000, "nobody whom the host knows"
    assert steps["foreign"] == "0"
    for capabilities in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        assert int(steps[capabilities], 16) == 0
    assert steps["NoNewPrivs"] == "1"
    assert steps["Seccomp"] == "2"
    names = {line[4:] for line in outcome.stdout.decode().splitlines() if line.startswith("env=")}
    assert names == {"PATH", "HOME", "LANG", "TMPDIR", "USER", "PWD", "GIVEN"}


async def test_a_device_is_there_only_for_the_run_it_was_given_to(runner: Runner) -> None:
    devices = [path for path in ("/dev/fuse", "/dev/net/tun") if Path(path).is_char_device()]
    if not devices:
        pytest.skip("no device to give away")
    listing = (
        "/bin/sh",
        "-c",
        f"stat -c '%F %n' {' '.join(devices)} /dev/null; touch /dev/x; ls /sys; ls -A /sys/fs",
    )
    outcome = await runner.run(*listing, gpu_devices=tuple(devices))
    seen = outcome.stdout.decode().splitlines()
    assert seen[: len(devices) + 1] == [
        f"character special file {path}" for path in (*devices, "/dev/null")
    ]
    assert any(why in outcome.stderr for why in (b"Read-only file system", b"Permission denied"))
    assert "devices" in seen, "/sys tells the driver's library about the hardware"
    assert "cgroup" not in seen, "it tells nothing about other sandboxes"
    again = await runner.run(*listing)
    assert again.stdout == b"character special file /dev/null\n"


async def test_every_kind_of_namespace_is_its_own(runner: Runner) -> None:
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
    outcome = await runner.run("/usr/bin/readlink", *(f"/proc/self/ns/{kind}" for kind in kinds))
    inside = outcome.stdout.decode().split()
    assert len(inside) == len(kinds)
    assert not set(inside) & {str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds}


async def test_only_the_programs_own_folders_are_mounted_writable(runner: Runner) -> None:
    # A device (what is hidden is /dev/null) takes writes and keeps nothing.
    script = """
    while read -r _ at _ options _; do
        if [ -w "$at" ] && [ ! -c "$at" ]; then echo "$at $options"; fi
    done </proc/self/mounts
    """
    outcome = await runner.run("/bin/sh", "-c", script)
    writable = dict(line.split() for line in outcome.stdout.decode().splitlines())
    # Queues of messages are files too, bounded by a limit of their own.
    assert writable.keys() - {"/dev/mqueue"} == {"/work", "/tmp", "/dev/shm"}
    for options in writable.values():
        assert {"rw", "nosuid", "nodev"} <= set(options.split(","))


async def test_an_inheritable_descriptor_of_the_agent_stays_out(runner: Runner) -> None:
    leaky = os.open("/etc/shadow", os.O_RDONLY)
    os.set_inheritable(leaky, True)
    try:
        outcome = await runner.run("look", ":self")
    finally:
        os.close(leaky)
    assert outcome.steps["descriptors"] == "0"


@pytest.fixture
def listeners(tmp_path: Path):
    """Listeners on the host: TCP and UDP on one port, an abstract name, a path."""
    path = str(tmp_path / "socket")
    name = f"hermes-canary-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as local,
    ):
        port = tcp.getsockname()[1]
        udp.bind(("127.0.0.1", port))
        abstract.bind(f"\0{name}")
        local.bind(path)
        abstract.listen()
        local.listen()
        for listener in (tcp, udp, abstract, local):
            listener.setblocking(False)
        yield [str(port), name, path], [tcp, udp, abstract, local]


async def test_no_network_is_reachable(runner: Runner, listeners) -> None:
    addresses, sockets = listeners
    outcome = await runner.run("reach", *addresses)
    steps = outcome.steps
    assert steps.pop("interfaces") == "0"
    assert int(steps.pop("routes")) <= 0
    assert len(steps) == 12
    assert steps["vsock-pair"] == "Address family not supported by protocol", "it got to the kernel"
    assert "done" not in steps.values(), steps
    for listener in sockets:
        with pytest.raises(BlockingIOError):
            listener.recv(1) if listener.type == socket.SOCK_DGRAM else listener.accept()


async def test_dangerous_system_calls_are_refused(runner: Runner) -> None:
    outcome = await runner.run("calls")
    steps = outcome.steps
    assert len(steps) == 62
    refusals = {"Operation not permitted", "Function not implemented", "refused"}
    # These two are no matter of the filter: the kernel looks at the user, and says so.
    assert steps.pop("setuid") in {"Invalid argument", "Operation not permitted"}
    assert steps.pop("setpriority") == "Permission denied"
    # Its numbers are another architecture's to some filters, and that ends the program.
    assert steps.pop("x32") in {"Function not implemented", "signal 31"}
    assert {name: how for name, how in steps.items() if how not in refusals} == {}
