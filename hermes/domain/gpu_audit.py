"""The account that the ledgers of all pools make together, as REST and the CLI show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from hermes.domain.gpu_ledger import MAX_FINDINGS, Finding, PoolLedger, Total
from hermes.domain.resources import Position
from hermes.domain.times import timestamp

_FOREVER = 2**63 - 1


class PoolShare(msgspec.Struct, frozen=True, kw_only=True):
    """What a pool's topic holds: records read, leases that have ended, their time."""

    pool: str
    records: int
    leases: int
    time_us: int


class DeviceShare(msgspec.Struct, frozen=True, kw_only=True):
    """For how long a GPU was leased, over all pools that it was offered in."""

    gpu: str
    name: str
    leases: int
    time_us: int


class UserShare(msgspec.Struct, frozen=True, kw_only=True):
    """For how long a user's executions had GPUs; two for a second are two seconds."""

    user: str
    leases: int
    time_us: int


class FunctionShare(msgspec.Struct, frozen=True, kw_only=True):
    """The same of a function, `owner/name:version`."""

    function: str
    leases: int
    time_us: int


class OpenLease(msgspec.Struct, frozen=True, kw_only=True):
    """A lease that has not ended; it counts in no sum. `lost`: its attempt is, and its host has
    not said yet that the GPU is free."""

    gpu: str
    pool: str
    execution: str
    attempt: int
    user: str
    function: str
    agent: str
    since: str
    lost: bool


class GpuAudit(msgspec.Struct, frozen=True, kw_only=True):
    """The whole account. `proved`: no two leases of a GPU overlap, everything else that the ledger
    checks holds, and both sums are the same; `failures` counts the findings, which are the first
    MAX_FINDINGS of them. Times are microseconds of ended leases."""

    proved: bool
    failures: int
    user_time_us: int
    device_time_us: int
    pools: tuple[PoolShare, ...]
    devices: tuple[DeviceShare, ...]
    users: tuple[UserShare, ...]
    functions: tuple[FunctionShare, ...]
    open_leases: tuple[OpenLease, ...]
    findings: tuple[Finding, ...]


def audit(ledgers: Sequence[PoolLedger]) -> GpuAudit:
    """The account of these pools together. On a GPU that is offered in several of them, runs of two
    must not overlap either, as far as their brokers' clocks tell. Leases of two may: schedulers of
    two pools know nothing of each other, and the lock of the host lets a program start or has it go
    elsewhere. So runs count from their start. Of lost ones only the start itself does: `started` is
    said with the lock held, but when their programs ended, the log does not say."""
    findings = [finding for ledger in ledgers for finding in ledger.findings]
    across = _overlaps_across(ledgers)
    user_us = sum(total.time_us for ledger in ledgers for total in ledger.users.values())
    device_us = sum(device.busy_us for ledger in ledgers for device in ledger.devices.values())
    failures = sum(ledger.failures for ledger in ledgers) + len(across)
    findings += across
    if user_us != device_us:
        failures += 1
        message = f"users had GPUs for {user_us} µs, GPUs were had for {device_us} µs"
        findings.append(
            Finding(kind="sums_differ", pool="", gpu=None, message=message, position=None)
        )
    return GpuAudit(
        proved=not failures,
        failures=failures,
        user_time_us=user_us,
        device_time_us=device_us,
        pools=tuple(map(_pool_share, ledgers)),
        devices=_device_shares(ledgers),
        users=tuple(
            UserShare(user=name, leases=total.leases, time_us=total.time_us)
            for name, total in _most_first(ledger.users for ledger in ledgers)
        ),
        functions=tuple(
            FunctionShare(function=name, leases=total.leases, time_us=total.time_us)
            for name, total in _most_first(ledger.functions for ledger in ledgers)
        ),
        open_leases=tuple(lease for ledger in ledgers for lease in _open_leases(ledger)),
        findings=tuple(findings[:MAX_FINDINGS]),
    )


def _overlaps_across(ledgers: Sequence[PoolLedger]) -> list[Finding]:
    pools_of: dict[str, list[PoolLedger]] = {}
    for ledger in ledgers:
        for uuid in ledger.devices:
            pools_of.setdefault(uuid, []).append(ledger)
    found = []
    for uuid, sharing in pools_of.items():
        if len(sharing) < 2:
            continue
        spans = sorted(span for ledger in sharing for span in _spans(ledger, uuid))
        # The end of the run that lasts longest of those that began so far, and its pool.
        longest, longest_in = 0, ""
        for start, end, offset, pool, topic in spans:
            if start < longest and pool != longest_in:
                found.append(
                    Finding(
                        kind="overlap",
                        pool=pool,
                        gpu=uuid,
                        message=f"a run of pool {longest_in} had it at the same time",
                        position=Position(topic, 0, offset),
                    )
                )
            if end > longest:
                longest, longest_in = end, pool
    return found


def _spans(ledger: PoolLedger, uuid: str) -> Iterable[tuple[int, int, int, str, str]]:
    device = ledger.devices[uuid]
    ran = device.ran
    for at in range(0, len(ran), 3):
        yield ran[at], ran[at + 1], ran[at + 2], ledger.pool, ledger.topic
    for lease in device.open:
        if lease.began is not None:
            end = lease.began if lease.lost else _FOREVER
            yield lease.began, end, lease.offset, ledger.pool, ledger.topic


def _pool_share(ledger: PoolLedger) -> PoolShare:
    return PoolShare(
        pool=ledger.pool,
        records=ledger.records,
        leases=sum(device.leases for device in ledger.devices.values()),
        time_us=sum(device.busy_us for device in ledger.devices.values()),
    )


def _device_shares(ledgers: Sequence[PoolLedger]) -> tuple[DeviceShare, ...]:
    names: dict[str, str] = {}
    totals: dict[str, Total] = {}
    for ledger in ledgers:
        names |= ledger.names
        for uuid, device in ledger.devices.items():
            totals.setdefault(uuid, Total()).add(device.busy_us, device.leases)
    return tuple(
        DeviceShare(gpu=uuid, name=names.get(uuid, ""), leases=total.leases, time_us=total.time_us)
        for uuid, total in sorted(totals.items())
    )


def _most_first(books: Iterable[Mapping[str, Total]]) -> list[tuple[str, Total]]:
    totals: dict[str, Total] = {}
    for book in books:
        for name, total in book.items():
            totals.setdefault(name, Total()).add(total.time_us, total.leases)
    return sorted(totals.items(), key=lambda item: (-item[1].time_us, item[0]))


def _open_leases(ledger: PoolLedger) -> Iterable[OpenLease]:
    for uuid, device in sorted(ledger.devices.items()):
        for lease in device.open:
            yield OpenLease(
                gpu=uuid,
                pool=ledger.pool,
                execution=lease.execution_id,
                attempt=lease.attempt,
                user=lease.user,
                function=lease.function,
                agent=lease.agent,
                since=timestamp(datetime.fromtimestamp(lease.start / 1e6, UTC)),
                lost=lease.lost,
            )
