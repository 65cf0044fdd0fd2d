"""What honest programs and builds do, works."""

from __future__ import annotations

import os
from pathlib import Path

from infra.sandbox.artifact import inspect_build, take_over
from infra.sandbox.port import MIB, Prepared
from tests.support.sandboxes import Runner

MAKEFILE = """
CXXFLAGS = -O2 -march=native -fopenmp -pthread
all: sub/main
sub/main: main.cpp part.o ; mkdir -p sub && g++ $(CXXFLAGS) -o $@ $^
part.o: part.c ; gcc -O2 -c -o $@ $<
clean: ; rm -rf sub *.o
"""
MAIN = """
#include <cstdio>
#include <omp.h>
#include <thread>
extern "C" int part();
int main() {
    int sum = 0;
    #pragma omp parallel for reduction(+ : sum)
    for (int i = 0; i < 100; i++) sum += i;
    std::thread other([] {});
    other.join();
    std::printf("%d %d\\n", sum, part());
}
"""


async def test_a_normal_program_finds_what_programs_need(runner: Runner) -> None:
    outcome = await runner.run("normal", "a word; $HOME 'quoted'", stdin=b"the input")
    assert outcome.steps == {
        "threads": "8",
        "input": "9 the input",
        "words": "2 a word; $HOME 'quoted'",
        "folder": "/work",
        "user": "hermes",
        "work": "done",
        "tmp": "done",
        "shm": "done",
        "loopback": "done",
        "stdout-by-name": "done",
        "shell": "3",
    }
    assert outcome.stderr == b"to stderr\n"
    assert outcome.exit.exit_code == 5
    assert outcome.exit.peak_memory is not None and outcome.exit.peak_memory < 64 * MIB


async def test_a_project_is_built_and_its_program_runs(runner: Runner, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name, content in {
        "Makefile": MAKEFILE,
        "main.cpp": MAIN,
        "part.c": "int part(void) { return 7; }",
    }.items():
        (source / name).write_text(content)
    built = tmp_path / "built"

    def keep(prepared: Prepared) -> None:
        assert prepared.work is not None
        inspect_build(prepared.work, "sub/main")
        take_over(prepared.work, built)

    limits = {"memory": 1024 * MIB, "work_bytes": 128 * MIB, "time": 60.0, "cpus": 2.0}
    spec = runner.spec(
        "/bin/sh",
        "-c",
        "make clean && make -j2",
        limits=limits,
        kind="build",
        function_dir=source,
        keep_work=True,
        stdin=os.open(os.devnull, os.O_RDONLY),
    )
    prepared = await runner.sandbox.prepare(spec)
    try:
        prepared.go()
        ended = await prepared.wait()
        assert ended.exit_code == 0, os.read(prepared.stderr, 65536)
        keep(prepared)
    finally:
        await prepared.close()
        os.close(spec.stdin)
    assert (built / "sub/main").stat().st_mode & 0o7777 == 0o755
    assert (built / "part.c").stat().st_mode & 0o7777 == 0o644
    assert not (source / "part.o").exists(), "a build works on a copy of its sources"
    outcome = await runner.run("/fn/sub/main", function_dir=built)
    assert outcome.stdout == b"4950 7\n"


async def test_binary_output_arrives_byte_for_byte(runner: Runner) -> None:
    outcome = await runner.run(
        "/bin/sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' '\\377'; printf '\\0\\200'"
    )
    assert outcome.stdout == b"\xff" * 3_000_000 + b"\x00\x80"


async def test_a_script_is_a_program_too(runner: Runner, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    script = tmp_path / "script"
    script.write_text('#!/bin/sh\nread -r line\necho "got $line"\n')
    script.chmod(0o755)
    outcome = await runner.run("/fn/script", stdin=b"one\ntwo\n", function_dir=tmp_path)
    assert outcome.stdout == b"got one\n"


async def test_pipes_stay_readable_after_the_end(runner: Runner) -> None:
    outcome = await runner.run("/bin/sh", "-c", "seq 1 100000")
    assert outcome.stdout.endswith(b"99999\n100000\n")
    assert outcome.stdout.count(b"\n") == 100_000


async def test_many_orphans_are_collected(runner: Runner) -> None:
    outcome = await runner.run("linger", "orphans")
    assert outcome.steps["orphans"] == "300"
