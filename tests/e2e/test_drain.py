"""SIGTERM drains: what is under way ends, and the rest is done after the next start."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge.rig import Rig

from .scene import calls_sent, configure, log, notification, rings, scene

pytestmark = pytest.mark.real


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    config = configure(tmp_path, {"alice": "db"}, {"every": "4s", "for": "3s", "times": 1})
    async with scene(tmp_path, config) as rig:
        await rig.start_bridge()
        await rig.ready()
        yield rig


async def post(rig: Rig, alertname: str) -> str:
    """Post a webhook; gives the incident's id."""
    body = notification(alertname, "db")
    async with aiohttp.ClientSession() as session, session.post(rig.webhook_url, json=body) as answer:
        assert answer.status == 200, await answer.text()
    (found,) = [one["id"] for one in await rig.incidents() if one["title"] == alertname]
    return str(found)


async def ring_of(rig: Rig, incident: str) -> dict[str, Any]:
    (page,) = rings(await rig.incident(incident))
    return page


async def test_sigterm_lets_the_push_under_way_settle_and_the_rest_rings_after_the_next_start(
    rig: Rig,
) -> None:
    alice = rig.simulator.phone("alice-iphone")
    alice.profile.behaviour, alice.profile.delay = "slow", 2.5
    under_way = await post(rig, "UnderWay")
    await rig.within("the call", alice.wait_for_call(None))
    waiting = await post(rig, "Waiting")
    assert await rig.running["bridge"].stop() == 0
    told = [line for line in log(rig, "push") if under_way in line["incidents"]]
    assert [(line["outcome"], line["attempt"]) for line in told] == [("accepted", 1)]

    alice.profile.behaviour = "normal"
    await rig.start_bridge()
    await rig.ready()
    call = await rig.within("the other call", alice.wait_for_call(None))
    page = await ring_of(rig, under_way)
    assert (page["outcome"], page["attempt"]) == ("accepted", 1)
    assert call.record_id == (await ring_of(rig, waiting))["call_id"]
    assert len(calls_sent(rig, alice.name)) == 2
