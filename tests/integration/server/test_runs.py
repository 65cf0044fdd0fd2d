"""From a request to its output."""

from __future__ import annotations

import base64
from typing import Any

from tests.support.api import ApiUser
from tests.support.fake_agent import FakeAgent


async def test_a_run_shows_its_events_and_output_in_one_round_trip(
    ana: ApiUser, agent: FakeAgent, function: dict[str, Any]
) -> None:
    frames = []
    document = {"function": function["id"], "input": "5 1"}
    async for frame in ana.tail("/executions", method="POST", document=document):
        frames.append(frame)
        if frame.name == "execution.requested":
            execution_id = frame.data["data"]["execution_id"]
            started = await agent.starts(execution_id)
            await agent.writes(execution_id, b"out", after=started)
            await agent.writes(execution_id, b"err", after=started, stream="stderr")
            await agent.finishes(execution_id)
    assert [frame.name for frame in frames] == [
        "execution.requested",
        "execution.scheduled",
        "execution.claimed",
        "execution.started",
        "output",
        "output",
        "execution.finished",
        "end",
    ]
    assert [base64.b64decode(f.data["data"]) for f in frames if f.event == "output"] == [
        b"out",
        b"err",
    ]
    assert frames[-1].data == {
        "status": "finished",
        "outcome": "succeeded",
        "exit_code": 0,
        "signal": None,
        "last_seq": 1,
        "complete": True,
    }
    shown = (await ana.get(f"/executions/{execution_id}")).expect(200)
    assert shown["status"] == "finished"
    again = [frame async for frame in ana.tail(f"/executions/{execution_id}/tail")]
    assert [(f.token, f.data) for f in again] == [(f.token, f.data) for f in frames]
