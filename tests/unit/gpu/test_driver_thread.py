"""A driver that hangs costs one thread, and whoever asks it only so many seconds."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from infra.gpu import GpuFault, GpuHangs
from infra.gpu.calls import GpuThread


async def test_it_answers_what_the_driver_says() -> None:
    thread = GpuThread("t")
    assert await thread.ask(lambda: 42, 1.0) == 42
    assert await thread.ask(threading.get_ident, 1.0) != threading.get_ident()
    thread.close()


async def test_what_the_driver_raises_reaches_who_asked() -> None:
    thread = GpuThread("t")

    def refuse() -> None:
        raise GpuFault("no")

    with pytest.raises(GpuFault, match="no"):
        await thread.ask(refuse, 1.0)
    assert await thread.ask(lambda: 1, 1.0) == 1
    thread.close()


async def test_while_it_hangs_every_question_fails_at_once_and_no_thread_is_added() -> None:
    thread, released = GpuThread("hanging"), threading.Event()
    with pytest.raises(GpuHangs):
        await thread.ask(released.wait, 0.05)
    before = threading.active_count()
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(GpuHangs):
            await thread.ask(lambda: 1, 5.0)
    assert time.monotonic() - began < 1.0
    assert threading.active_count() == before
    released.set()
    await asyncio.sleep(0.05)
    assert await thread.ask(lambda: 2, 1.0) == 2
    thread.close()


async def test_a_question_nobody_waits_for_any_more_is_not_asked() -> None:
    thread, released, asked = GpuThread("t"), threading.Event(), []
    slow = asyncio.create_task(thread.ask(released.wait, 5.0))
    await asyncio.sleep(0.02)
    waiting = asyncio.create_task(thread.ask(lambda: asked.append(1), 5.0))
    await asyncio.sleep(0.02)
    waiting.cancel()
    await asyncio.sleep(0)
    released.set()
    assert await slow
    assert await thread.ask(lambda: 3, 1.0) == 3
    assert asked == []
    thread.close()
