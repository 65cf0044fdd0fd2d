"""The filter of system calls, judged as the kernel does, and what the engine is told besides."""

from __future__ import annotations

import errno
import json
import os
import platform
import random
import struct

import pytest

from infra.sandbox import seccomp
from infra.sandbox.docker import seccomp_profile

X86_64, ALLOWED = 0xC000003E, "allowed"
CLONE, SOCKET, IOCTL, PERSONALITY, PRCTL, SETSOCKOPT, PRLIMIT = 56, 41, 16, 135, 157, 54, 302


def verdict(call: int, *arguments: int, arch: int = X86_64, netlink: bool = False) -> str:
    """What the filter says to a call, run instruction by instruction."""
    words = [call, arch, 0, 0]
    for argument in (*arguments, *[0] * (6 - len(arguments))):
        words += [argument & 0xFFFFFFFF, argument >> 32]
    rules = list(struct.iter_unpack("<HBBI", seccomp.program(netlink=netlink)))
    at = value = 0
    while True:
        code, if_true, if_false, operand = rules[at]
        at += 1
        if code == 0x20:
            value = words[operand // 4]
        elif code == 0x54:
            value &= operand
        elif code == 0x06:
            if operand == 0x7FFF0000:
                return ALLOWED
            return "killed" if operand == 0x80000000 else errno.errorcode[operand & 0xFFFF]
        else:
            holds = {0x15: value == operand, 0x25: value > operand, 0x45: bool(value & operand)}
            at += if_true if holds[code] else if_false


def test_calls_on_the_list_are_refused_and_ordinary_ones_are_not() -> None:
    assert {verdict(number) for number in seccomp.REFUSED.values()} == {"EPERM"}
    assert {verdict(number) for number in seccomp.ABSENT.values()} == {"ENOSYS"}
    assert {verdict(number) for number in (0, 1, 9, 39, 56, 57, 59, 202, 257)} == {ALLOWED}


def test_what_is_newer_than_the_review_or_of_another_architecture_does_not_exist() -> None:
    assert verdict(463) == verdict(1 << 30 | 1) == verdict(0xFFFFFFFF) == "ENOSYS"
    assert {verdict(number) for number in (335, 336, 337, 400, 423)} == {"ENOSYS"}
    assert verdict(334) == verdict(424) == ALLOWED  # rseq, pidfd_send_signal
    assert verdict(1, arch=0x40000003) == "killed"


@pytest.mark.parametrize(
    ("call", "place", "refused"),
    [
        (PRCTL, 0, {22}),
        (IOCTL, 1, {0x5412, 0x541C}),
        (CLONE, 0, {0x00020000, 0x10000000, 0x40000000, 0x7E020011}),
    ],
)
def test_a_refused_word_is_refused_whatever_stands_above_it_and_all_its_neighbours_pass(
    call: int, place: int, refused: set[int]
) -> None:
    def at(word: int) -> str:
        return verdict(call, *[0] * place, word)

    # The kernel takes the low word of what fills a whole register.
    assert {at(word | high) for word in refused for high in (0, 1 << 32)} == {"EPERM"}
    if call != CLONE:
        near = {word ^ (1 << bit) for word in refused for bit in range(32)} - refused
        some = {random.Random(7).getrandbits(32) for _ in range(1000)} - refused
        assert {at(word) for word in near | some} == {ALLOWED}


def test_only_a_few_personalities_pass() -> None:
    assert {verdict(PERSONALITY, word) for word in (0, 8, 0x20000, 0xFFFFFFFF)} == {ALLOWED}
    assert verdict(PERSONALITY, 0x0040000) == "EPERM"


def test_limits_of_other_processes_are_refused() -> None:
    assert verdict(PRLIMIT, 0) == ALLOWED
    assert verdict(PRLIMIT, 1) == "EPERM"


def test_filters_on_sockets_are_refused_and_other_options_are_not() -> None:
    assert {verdict(SETSOCKOPT, 3, 1, option) for option in (26, 50, 51, 52)} == {"EPERM"}
    assert verdict(SETSOCKOPT, 3, 1, 2) == verdict(SETSOCKOPT, 3, 6, 26) == ALLOWED


def test_sockets_are_unix_and_tcp_and_netlink_for_runs_with_a_gpu_only() -> None:
    assert verdict(SOCKET, 1, 1) == verdict(SOCKET, 2, 1) == verdict(SOCKET, 10, 1, 6) == ALLOWED
    assert verdict(SOCKET, 2, 2) == "ESOCKTNOSUPPORT"
    assert verdict(SOCKET, 2, 1, 132) == "EPROTONOSUPPORT"
    assert verdict(SOCKET, 40, 1) == verdict(SOCKET, 16, 3) == "EAFNOSUPPORT"
    assert verdict(SOCKET, 16, 3, netlink=True) == ALLOWED


def test_the_engine_is_told_every_call_by_name_and_how_it_is_refused() -> None:
    told = json.loads(seccomp_profile.profile())
    assert told["architectures"] == ["SCMP_ARCH_X86_64"]
    by_code = {rule["errnoRet"]: set(rule["names"]) for rule in told["syscalls"]}
    assert by_code == {
        errno.EPERM: set(seccomp.REFUSED),
        errno.ENOSYS: set(seccomp.ABSENT),
    }


def test_the_files_of_the_filters_hold_them_whole() -> None:
    filters = seccomp.Filters()
    filters.open()
    with pytest.raises(PermissionError):
        os.pwrite(filters.file(netlink=False), b"x", 0)
    held = [os.pread(filters.file(netlink=either), 1 << 16, 0) for either in (False, True)]
    filters.close()
    assert held == [seccomp.program(), seccomp.program(netlink=True)]


def test_on_another_machine_no_sandbox_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(OSError, match="knows x86_64 only"):
        seccomp.Filters().open()
