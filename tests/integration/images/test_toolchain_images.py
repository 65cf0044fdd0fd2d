"""The toolchain images in a real engine: what programs find there, and that they come out equal."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiodocker
import psutil
import pytest

from infra.images import engine
from infra.images.archive import Image
from infra.images.layers import Layer, pack_folder
from infra.toolchain.image_build import BuiltImage, build_images
from infra.toolchain.image_recipes import RECIPE_LABEL
from infra.toolchain.images import ImageToolchains, own_images
from infra.toolchain.model import Toolchain
from tests.integration.images.conftest import RunIn
from tests.support.engine import need_engine
from tests.support.fake_image_engine import FakeImageEngine

ROOT = Path(__file__).parents[3]
ATTACKS = ROOT / "tests" / "attacks"
EXAMPLES = ROOT / "examples" / "functions"
GPU_PI = EXAMPLES / "gpu-pi-montecarlo"

THREADS = """
#include <atomic>
#include <iostream>
#include <omp.h>
#include <thread>
int main() {
    int parts = 0;
    #pragma omp parallel num_threads(3) reduction(+ : parts)
    parts += 1;
    std::atomic<int> count{0};
    std::thread([&] { count += 1; }).join();
    std::cout << parts << " " << count << std::endl;
}
"""


async def build_in(run_in: RunIn, image: str, source: Path, script: str) -> str:
    """Run `script` in a writable copy of `source`; what it printed."""
    code, said = await run_in(
        image, ["sh", "-ec", f"cp -r /src/. /work; cd /work; {script}"], binds=[(source, "/src")]
    )
    assert code == 0, said
    return said


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A folder that the images' user can read."""
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    (tmp_path / "threads.cpp").write_text(THREADS)
    for name in ("normal.c", "say.h"):
        (tmp_path / name).write_bytes((ATTACKS / name).read_bytes())
    return tmp_path


async def test_openmp_and_threads_work_in_builds(
    cpp: Toolchain, run_in: RunIn, sources: Path
) -> None:
    said = await build_in(
        run_in,
        str(cpp.build_image),
        sources,
        "c++ -std=c++17 -O2 -fopenmp -pthread -o out threads.cpp && ./out",
    )
    assert said == "3 1\n"


async def test_a_program_built_in_one_image_runs_in_the_small_one(
    cpp: Toolchain, run_in: RunIn, sources: Path
) -> None:
    encoded = await build_in(
        run_in,
        str(cpp.build_image),
        sources,
        "cc -O1 -w -pthread -o normal normal.c; g++ -fopenmp -pthread -o threads threads.cpp; "
        "tar c normal threads | gzip | base64 -w0",
    )
    packed = sources / "built.txt"
    packed.write_text(encoded)
    code, said = await run_in(
        str(cpp.run_image),
        ["sh", "-c", "base64 -d /src/built.txt | tar xz && ./threads && ./normal w < /dev/null"],
        binds=[(sources, "/src")],
    )
    assert code == 5, said
    assert said.startswith("3 1\n")
    for line in ("threads=8", "user=hermes", "folder=/work", "work=done", "tmp=done", "shell=3"):
        assert f"{line}\n" in said


@pytest.mark.parametrize("example", ["pi-montecarlo", "reduce-sum", "char-printer"])
async def test_the_examples_build_with_plain_make(
    cpp: Toolchain, run_in: RunIn, example: str
) -> None:
    handler = json.loads((EXAMPLES / example / "hermes.config.json").read_text())["handler"]
    said = await build_in(
        run_in,
        str(cpp.build_image),
        EXAMPLES / example,
        f"make clean >/dev/null; make >/dev/null; test -x {handler} && echo built",
    )
    assert said == "built\n"


async def test_the_images_hold_no_set_user_bits_and_no_package_manager_state(
    cpp: Toolchain, run_in: RunIn
) -> None:
    code, said = await run_in(
        str(cpp.build_image),
        ["sh", "-c", "find / -xdev -perm /6000; ls -d /fn /work /tmp /var /root; cat /etc/passwd"],
    )
    assert code == 0 or "/var" in said
    lines = said.splitlines()
    assert {"/fn", "/work", "/tmp"} <= set(lines)
    assert "/var" not in lines
    assert "/root" not in lines
    assert lines[-1] == "hermes:x:1000:1000:hermes:/work:/bin/sh"
    assert not [line for line in lines if line.startswith(("/usr", "/bin"))]


async def test_the_small_image_built_from_nothing_is_the_same_image(
    client: aiodocker.Docker, cpp: Toolchain, tmp_path: Path
) -> None:
    async def build(name: str) -> tuple[BuiltImage, str]:
        fake: Any = FakeImageEngine()
        [built] = await build_images(fake, ["runtime"], tmp_path / name, print)
        assert [path.name for path in (tmp_path / name / "images").iterdir()] == [".lock"]
        return built, fake.stored[built.id]["Config"]["Labels"][RECIPE_LABEL]

    now, made_of = await build("now")
    assert (now.name, now.new) == ("runtime", True)
    assert 25_000_000 < now.bytes < 40_000_000
    stored = await engine.find(client, str(cpp.run_image))
    assert stored is not None
    if stored["Config"]["Labels"][RECIPE_LABEL] == made_of:
        assert now.id == stored["Id"], "built at another time, in another folder"
    else:  # the engine's is of older packages
        assert (await build("again"))[0].id == now.id


async def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    need_engine()
    fake: Any = FakeImageEngine()
    installing = asyncio.Event()

    def progress(line: str) -> None:
        if line.startswith("Installing"):
            installing.set()

    build = asyncio.create_task(build_images(fake, ["runtime"], tmp_path, progress))
    await asyncio.wait_for(installing.wait(), 60)
    await asyncio.sleep(1.0)
    build.cancel()
    with pytest.raises(asyncio.CancelledError):
        await build
    assert [path.name for path in (tmp_path / "images").iterdir()] == [".lock"]
    assert fake.stored == {}
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    alive = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert not [words for words in alive if str(tmp_path) in " ".join(words)]


async def test_the_engine_is_sent_again_what_it_insists_on(
    client: aiodocker.Docker, cpp: Toolchain, tmp_path: Path
) -> None:
    """Engines with another image store take no archive without the layers below."""
    stored = await engine.find(client, str(cpp.run_image))
    assert stored is not None
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("upper")
    upper = pack_folder(tmp_path / "folder", tmp_path / "upper.tar", at="/fn")
    diff_ids = stored["RootFS"]["Layers"]
    image = Image(layers=(*(Layer(diff_id=each, size=0) for each in diff_ids), upper))
    picky: Any = FakeImageEngine()
    picky.picky = True
    picky.export_image = client.images.export_image
    picky.tags[str(cpp.run_image)] = str(cpp.run_image)
    picky.keep(str(cpp.run_image), {}, diff_ids)
    await engine.load(picky, image, known=diff_ids, base=str(cpp.run_image), scratch=tmp_path)
    assert picky.loads == 1
    assert set(picky.layers) == {*diff_ids, upper.diff_id}


async def test_cuda_compiles_in_its_image_and_runs_find_its_libraries(
    client: aiodocker.Docker, run_in: RunIn
) -> None:
    if "cuda" not in await own_images(client):
        pytest.skip("NOT TRIED, no CUDA images here: hermes toolchain build cuda")
    cuda = await ImageToolchains(client).require("cuda")
    said = await build_in(
        run_in,
        str(cuda.build_image),
        GPU_PI,
        "make clean >/dev/null; make >/dev/null && test -x a.out && nvcc --version",
    )
    assert f"V{cuda.version}" in said
    libraries = "/opt/cuda/lib64/libcudart.so.13"
    code, said = await run_in(str(cuda.run_image), ["sh", "-c", f"ls /opt/cuda; ldd {libraries}"])
    assert code == 0
    assert said.startswith("lib\nlib64\n\t")
    assert "not found" not in said


def hermes(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


async def test_the_command_leaves_alone_what_is_up_to_date(
    client: aiodocker.Docker, cpp: Toolchain, tmp_path: Path
) -> None:
    words = ("toolchain", "build", "cpp", "--json", "--home", str(tmp_path))
    done = await asyncio.to_thread(hermes, *words)
    if "Loading" in done.stderr:  # the host's lists of packages were newer than its images
        done = await asyncio.to_thread(hermes, *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "hermes: runtime is up to date\nhermes: cpp is up to date\n"
    now = await ImageToolchains(client).require("cpp")
    built = json.loads(done.stdout)
    assert [image["name"] for image in built] == ["runtime", "cpp"]
    assert built[1]["digest"] == f"sha256:{now.digest}"
    assert set(built[1]) == {"name", "digest", "bytes"}


async def test_the_command_lists_what_the_engine_has(cpp: Toolchain) -> None:
    done = await asyncio.to_thread(hermes, "toolchain", "list", "--json")
    assert done.returncode == 0, done.stderr
    listed = {image["name"]: image for image in json.loads(done.stdout)}
    assert listed["cpp"]["digest"] == f"sha256:{cpp.digest}"
    assert listed["cpp"]["bytes"] > listed["runtime"]["bytes"] > 25_000_000


@pytest.mark.parametrize(
    ("words", "environment", "code", "said"),
    [
        (["build", "fortran"], {}, 2, "there are cpp and cuda"),
        (["list"], {"DOCKER_HOST": "unix:///nowhere"}, 1, "no engine at /nowhere"),
        (["build"], {"DOCKER_HOST": "tcp://127.0.0.1:1"}, 1, "local socket"),
    ],
)
def test_the_command_says_what_is_wrong(
    words: list[str], environment: dict[str, str], code: int, said: str
) -> None:
    done = hermes("toolchain", *words, **environment)
    assert done.returncode == code
    assert said in done.stderr
    assert done.stdout == ""
