"""GPUs as the API shows them, and the audit of who had which, read from the log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hermes.domain import events as ev
from hermes.domain.ids import new_id
from hermes.domain.resources import GIB, Gpu, Inventory
from tests.support.api import PASSWORD, Api, ApiUser
from tests.support.fake_agent import FakeAgent

from .conftest import deployed

HOST = "gpu-host"


class GpuHost:
    """An agent with one GPU, played through the fake agent's writer."""

    def __init__(self, agent: FakeAgent) -> None:
        self.uuid = f"GPU-{new_id()}"
        self.incarnation = new_id()
        self._agent = agent

    async def says(self, data: ev.EventData) -> int:
        return await self._agent.append(getattr(data, "execution_id", HOST), data)

    async def joins(self) -> int:
        gpu = Gpu(uuid=self.uuid, name="Test GPU", memory=GIB, compute_capability="9.0",
                  driver="1", mig="1g.10gb", parent="GPU-parent")  # fmt: skip
        inventory = Inventory(slots=1, cpus=1.0, memory=GIB, gpus=(gpu,))
        return await self.says(
            ev.AgentJoined(agent=HOST, incarnation=self.incarnation, inventory=inventory)
        )

    async def leaves(self) -> None:
        await self.says(ev.AgentLeft(agent=HOST, incarnation=self.incarnation, reason="test"))

    async def drains(self, reason: str) -> int:
        return await self.says(
            ev.AgentGpuDrained(
                agent=HOST, incarnation=self.incarnation, gpu=self.uuid, reason=reason
            )
        )

    async def restores(self) -> int:
        return await self.says(
            ev.AgentGpuRestored(agent=HOST, incarnation=self.incarnation, gpu=self.uuid)
        )

    async def gets(self, execution_id: str, attempt: int = 1) -> int:
        return await self.says(
            ev.ExecutionScheduled(
                execution_id=execution_id,
                attempt=attempt,
                agent=HOST,
                incarnation=self.incarnation,
                epoch=1,
                gpus=(self.uuid,),
                lease=10.0,
            )
        )

    async def claims(self, execution_id: str, attempt: int = 1) -> int:
        return await self.says(
            ev.ExecutionClaimed(
                execution_id=execution_id,
                attempt=attempt,
                agent=HOST,
                incarnation=self.incarnation,
            )
        )

    async def hands_back(self, execution_id: str, attempt: int = 1) -> int:
        return await self.says(
            ev.ExecutionAttemptLost(
                execution_id=execution_id,
                attempt=attempt,
                epoch=0,
                reason=ev.GPU_UNAVAILABLE,
                output_end_offset=None,
                agent=HOST,
                incarnation=self.incarnation,
            )
        )

    async def releases(self, execution_id: str, attempt: int = 1) -> int:
        return await self.says(
            ev.ExecutionGpuReleased(execution_id=execution_id, attempt=attempt, gpus=(self.uuid,))
        )


@pytest.fixture
async def host(agent: FakeAgent) -> AsyncIterator[GpuHost]:
    playing = GpuHost(agent)
    await playing.joins()
    yield playing
    await playing.leaves()


@pytest.fixture
async def admin(api: Api) -> ApiUser:
    credentials = {"username": "first", "password": PASSWORD}
    token = (await api.nobody.post("/tokens", credentials)).expect(201)["token"]
    return ApiUser(api, "first", token)


async def gpu_of(api: Api, user: ApiUser, host: GpuHost, offset: int) -> dict[str, Any]:
    """The host's GPU once the API has read the offset."""
    after = {"Hermes-After": f"{api.settings.topic_prefix}.executions.default/0/{offset}"}
    page = (await user.get("/gpus?limit=200", headers=after)).expect(200)
    (found,) = [gpu for gpu in page["items"] if gpu["uuid"] == host.uuid]
    assert isinstance(found, dict)
    return found


async def test_a_gpu_is_free_leased_or_drained_and_says_why(
    api: Api, ana: ApiUser, bob: ApiUser, agent: FakeAgent, host: GpuHost
) -> None:
    function = await deployed(ana, agent, gpuCapable=True)
    wanted = {"function": function["id"], "gpu": {"count": 1}}
    execution_id = (await ana.post("/executions", wanted)).expect(202)["id"]
    shown = await gpu_of(api, ana, host, await host.gets(execution_id))
    assert (shown["state"], shown["execution"], shown["reason"]) == ("leased", execution_id, None)
    assert (shown["mig"], shown["parent"]) == ("1g.10gb", "GPU-parent")
    shown = await gpu_of(api, bob, host, await host.drains("Xid 79"))
    assert (shown["state"], shown["execution"], shown["reason"]) == ("leased", None, "Xid 79")
    await host.hands_back(execution_id)
    shown = await gpu_of(api, ana, host, await host.releases(execution_id))
    assert (shown["state"], shown["execution"], shown["reason"]) == ("drained", None, "Xid 79")
    shown = await gpu_of(api, ana, host, await host.restores())
    assert (shown["state"], shown["reason"]) == ("free", None)

    execution = (await ana.get(f"/executions/{execution_id}")).expect(200)
    assert (execution["status"], execution["attempts"][0]["status"]) == ("queued", "lost")
    assert execution["reason"] == "attempt 1 was lost: gpu_unavailable"
    agents = (await ana.get("/agents?limit=200")).expect(200)["items"]
    (mine,) = [one for one in agents if one["id"] == HOST]
    assert [gpu["uuid"] for gpu in mine["gpus"]] == [host.uuid]


async def test_the_audit_proves_who_had_which_gpu_for_how_long(
    ana: ApiUser, bob: ApiUser, admin: ApiUser, agent: FakeAgent, host: GpuHost
) -> None:
    function = await deployed(ana, agent, gpuCapable=True)
    wanted = {"function": function["id"], "gpu": True}
    for user in (ana, bob):
        execution_id = (await user.post("/executions", wanted)).expect(202)["id"]
        await host.gets(execution_id)
        await host.claims(execution_id)
        await agent.finishes(execution_id, outcome="failed", code=1)
    waiting = (await bob.post("/executions", wanted)).expect(202)["id"]
    await host.gets(waiting)

    found = (await admin.get("/audit/gpus")).expect(200)
    assert (found["proved"], found["failures"], found["findings"]) == (True, 0, [])
    assert found["user_time_us"] == found["device_time_us"] > 0
    (device,) = [one for one in found["devices"] if one["gpu"] == host.uuid]
    assert (device["name"], device["leases"]) == ("Test GPU", 2)
    times = {one["user"]: (one["leases"], one["time_us"]) for one in found["users"]}
    assert (times[ana.name][0], times[bob.name][0]) == (1, 1)
    assert times[ana.name][1] + times[bob.name][1] == device["time_us"]
    shares = {one["function"]: one for one in found["functions"]}
    assert shares[function["id"]]["time_us"] == device["time_us"]
    (lease,) = [one for one in found["open_leases"] if one["gpu"] == host.uuid]
    assert (lease["execution"], lease["user"], lease["lost"]) == (waiting, bob.name, False)
    assert [pool["pool"] for pool in found["pools"]] == ["default"]

    await host.hands_back(waiting)
    lost = (await admin.get("/audit/gpus?pool=default")).expect(200)
    assert [one["lost"] for one in lost["open_leases"] if one["gpu"] == host.uuid] == [True]
    await host.releases(waiting)
    after = (await admin.get("/audit/gpus?pool=default")).expect(200)
    assert after["proved"]
    assert [one for one in after["open_leases"] if one["gpu"] == host.uuid] == []


async def test_the_audit_is_for_admins_and_of_pools_that_exist(
    ana: ApiUser, admin: ApiUser
) -> None:
    (await ana.get("/audit/gpus")).problem(403, "forbidden")
    (await admin.get("/audit/gpus?pool=nowhere")).problem(422, "invalid_input")
