"""What may pass by itself, apart from what never will."""

from __future__ import annotations

import asyncio

import asyncpg
from aiokafka.errors import KafkaError

from hermes.errors import Unavailable

_PASSING = (
    OSError,
    TimeoutError,
    KafkaError,
    Unavailable,
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.TransactionRollbackError,
    asyncpg.exceptions.ObjectNotInPrerequisiteStateError,
    # A password or database that is not there yet, while the server starts.
    asyncpg.exceptions.InvalidAuthorizationSpecificationError,
)


def is_passing(error: BaseException) -> bool:
    """Whether to try again later: a server is away or busy. All else is in the data, or ours."""
    if isinstance(error, asyncpg.InterfaceError):
        # Of the connection, unless a value was refused (which is a ValueError as well).
        return not isinstance(error, ValueError)
    return isinstance(error, _PASSING)


def end_if_cancelled() -> None:
    """To be called where an error is about to be survived: one that was raised while cleaning up
    may stand in front of a cancellation, which must not be lost with it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
