"""An engine that cannot hand a GPU out is the host's fault, and no failure of anybody's run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.engine import connect
from tests.acceptance.conftest import write_shell
from tests.acceptance.rest import Rest
from tests.support.engine import need_engine
from tests.support.system import running_system
from tests.support.toolchain_images import toolchain_images


async def _runtimes() -> set[str]:
    async with await connect() as client:
        return set((await client.system.info())["Runtimes"])


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rest]:
    """Gil, who has gil/shell:1.0.0, on a Hermes with a GPU that only says so."""
    need_engine()
    if "nvidia" in asyncio.run(_runtimes()):
        pytest.skip("NOT TRIED, this engine has NVIDIA's runtime")
    toolchain_images()
    settings = {"HERMES_SANDBOX": "docker", "HERMES_WARM": "0", "HERMES_FAKE_GPUS": "1"}
    with running_system(settings) as system:
        gil = system.user("gil")
        folder: Path = tmp_path_factory.mktemp("gil") / "shell"
        gil.ok("function", "deploy", str(write_shell(folder, gpuCapable=True)))
        yield Rest(system.url, gil.token)


def test_the_gpu_is_out_of_service_and_the_run_waits_for_another(rest: Rest) -> None:
    asked = {"function": "gil/shell", "input": "echo never", "gpu": True}
    run = rest.post("/executions", asked).json(202)["id"]
    deadline = time.monotonic() + 40
    while (gpu := rest.get("/gpus").json(200)["items"][0])["state"] != "drained":
        assert time.monotonic() < deadline, (gpu, rest.get(f"/executions/{run}").body)
        time.sleep(0.2)
    assert "the engine has no GPU to give" in gpu["reason"]
    execution = rest.when(run, "queued")
    assert execution["reason"] == "attempt 1 was lost: gpu_unavailable"
    assert [one["reason"] for one in execution["attempts"]] == ["gpu_unavailable"]
    assert execution["attempts"][0]["started_at"] is None
    later = rest.post("/executions", asked).json(202)["id"]
    assert rest.when(later, "queued")["reason"] == "every fitting GPU is out of service"
    for one in (run, later):
        rest.ask("POST", f"/v1/executions/{one}/cancel")
        assert rest.finished(one)["outcome"] == "cancelled"


def test_runs_that_need_no_gpu_go_on(rest: Rest) -> None:
    asked = {"function": "gil/shell", "input": "echo well", "gpu": False}
    assert rest.finished(rest.post("/executions", asked).json(202)["id"])["outcome"] == "succeeded"
