"""From a program's pipes into records: nothing lost, nothing doubled, nothing beyond the limit."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from streams.agent.pump import MAX_UNACKNOWLEDGED, OutputPump
from streams.output import MAX_CHUNK
from tests.unit.streams.fake_log import FakeWriter, Sent


class Program:
    """Two real pipes: the test writes as a program would, the pump reads."""

    def __init__(self) -> None:
        self.stdout, self.out = os.pipe()
        self.stderr, self.err = os.pipe()
        for fd in (self.stdout, self.stderr):
            os.set_blocking(fd, False)
        self._open = {self.stdout, self.out, self.stderr, self.err}

    def close(self, *fds: int) -> None:
        for fd in fds or tuple(self._open):
            if fd in self._open:
                self._open.remove(fd)
                os.close(fd)

    def ends(self) -> None:
        self.close(self.out, self.err)


@pytest.fixture
def program() -> Iterator[Program]:
    made = Program()
    yield made
    made.close()


def pump_of(
    writer: FakeWriter,
    limit: int = 10 * 2**20,
    on_limit: Callable[[Any], None] = lambda _: None,
    after: Callable[[], int] = lambda: 41,
    on_stored: Callable[[int], None] = lambda _: None,
) -> OutputPump:
    return OutputPump(
        execution_id="x",
        attempt=3,
        writer=writer,  # type: ignore[arg-type]
        topic="hermes.output.default",
        partition=2,
        limit=limit,
        after=after,
        on_limit=on_limit,
        on_stored=on_stored,
    )


async def pumped(pump: OutputPump, program: Program) -> None:
    async with asyncio.timeout(20):
        await pump.run(program.stdout, program.stderr)


def of(sent: list[Sent], stream: str) -> bytes:
    return b"".join(one.value for one in sent if one.headers["stream"] == stream)


async def write_all(fd: int, data: bytes) -> None:
    """As a program does: blocking, so in a thread."""

    def write() -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    await asyncio.to_thread(write)


async def test_bytes_arrive_as_they_were_written(program: Program) -> None:
    writer = FakeWriter()
    pump = pump_of(writer)
    os.write(program.out, b"one\r\n\x00\xff")
    os.write(program.err, b"\x1b[31mtwo")
    program.ends()
    await pumped(pump, program)
    assert of(writer.sent, "stdout") == b"one\r\n\x00\xff"
    assert of(writer.sent, "stderr") == b"\x1b[31mtwo"
    assert pump.last_seq == 1
    assert pump.total == 7 + 8
    assert pump.digests()["stdout"].sha256 == hashlib.sha256(b"one\r\n\x00\xff").hexdigest()
    assert pump.limited is None


async def test_every_record_says_what_it_is(program: Program) -> None:
    writer = FakeWriter()
    pump = pump_of(writer)
    running = asyncio.create_task(pumped(pump, program))
    for word in (b"a", b"bb", b"ccc"):
        os.write(program.out, word)
        await asyncio.sleep(0.02)
    program.ends()
    await running
    assert [one.value for one in writer.sent] == [b"a", b"bb", b"ccc"]
    assert [one.headers["seq"] for one in writer.sent] == ["0", "1", "2"]
    assert [one.headers["offset"] for one in writer.sent] == ["0", "1", "3"]
    first = writer.sent[0]
    assert (first.topic, first.key, first.partition) == ("hermes.output.default", "x", 2)
    assert set(first.headers) == {"attempt", "seq", "stream", "offset", "time", "after"}
    assert (first.headers["attempt"], first.headers["after"]) == ("3", "41")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first.headers["time"])


async def test_a_silent_program_leaves_no_record(program: Program) -> None:
    writer = FakeWriter()
    pump = pump_of(writer)
    program.ends()
    await pumped(pump, program)
    assert writer.sent == []
    assert pump.last_seq == -1
    assert pump.digests()["stderr"].bytes == 0
    assert pump.digests()["stderr"].sha256 == hashlib.sha256(b"").hexdigest()


async def test_one_stream_may_end_long_before_the_other(program: Program) -> None:
    writer = FakeWriter()
    pump = pump_of(writer)
    running = asyncio.create_task(pumped(pump, program))
    program.close(program.out)
    await asyncio.sleep(0.05)
    assert not running.done()
    os.write(program.err, b"still here")
    program.close(program.err)
    await running
    assert of(writer.sent, "stderr") == b"still here"


@pytest.mark.parametrize("limit", [0, 1, 4096, 65_536, 300_000])
async def test_exactly_the_limit_is_allowed(program: Program, limit: int) -> None:
    writer = FakeWriter()
    reached: list[str] = []
    pump = pump_of(writer, limit, reached.append)
    running = asyncio.create_task(pumped(pump, program))
    await write_all(program.out, b"x" * limit)
    await write_all(program.err, b"y" * limit)
    program.ends()
    await running
    assert (of(writer.sent, "stdout"), of(writer.sent, "stderr")) == (b"x" * limit, b"y" * limit)
    assert reached == []
    assert pump.limited is None


@pytest.mark.parametrize("limit", [0, 1, 4096, 65_536, 300_000])
async def test_one_byte_more_than_the_limit_is_too_many(program: Program, limit: int) -> None:
    writer = FakeWriter()
    reached: list[str] = []
    pump = pump_of(writer, limit, reached.append)
    running = asyncio.create_task(pumped(pump, program))
    await write_all(program.err, b"y" * limit + b"!")
    program.ends()
    await running
    assert of(writer.sent, "stderr") == b"y" * limit
    assert reached == ["stderr"]
    assert pump.limited == "stderr"
    assert pump.digests()["stderr"].bytes == limit


async def test_the_limit_is_reported_once_for_both_streams(program: Program) -> None:
    reached: list[str] = []
    pump = pump_of(FakeWriter(), 10, reached.append)
    running = asyncio.create_task(pumped(pump, program))
    for _ in range(5):
        await write_all(program.out, b"x" * 100_000)
        await write_all(program.err, b"x" * 100_000)
    program.ends()
    await running
    assert len(reached) == 1
    assert pump.total == 20


async def test_a_program_beyond_its_limit_is_not_blocked_until_it_is_killed(
    program: Program,
) -> None:
    """What is written beyond is read and dropped: far more than fits into a pipe."""
    writer = FakeWriter()
    pump = pump_of(writer, 100)
    running = asyncio.create_task(pumped(pump, program))
    async with asyncio.timeout(10):
        await write_all(program.out, b"z" * (4 * 2**20))
    program.ends()
    await running
    assert of(writer.sent, "stdout") == b"z" * 100


async def test_much_output_of_both_streams_arrives_whole(program: Program) -> None:
    writer = FakeWriter()
    pump = pump_of(writer, 64 * 2**20)
    out, err = os.urandom(9 * 2**20 + 7), os.urandom(5 * 2**20 + 3)
    running = asyncio.create_task(pumped(pump, program))
    await asyncio.gather(write_all(program.out, out), write_all(program.err, err))
    program.ends()
    await running
    assert of(writer.sent, "stdout") == out
    assert of(writer.sent, "stderr") == err
    assert max(len(one.value) for one in writer.sent) <= MAX_CHUNK
    assert [int(one.headers["seq"]) for one in writer.sent] == list(range(len(writer.sent)))
    for stream in ("stdout", "stderr"):
        at = 0
        for one in writer.sent:
            if one.headers["stream"] == stream:
                assert int(one.headers["offset"]) == at
                at += len(one.value)
    assert pump.digests()["stdout"].sha256 == hashlib.sha256(out).hexdigest()


async def test_without_acknowledgements_the_program_waits(program: Program) -> None:
    writer = FakeWriter(holds=True)
    pump = pump_of(writer, 64 * 2**20)
    data = os.urandom(12 * 2**20)
    running = asyncio.create_task(pumped(pump, program))
    writing = asyncio.create_task(write_all(program.out, data))
    await asyncio.sleep(0.5)
    assert not writing.done()
    assert MAX_UNACKNOWLEDGED - MAX_CHUNK < writer.unacknowledged <= MAX_UNACKNOWLEDGED
    writer.release()
    await writing
    program.ends()
    await running
    assert of(writer.sent, "stdout") == data


async def test_the_end_waits_for_the_last_acknowledgement(program: Program) -> None:
    writer = FakeWriter(holds=True)
    pump = pump_of(writer)
    running = asyncio.create_task(pumped(pump, program))
    os.write(program.out, b"last")
    program.ends()
    await asyncio.sleep(0.1)
    assert not running.done()
    writer.release()
    await running


async def test_it_says_how_far_the_partition_reaches(program: Program) -> None:
    writer, reached = FakeWriter(holds=True), list[int]()
    pump = pump_of(writer, on_stored=reached.append)
    running = asyncio.create_task(pumped(pump, program))
    for word in (b"one", b"two"):
        os.write(program.out, word)
        await asyncio.sleep(0.05)
    program.ends()
    assert reached == []
    writer.release()
    await running
    assert reached == [1, 2]


async def test_a_full_producer_is_asked_again_and_nothing_is_doubled(program: Program) -> None:
    writer = FakeWriter()
    writer.refusals = 2
    pump = pump_of(writer)
    os.write(program.out, b"once")
    program.ends()
    await pumped(pump, program)
    assert [one.value for one in writer.sent] == [b"once"]


async def test_a_record_that_the_broker_refuses_fails_the_pump(program: Program) -> None:
    writer = FakeWriter()
    writer.failure = KafkaConnectionError("gone")
    pump = pump_of(writer)
    os.write(program.out, b"lost")
    with pytest.raises(KafkaConnectionError):  # while the program still runs, silently
        await pumped(pump, program)


async def test_lines_written_one_by_one_are_gathered(program: Program) -> None:
    writer = FakeWriter()
    pump = pump_of(writer)
    running = asyncio.create_task(pumped(pump, program))

    def write() -> None:
        for number in range(5000):
            os.write(program.out, b"%d\n" % number)

    await asyncio.to_thread(write)
    program.ends()
    await running
    assert of(writer.sent, "stdout") == b"".join(b"%d\n" % number for number in range(5000))
    assert len(writer.sent) < 2500


async def test_a_first_line_is_not_held_back(program: Program) -> None:
    writer = FakeWriter()
    running = asyncio.create_task(pumped(pump_of(writer), program))
    await asyncio.sleep(0.05)
    os.write(program.out, b"hello")
    began = time.perf_counter()
    while not writer.sent:
        await asyncio.sleep(0.001)
    assert time.perf_counter() - began < 0.05
    program.ends()
    await running


class Flood:
    """Several programs that write into the same pipe as fast as they can."""

    def __init__(self, fd: int, writers: int = 3) -> None:
        self.processes = [
            subprocess.Popen(["/bin/cat", "/dev/zero"], stdout=fd) for _ in range(writers)
        ]

    def kill(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            process.wait()


async def test_a_pipe_that_never_runs_dry_leaves_the_agent_its_turn_to_end_the_program(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would ever come to kill it: what is beyond the limit is dropped, unawaited."""
    killed = asyncio.Event()
    real_read = os.read
    reads = 0

    def fake_read(fd: int, most: int) -> bytes:
        nonlocal reads
        reads += 1
        assert reads < 5000, "the agent had no turn"
        if fd == program.stdout and not killed.is_set():
            return b"z" * most
        return real_read(fd, most)

    monkeypatch.setattr("streams.agent.pump.os.read", fake_read)

    async def end_it() -> None:
        killed.set()
        program.ends()

    ending: list[asyncio.Task[None]] = []
    pump = pump_of(FakeWriter(), 1000, lambda _: ending.append(asyncio.create_task(end_it())))
    os.write(program.out, b"z")
    await pumped(pump, program)
    assert pump.total == 1000


async def test_a_flood_on_one_stream_does_not_silence_the_other(program: Program) -> None:
    writer = FakeWriter()
    pump = pump_of(writer, 2**40)
    flood = Flood(program.out, writers=2)
    program.close(program.out)
    running = asyncio.create_task(pump.run(program.stdout, program.stderr))
    try:
        async with asyncio.timeout(5):
            await asyncio.sleep(0.05)
            os.write(program.err, b"help")
            while not of(writer.sent, "stderr"):
                writer.sent[:] = [one for one in writer.sent if one.headers["stream"] == "stderr"]
                await asyncio.sleep(0.005)
    finally:
        flood.kill()
        program.ends()
    async with asyncio.timeout(5):
        await running


async def test_a_cancelled_pump_leaves_no_reader_behind(program: Program) -> None:
    loop = asyncio.get_running_loop()
    running = asyncio.create_task(pump_of(FakeWriter()).run(program.stdout, program.stderr))
    await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not loop.remove_reader(program.stdout)
    assert not loop.remove_reader(program.stderr)
