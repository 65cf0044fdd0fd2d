"""The system call filter as text for the engine: what a program may call, everything else refused.

The same refusals as `infra.sandbox.seccomp`, told from the other side: the engine's filters list
what is allowed. The calls that are fine with any argument stand in allowed_calls.txt; those of
which some forms are refused stand here. libseccomp compares all 64 bits of an argument while the
kernel takes 32 of it, so a rule says which low words it lets pass, never which it does not. What is
not named is refused with EPERM, and numbers beyond the newest one named with ENOSYS, as on an older
kernel.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from infra.sandbox import seccomp

_ALLOWED = Path(__file__).with_name("allowed_calls.txt")
_WORD = 32
_EVERY_BIT = (1 << _WORD) - 1

Condition = dict[str, Any]


@cache
def allowed_calls() -> tuple[str, ...]:
    """Calls that are allowed whatever their arguments."""
    return tuple(_ALLOWED.read_text().split())


@cache
def profile(*, netlink: bool = False) -> str:
    """The JSON that `SecurityOpt: seccomp=` takes. `netlink` is for runs with a GPU."""
    rules = [_allow(allowed_calls())]
    rules += _refuse_as_absent(seccomp.ABSENT)
    rules.append(_allow(["clone"], [_masked(0, seccomp.NAMESPACE_FLAGS, 0)]))
    for call in ("socket", "socketpair"):
        rules += _sockets(call, netlink)
    rules += [_allow(["prctl"], [block]) for block in all_but(0, [seccomp.SET_SECCOMP])]
    rules += [_allow(["ioctl"], [block]) for block in all_but(1, seccomp.TERMINAL_INJECTION)]
    rules += _socket_options()
    rules += [_allow(["personality"], [_is(0, one)]) for one in seccomp.PERSONALITIES]
    # Of another process, process 1 of the container above all, no limit may be changed.
    rules.append(_allow(["prlimit64"], [_is(0, 0)]))
    return json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": rules,
        }
    )


def all_but(argument: int, values: Iterable[int]) -> list[Condition]:
    """Conditions, any of which may hold, for a low word that is none of `values`."""
    return [_masked(argument, mask, wanted) for mask, wanted in _around(sorted(set(values)))]


def _around(values: list[int], mask: int = 0, prefix: int = 0) -> Iterator[tuple[int, int]]:
    """The blocks of numbers with a common prefix that hold none of `values`, as (mask, prefix)."""
    inside = [value for value in values if value & mask == prefix]
    if not inside:
        yield mask, prefix
    elif mask != _EVERY_BIT:
        bit = (_EVERY_BIT ^ mask) + 1 >> 1
        for half in (prefix, prefix | bit):
            yield from _around(inside, mask | bit, half)


def _sockets(call: str, netlink: bool) -> Iterator[dict[str, Any]]:
    """Sockets inside the sandbox: unix, and TCP of its own loopback."""
    families = (seccomp.UNIX, seccomp.NETLINK) if netlink else (seccomp.UNIX,)
    for family in families:
        yield _allow([call], [_is(0, family)])
    for family in seccomp.INTERNET:
        for protocol in seccomp.TCP:
            stream = _masked(1, seccomp.TYPE_MASK, seccomp.STREAM)
            yield _allow([call], [_is(0, family), stream, _is(2, protocol)])
    # Said as by a kernel without them; the lesser ones get the usual refusal.
    yield _refuse([call], errno.EAFNOSUPPORT, [_compare(0, seccomp.NETLINK, "SCMP_CMP_GT")])


def _socket_options() -> Iterator[dict[str, Any]]:
    for level in all_but(1, [seccomp.SOL_SOCKET]):
        yield _allow(["setsockopt"], [level])
    for option in all_but(2, seccomp.ATTACH_FILTER):
        of_sockets = _masked(1, _EVERY_BIT, seccomp.SOL_SOCKET)
        yield _allow(["setsockopt"], [of_sockets, option])


def _refuse_as_absent(calls: Iterable[str]) -> Iterator[dict[str, Any]]:
    yield _refuse(list(calls), errno.ENOSYS, [])


def _allow(calls: Iterable[str], conditions: Iterable[Condition] = ()) -> dict[str, Any]:
    return {"names": list(calls), "action": "SCMP_ACT_ALLOW", "args": list(conditions)}


def _refuse(calls: list[str], code: int, conditions: list[Condition]) -> dict[str, Any]:
    return {"names": calls, "action": "SCMP_ACT_ERRNO", "errnoRet": code, "args": conditions}


def _is(argument: int, value: int) -> Condition:
    return _masked(argument, _EVERY_BIT, value)


def _masked(argument: int, mask: int, wanted: int) -> Condition:
    return {**_compare(argument, mask, "SCMP_CMP_MASKED_EQ"), "valueTwo": wanted}


def _compare(argument: int, value: int, how: str) -> Condition:
    return {"index": argument, "value": value, "op": how}
