"""Programs that attack, and how the host tells that they were stopped."""

from __future__ import annotations

import os
import re
import signal

from cli.escape import escape
from infra.sandbox.port import MIB
from tests.abuse import evidence, readback
from tests.abuse.attack import Attack, Judge
from tests.abuse.canaries import ENVIRONMENT
from tests.abuse.evidence import Seen
from tests.support.sandboxes import LIMITS

B0, D0 = frozenset({"B0"}), frozenset({"D0"})
NOWHERE: frozenset[str] = frozenset()
_OURS = 3  # processes of the sandbox itself, on top of the program's
_REFUSALS = {
    "No such file or directory", "Permission denied", "Read-only file system",
    "Operation not permitted", "Function not implemented", "Not a directory", "empty", "refused",
}  # fmt: skip
_NO_SOCKET = {
    "Address family not supported by protocol", "Socket type not supported",
    "Protocol not supported", *_REFUSALS,
}  # fmt: skip


def every(*judges: Judge) -> Judge:
    return lambda seen: [found for judge in judges for found in judge(seen)]


def calm(seen: Seen) -> list[str]:
    """What no attack may do, whatever it is about."""
    found = list(seen.harm)
    if seen.survivors:
        found.append(f"{seen.survivors} processes outlived the end")
    if not seen.ended:
        found.append("it did not end")
    return found


def _normal(seen: Seen) -> list[str]:
    wrong = [] if seen.exit_code == 5 else [f"it ended with {seen.exit_code}, {seen.signal}"]
    if seen.stderr != b"to stderr\n" or seen.said.get("threads") != "8":
        wrong.append("its output is not what it wrote")
    return wrong


def _tasks(seen: Seen) -> list[str]:
    most = seen.looked.get("tasks", 0)
    if most > LIMITS.processes + _OURS:
        return [f"{most} tasks lived"]
    return [] if seen.processes_limited or not most else ["the limit was not reached"]


def _memory(seen: Seen) -> list[str]:
    used = seen.looked.get("resident", 0)
    if used > LIMITS.memory + 8 * MIB:
        return [f"{used // MIB} MiB were in use"]
    return [] if seen.oom else ["the limit was not reached"]


def _descriptors(seen: Seen) -> list[str]:
    most = seen.looked.get("descriptors", 0)
    return [f"{most} descriptors were open"] if most > 1024 else []


def _cpu(seen: Seen) -> list[str]:
    used = seen.looked.get("cpu", 99.0)
    return [f"{used:.2f} CPU seconds were used in 5 s"] if used > 0.75 else []


_SIZES = {
    "/work": LIMITS.work_bytes,
    "/tmp": LIMITS.memory // 8,
    "/dev/shm": LIMITS.memory // 8,
}


def _stuffed(most_bytes: int, most_files: int = LIMITS.work_files) -> Judge:
    def judge(seen: Seen) -> list[str]:
        found = []
        if "bytes" not in seen.looked:
            return [f"it ended early: {seen.exit_code}, {seen.signal}"]
        if seen.looked["bytes"] > most_bytes:
            found.append(f"{seen.looked['bytes'] // MIB} MiB were written")
        if seen.looked["files"] > most_files:
            found.append(f"{seen.looked['files']} files were made")
        if seen.looked["longest"] > LIMITS.file_bytes:
            found.append(f"a file has {seen.looked['longest'] >> 30} GiB")
        return found

    return judge


def _no_core(seen: Seen) -> list[str]:
    if "files" not in seen.looked:
        return ["it ended early"]
    return ["a core file was written"] if seen.looked["files"] else []


def capped(seen: Seen) -> list[str]:
    # What pipes hold and what comes until the kill arrives beside the limit.
    if seen.received > LIMITS.output + 15 * MIB:
        return [f"{seen.received // MIB} MiB arrived"]
    return [] if seen.killed == "output_limit" else ["nothing stopped it"]


def _unread(seen: Seen) -> list[str]:
    return [] if seen.killed == "timed_out" else [f"it ended by itself: {seen.exit_code}"]


def _bytes(seen: Seen) -> list[str]:
    wanted = b"".join(bytes((i * 7 + at) % 256 for at in range(997)) for i in range(1000))
    return [] if seen.stdout == wanted else ["other bytes arrived than were written"]


def _escapes(seen: Seen) -> list[str]:
    shown = escape(seen.stdout.decode("utf-8", "replace"))
    raw = b"\x1b]0;title\x07\n" in seen.stdout and b"\xe2\x80\xaetxt.exe" in seen.stdout
    wrong = [] if raw else ["what arrived is not what was written"]
    if re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown):
        wrong.append("a terminal would obey it")
    return wrong


def ended_by(reason: str) -> Judge:
    def judge(seen: Seen) -> list[str]:
        return [] if seen.killed == reason else [f"it was not ended: {seen.exit_code}"]

    return judge


def _quick(seen: Seen) -> list[str]:
    wrong = [] if seen.exit_code == 0 else [f"it ended with {seen.exit_code}, {seen.signal}"]
    return wrong if seen.wall < 6 else [*wrong, "the end was not its main program's"]


def _silent(seen: Seen) -> list[str]:
    return [] if seen.exit_code == 7 else [f"it ended with {seen.exit_code}, {seen.signal}"]


def _files(seen: Seen) -> list[str]:
    if not seen.said:
        return ["it said nothing"]
    return [
        f"{path}: {_what(path, how, seen)}"
        for path, how in seen.said.items()
        if path.startswith("/") and how not in _REFUSALS
    ]


def _what(path: str, how: str, seen: Seen) -> str:
    try:
        content = bytes.fromhex(how).decode("utf-8", "replace")
    except ValueError:
        return how
    return "somebody else's content" if seen.secret in content else f"read ({content[:12]!r})"


def _self(seen: Seen) -> list[str]:
    found = list(seen.looked.get("privileges", ["nothing was seen of it"]))
    if seen.said.get("environment") == ENVIRONMENT:
        found.append("the agent's environment was read")
    found += [
        f"{step} is open on somebody else's file"
        for step, how in seen.said.items()
        if step.startswith("descriptor") and seen.secret.encode().hex() == how
    ]
    if seen.said.get("kill") == "done":
        found.append("somebody else's process was signalled")
    return found


def _read_back(seen: Seen) -> list[str]:
    missing = seen.looked.get("gaps", ["all"])
    return [f"not there: {', '.join(missing)}"] if missing else []


def _identity(seen: Seen) -> list[str]:
    found = []
    if seen.said.get("hostname") == os.uname().nodename:
        found.append("the host's name is told")
    if "hermes/" in seen.said.get("group", ""):
        found.append("the host's control groups are told")
    return found


def _calls(seen: Seen) -> list[str]:
    expected = {"setuid": "Invalid argument", "setpriority": "Permission denied"}
    # A filter may also end the caller, by SIGSYS.
    refusals = _REFUSALS | {f"signal {signal.SIGSYS.value}"}
    got = {step: how for step, how in seen.said.items() if how not in refusals}
    got = {step: how for step, how in got.items() if expected.get(step) != how}
    reached = [f"{len(got)} calls reached the kernel: {', '.join(sorted(got))}"] if got else []
    return reached if len(seen.said) >= 58 else [*reached, "it ended early"]


def _network(seen: Seen) -> list[str]:
    if len(seen.said) < 10:
        return ["it said nothing"]
    own = {"tcp", "udp", "abstract", "path"}  # judged by who was reached, see `harm`
    made = [
        step
        for step, how in seen.said.items()
        if how not in _NO_SOCKET and how and step.partition(":")[0] not in own | {"held"}
    ]
    return [f"sockets made: {', '.join(made)}"] if made else []


def _filters(seen: Seen) -> list[str]:
    got = [step for step, how in seen.said.items() if how != "Operation not permitted"]
    if len(seen.said) < 4:
        return ["it ended early"]
    return [f"the kernel looked at: {', '.join(got)}"] if got else []


_QUEUED = 200  # MiB that each of these attacks leaves in sockets
_QUEUE_BOUND = 64 * MIB  # what sockets may hold beside the limit on memory, in all


def _queued(kind: str) -> Judge:
    def judge(seen: Seen) -> list[str]:
        if seen.oom:
            return []
        if kind not in seen.looked:
            return ["it ended early"]
        waiting = seen.looked[kind]
        return [f"{waiting // MIB} MiB waited outside the limit"] if waiting > _QUEUE_BOUND else []

    return judge


def _queued_locally(seen: Seen) -> list[str]:
    kept = int(seen.said.get("stream") or seen.said.get("datagram") or 0) * MIB
    return [f"{kept // MIB} MiB waited outside the limit"] if kept > LIMITS.memory else []


_PATHS = """
/etc/shadow /etc/gshadow /root/.bashrc /run/docker.sock /var/run/docker.sock
/run/containerd/containerd.sock /run/hermes-sandbox /etc/ssh/sshd_config /boot
/proc/kcore /proc/kmsg /proc/keys /proc/timer_list /proc/1/root/etc/shadow
/proc/sysrq-trigger:w /proc/sys/kernel/core_pattern:w /proc/sys/kernel/hostname:w
/proc/sys/vm/drop_caches:w /sys/kernel/uevent_helper:w /sys/power/state:w
/sys/kernel/debug /dev/mem /dev/kmsg /dev/vda /dev/sda /dev/kvm /dev/fuse /dev/vsock
/dev/userfaultfd /dev/net/tun /dev/loop-control /dev/nvidia0 /fn/bomb:w
{private} {public} {writable}:w {folder}
""".split()  # noqa: SIM905


def _stuff(
    name: str, expected: str, folder: str, *, most: int, real: frozenset[str], what: str = "bytes"
) -> Attack:
    return Attack(
        name=name, expected=expected, argv=("/fn/stuff", what, folder, "60"),
        look=evidence.stuffed(folder), judge=every(calm, _stuffed(most)), real=real,
    )  # fmt: skip


RUNS = (
    Attack(name="normal program (no attack)", expected="exit 5, both streams",
           argv=("/fn/normal", "a word"), judge=every(calm, _normal), real=NOWHERE),
    Attack(name="fork bomb", expected="EAGAIN at the limit", argv=("/fn/bomb", "processes", "300"),
           look=evidence.tasks, judge=every(calm, _tasks)),
    Attack(name="thread bomb", expected="EAGAIN at the limit", argv=("/fn/bomb", "threads", "300"),
           look=evidence.tasks, judge=every(calm, _tasks)),
    Attack(name="memory bomb", expected="killed at the limit", argv=("/fn/bomb", "memory", "256"),
           look=evidence.resident, judge=every(calm, _memory)),
    Attack(name="memory bomb of 16 children", expected="killed at the limit",
           argv=("/fn/bomb", "family", "256"), look=evidence.resident, judge=every(calm, _memory)),
    Attack(name="System V shared memory", expected="killed at the limit",
           argv=("/fn/bomb", "shared", "256"), look=evidence.resident, judge=every(calm, _memory)),
    _stuff("fill the work folder", "ENOSPC", ".", most=LIMITS.work_bytes, real=B0 | D0),
    _stuff("fill /tmp", "ENOSPC", "/tmp", most=_SIZES["/tmp"], real=B0 | D0),
    _stuff("fill /dev/shm", "ENOSPC", "/dev/shm", most=_SIZES["/dev/shm"], real=B0 | D0),
    _stuff("fill /dev", "EROFS or EACCES", "/dev", most=0, real=B0 | D0),
    _stuff("fill /", "EROFS or EACCES", "/", most=0, real=D0),
    _stuff("fill /var/tmp", "EROFS or absent", "/var/tmp", most=0, real=NOWHERE),
    _stuff("fill /root", "EROFS or absent", "/root", most=0, real=NOWHERE),
    _stuff("fill /fn", "EROFS", "/fn", most=0, real=NOWHERE),
    Attack(name="very many files", expected="ENOSPC", argv=("/fn/stuff", "files", ".", "3000"),
           look=evidence.stuffed("."), judge=every(calm, _stuffed(0))),
    Attack(name="sparse file of 1 TiB", expected="EFBIG", argv=("/fn/stuff", "sparse", ".", "1"),
           look=evidence.stuffed("."), judge=every(calm, _stuffed(0))),
    Attack(name="descriptors without end", expected="EMFILE",
           argv=("/fn/bomb", "descriptors", "5000"), look=evidence.descriptors,
           judge=every(calm, _descriptors)),
    Attack(name="core dump", expected="none",
           argv=("/bin/sh", "-c", "ulimit -c unlimited; /fn/hog core; exec /fn/bomb nothing 1"),
           look=evidence.stuffed(".", "core*"), judge=every(calm, _no_core)),
    Attack(name="CPU in 8 processes", expected="at most the quota", argv=("/fn/bomb", "spin", "8"),
           limits={"cpus": 0.1, "time": 15.0}, look=evidence.cpu, judge=every(calm, _cpu)),
    Attack(name="flood of output", expected="killed at the limit", argv=("/fn/spew", "flood", "64"),
           judge=every(calm, capped)),
    Attack(name="flood that nobody reads", expected="waits, killed at the limit on time",
           argv=("/fn/spew", "flood", "64"), read=False, limits={"time": 1.0},
           judge=every(calm, _unread), controls=B0, real=B0),
    Attack(name="endless line", expected="killed at the limit", argv=("/fn/spew", "line", "64"),
           judge=every(calm, capped)),
    Attack(name="bytes of every value", expected="arrive as written", argv=("/fn/spew", "bytes"),
           judge=every(calm, _bytes), real=NOWHERE),
    Attack(name="terminal escapes, bidi", expected="arrive raw, shown escaped",
           argv=("/fn/spew", "escapes"), judge=every(calm, _escapes), real=NOWHERE),
    Attack(name="deaf to SIGTERM", expected="SIGKILL after the grace", argv=("/fn/linger", "deaf"),
           cancel_after=1.0, judge=calm, real=B0),
    Attack(name="sleep forever", expected="killed at the limit on time",
           argv=("/fn/linger", "sleep"), limits={"time": 1.0},
           judge=every(calm, ended_by("timed_out")), real=B0),
    Attack(name="daemon", expected="ends with the main program", argv=("/fn/linger", "daemon"),
           judge=every(calm, _quick), real=B0),
    Attack(name="closed stdout, still at work", expected="exit 7", argv=("/fn/linger", "silent"),
           judge=every(calm, _silent), real=NOWHERE),
    Attack(name="read and write the host's files", expected="nothing",
           argv=("/fn/peek", "files", *_PATHS), judge=every(calm, _files), real=B0),
    Attack(name="processes, ids, descriptors, environment", expected="none but its own",
           argv=("/fn/peek", "self", "{victim}"), look=evidence.privileges,
           judge=every(calm, _self, _identity)),
    Attack(name="every layer, read back", expected="all there", argv=("/fn/bomb", "nothing", "1"),
           look=readback.gaps, judge=every(calm, _read_back)),
    Attack(name="network and families of sockets", expected="nobody reached",
           argv=("/fn/call", "{addresses}"), judge=every(calm, _network)),
    Attack(name="61 system calls", expected="refused", argv=("/fn/calls",),
           judge=every(calm, _calls)),
    Attack(name="filters of its own", expected="refused", argv=("/fn/filters",),
           judge=every(calm, _filters)),
    Attack(name="unread data in TCP", expected="bounded", look=evidence.queued,
           argv=("/fn/queues", "tcp", str(_QUEUED), "4"), judge=every(calm, _queued("tcp"))),
    Attack(name="unread data in UDP", expected="refused", look=evidence.queued,
           argv=("/fn/queues", "udp", str(_QUEUED), "4"), judge=every(calm, _queued("udp"))),
    Attack(name="unread data in unix streams", expected="bounded by memory",
           argv=("/fn/queues", "stream", str(_QUEUED), "4"), judge=every(calm, _queued_locally)),
    Attack(name="unread data in unix datagrams", expected="bounded by memory",
           argv=("/fn/queues", "datagram", str(_QUEUED), "4"),
           judge=every(calm, _queued_locally)),
)  # fmt: skip
