"""What passes by itself, what does not, and what must not be survived."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from hermes.errors import LogError, LogUnavailable
from projections.faults import end_if_cancelled, is_passing


def test_outages_pass_and_bad_data_does_not():
    for error in (
        ConnectionRefusedError(),
        TimeoutError(),
        LogUnavailable("away"),
        asyncpg.ConnectionDoesNotExistError("gone"),
        asyncpg.InterfaceError("closed"),
        asyncpg.AdminShutdownError("stopping"),
    ):
        assert is_passing(error), error
    for error in (
        LogError("newer"),
        asyncpg.DataError("bad"),
        asyncpg.UniqueViolationError("twice"),
        asyncpg.UndefinedTableError("dropped"),
        ValueError(),
    ):
        assert not is_passing(error), error


async def test_a_cancellation_behind_an_error_of_the_cleanup_is_not_lost():
    async def survives_everything() -> None:
        while True:
            try:
                try:
                    await asyncio.sleep(60)
                finally:
                    raise ConnectionResetError
            except OSError:
                end_if_cancelled()

    task = asyncio.create_task(survives_everything())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 2)
