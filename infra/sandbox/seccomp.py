"""The system call filter of both sandboxes as classic BPF, for x86_64.

Refused are calls that change namespaces, mounts, the clock or the kernel, that look into other
processes, and kernel interfaces with a record of escapes (io_uring, userfaultfd, bpf, keyrings).
Filters of a program's own are refused too: thousands of them stop a kernel (seen with Linux 6.18).
Of the internet's sockets only TCP is left, since nothing bounds what waits in the others; netlink's
queues are charged to nobody either, so only a GPU's driver gets it (it looks for its devices).
Numbers above the newest one reviewed do not exist for the program (ENOSYS), so a newer kernel opens
nothing by itself. Built by hand since libseccomp is slow, and a host may lack it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import struct
from functools import cache

_NEWEST_REVIEWED = 462  # mseal
# Numbers that no call of this architecture had when this was reviewed.
_NOT_IN_USE = (335, 423)

REFUSED = {
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
    "pidfd_getfd": 438, "process_madvise": 440, "process_mrelease": 448,
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "mount_setattr": 442, "statmount": 457, "listmount": 458,
    "unshare": 272, "setns": 308,
    "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "vmsplice": 278,
    "add_key": 248, "request_key": 249, "keyctl": 250, "memfd_secret": 447,
    "lsm_get_self_attr": 459, "lsm_set_self_attr": 460, "lsm_list_modules": 461,
    "create_module": 174, "init_module": 175, "delete_module": 176, "get_kernel_syms": 177,
    "query_module": 178, "finit_module": 313, "kexec_load": 246, "kexec_file_load": 320,
    "reboot": 169, "swapon": 167, "swapoff": 168, "acct": 163, "quotactl": 179,
    "quotactl_fd": 443, "nfsservctl": 180, "uselib": 134, "ustat": 136, "sysfs": 139,
    "_sysctl": 156, "lookup_dcookie": 212, "vhangup": 153, "modify_ldt": 154,
    "fanotify_init": 300, "fanotify_mark": 301,
    "name_to_handle_at": 303, "open_by_handle_at": 304, "syslog": 103,
    "iopl": 172, "ioperm": 173, "settimeofday": 164, "clock_settime": 227, "adjtimex": 159,
    "clock_adjtime": 305, "sethostname": 170, "setdomainname": 171, "move_pages": 279,
    "migrate_pages": 256, "seccomp": 317,
}  # fmt: skip
# Libraries take ENOSYS for "an older kernel" and fall back; glibc does so for clone3, whose flags a
# filter cannot see. What io_setup takes is counted for the whole host (fs.aio-max-nr): one program
# could leave nothing of it to all others.
ABSENT = {
    "clone3": 435, "io_setup": 206,
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
}  # fmt: skip

_CLONE, _SOCKET, _SOCKETPAIR, _IOCTL, _PERSONALITY = 56, 41, 53, 16, 135
_PRCTL, _SETSOCKOPT, _PRLIMIT = 157, 54, 302
_NAMESPACE_FLAGS = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_UNIX, _INTERNET, _NETLINK = 1, (2, 10), 16
_STREAM, _TYPE_MASK, _TCP = 1, 0xF, (0, 6)  # 0: the usual protocol of the type
_SET_SECCOMP = 22  # of prctl
_SOL_SOCKET = 1
_ATTACH_FILTER = (26, 50, 51, 52)  # SO_ATTACH_FILTER, _BPF, _REUSEPORT_CBPF, _REUSEPORT_EBPF
_TERMINAL_INJECTION = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_PERSONALITIES = (0, 0x0008, 0x20000, 0x20008, 0xFFFFFFFF)  # never ADDR_NO_RANDOMIZE

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_AUDIT_ARCH_X86_64 = 0xC000003E
_LOAD, _EQUAL, _GREATER, _ANY_BIT, _RETURN, _AND = 0x20, 0x15, 0x25, 0x45, 0x06, 0x54
_NUMBER, _ARCH = 0, 4
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


def supported() -> bool:
    """Whether the filter knows this machine's system calls."""
    return platform.machine() == "x86_64"


@cache
def program(*, netlink: bool = False) -> bytes:
    """The filter as bwrap's --seccomp and the containers' guard read it: struct sock_filter[]."""
    refuse, absent = _errno(errno.EPERM), _errno(errno.ENOSYS)
    code = [
        _op(_LOAD, _ARCH),
        _op(_EQUAL, _AUDIT_ARCH_X86_64, 1, 0),
        _op(_RETURN, _KILL),
        _op(_LOAD, _NUMBER),
        # The x32 calls set bit 30 of the number and end here too.
        *_if(_GREATER, _NEWEST_REVIEWED, absent),
    ]
    first, last = _NOT_IN_USE
    code += [
        _op(_GREATER, first - 1, 0, 2),
        _op(_GREATER, last, 1, 0),
        _op(_RETURN, absent),
    ]
    for number in sorted(ABSENT.values()):
        code += _if(_EQUAL, number, absent)
    for number in sorted(REFUSED.values()):
        code += _if(_EQUAL, number, refuse)
    code += _argument_rule(_CLONE, 0, _if(_ANY_BIT, _NAMESPACE_FLAGS, refuse))
    for call in (_SOCKET, _SOCKETPAIR):
        code += _rule(call, _socket_body(netlink))
    code += _argument_rule(_PRCTL, 0, _if(_EQUAL, _SET_SECCOMP, refuse))
    code += _rule(_SETSOCKOPT, _setsockopt_body(refuse))
    code += _argument_rule(
        _IOCTL, 1, [op for request in _TERMINAL_INJECTION for op in _if(_EQUAL, request, refuse)]
    )
    code += _argument_rule(_PERSONALITY, 0, _only(_PERSONALITIES, refuse))
    # Limits of its own only: process 1 has the same user.
    code += _argument_rule(_PRLIMIT, 0, _only((0,), refuse))
    code.append(_op(_RETURN, _ALLOW))
    return b"".join(code)


class Filters:
    """The programs as files in memory, to be handed over as descriptors."""

    def __init__(self) -> None:
        self._files: dict[bool, int] = {}  # by whether netlink is allowed

    def open(self) -> None:
        """Write them. Raises OSError, also where it would kill every program."""
        if not supported():
            raise OSError("the filter of system calls knows x86_64 only")
        for netlink in (False, True):
            flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
            self._files[netlink] = os.memfd_create("hermes-seccomp", flags)
            os.write(self._files[netlink], program(netlink=netlink))
            # Every process 1 gets the one descriptor.
            fcntl.fcntl(self._files[netlink], fcntl.F_ADD_SEALS, _SEALS)

    def file(self, *, netlink: bool) -> int:
        """The descriptor; it stays ours, and its offset is at the end."""
        return self._files[netlink]

    def close(self) -> None:
        """Forget them."""
        while self._files:
            os.close(self._files.popitem()[1])


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _errno(number: int) -> int:
    return 0x00050000 | number


def _if(test: int, value: int, verdict: int) -> list[bytes]:
    return [_op(test, value, 0, 1), _op(_RETURN, verdict)]


def _only(values: tuple[int, ...], verdict: int) -> list[bytes]:
    checks = [_op(_EQUAL, value, len(values) - i, 0) for i, value in enumerate(values)]
    return [*checks, _op(_RETURN, verdict)]


def _argument(argument: int) -> bytes:
    """Load the low word of an argument, all the kernel looks at in the calls judged here."""
    return _op(_LOAD, 16 + 8 * argument)


def _argument_rule(number: int, argument: int, body: list[bytes]) -> list[bytes]:
    """For one call: test an argument."""
    return _rule(number, [_argument(argument), *body])


def _rule(number: int, body: list[bytes]) -> list[bytes]:
    """For one call: what `body` says, else it is allowed."""
    rule = [*body, _op(_RETURN, _ALLOW)]
    return [_op(_EQUAL, number, 0, len(rule)), *rule]


def _socket_body(netlink: bool) -> list[bytes]:
    families = (_UNIX, _NETLINK) if netlink else (_UNIX,)
    tcp_only = [
        _argument(1),
        _op(_AND, _TYPE_MASK),
        _op(_EQUAL, _STREAM, 1, 0),
        _op(_RETURN, _errno(errno.ESOCKTNOSUPPORT)),
        _argument(2),
        *_only(_TCP, _errno(errno.EPROTONOSUPPORT)),
        _op(_RETURN, _ALLOW),
    ]
    body = [_argument(0)]
    # Either address family goes to the rule below both tests; anything else past it.
    body += [
        _op(_EQUAL, _INTERNET[0], 1, 0),
        _op(_EQUAL, _INTERNET[1], 0, len(tcp_only)),
        *tcp_only,
    ]
    return [*body, *_only(families, _errno(errno.EAFNOSUPPORT))]


def _setsockopt_body(refuse: int) -> list[bytes]:
    options = [op for option in _ATTACH_FILTER for op in _if(_EQUAL, option, refuse)]
    below = [_argument(2), *options]
    return [_argument(1), _op(_EQUAL, _SOL_SOCKET, 0, len(below)), *below]
