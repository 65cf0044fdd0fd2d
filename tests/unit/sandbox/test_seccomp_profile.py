"""The engine's system call filter says the same as bubblewrap's."""

from __future__ import annotations

import json
import random

import pytest

from infra.sandbox import seccomp
from infra.sandbox.docker import seccomp_profile


def test_nothing_that_bubblewraps_filter_refuses_is_allowed() -> None:
    allowed = set(seccomp_profile.allowed_calls())
    assert allowed.isdisjoint(seccomp.REFUSED)
    assert allowed.isdisjoint(seccomp.ABSENT)
    judged = {"clone", "socket", "socketpair", "prctl", "ioctl", "setsockopt", "personality"}
    assert allowed.isdisjoint(judged | {"prlimit64"})
    assert len(allowed) == len(seccomp_profile.allowed_calls()) > 250


@pytest.mark.parametrize(
    "values", [[22], [0], [0xFFFFFFFF], [0x5412, 0x541C], [26, 50, 51, 52], [1, 2, 3]]
)
def test_every_word_but_the_given_ones_meets_a_condition(values: list[int]) -> None:
    conditions = seccomp_profile.all_but(2, values)

    def passes(word: int) -> bool:
        return any(word & one["value"] == one["valueTwo"] for one in conditions)

    near = {value ^ (1 << bit) for value in values for bit in range(32)} - set(values)
    some = {random.Random(7).getrandbits(32) for _ in range(1000)} - set(values)
    assert all(passes(word) for word in near | some)
    assert not any(passes(word) for word in values)
    # The kernel takes the low word of what fills a whole register.
    assert not any(passes(word | 1 << 32) for word in values)
    assert {one["index"] for one in conditions} == {2}


def test_netlink_is_for_runs_with_a_gpu_only() -> None:
    def families(netlink: bool) -> set[int]:
        rules = json.loads(seccomp_profile.profile(netlink=netlink))["syscalls"]
        return {
            rule["args"][0]["valueTwo"]
            for rule in rules
            if rule["names"] == ["socket"] and rule["action"] == "SCMP_ACT_ALLOW"
        }

    assert families(False) == {1, 2, 10}
    assert families(True) == {1, 2, 10, 16}
