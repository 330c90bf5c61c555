"""The bridge as a process: what signals do to it, and what it does beside another one."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge.children import ChildError, free_ports, run
from bridge.rig import PROGRAM, Rig

from .scene import calls_sent, configure, log, metric, notification, rings, scene

pytestmark = pytest.mark.real

RELOADED = "pushkit_bridge_config_last_reload_successful"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    config = configure(tmp_path, {"alice": "db", "bob": "web"}, {"every": "4s", "for": "3s", "times": 1})
    async with scene(tmp_path, config) as rig:
        await rig.start_bridge()
        await rig.ready()
        yield rig


async def post(rig: Rig, alertname: str, team: str = "db") -> str:
    """Post a webhook; gives the incident's id."""
    body = notification(alertname, team)
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
    assert [(line["outcome"], line["attempt"]) for line in log(rig, "push")] == [("accepted", 1)]

    alice.profile.behaviour = "normal"
    await rig.start_bridge()
    await rig.ready()
    call = await rig.within("the other call", alice.wait_for_call(None))
    page = await ring_of(rig, under_way)
    assert (page["outcome"], page["attempt"]) == ("accepted", 1)
    assert call.record_id == (await ring_of(rig, waiting))["call_id"]
    assert len(calls_sent(rig, alice.name)) == 2


async def test_a_second_bridge_on_the_same_ledger_is_refused_and_the_first_goes_on(rig: Rig) -> None:
    """Rule 11."""
    one, other = free_ports(2)
    addresses = (f"--web.listen-address=127.0.0.1:{one}", f"--phone.listen-address=127.0.0.1:{other}")
    with pytest.raises(
        ChildError, match=r"ended with 1:\n(?s:.*)Error: .*bridge.db is in use by another bridge"
    ):
        await run(*PROGRAM, "serve", f"--config.file={rig.config}", *addresses)
    await post(rig, "StillThere")
    await rig.within("the call", rig.simulator.phone("alice-iphone").wait_for_call(None))
    assert await rig.running["bridge"].stop(signal.SIGINT) == 0


async def test_sighup_with_a_bad_file_leaves_the_old_one_in_force_until_it_is_mended(rig: Rig) -> None:
    good = rig.config.read_text()
    rig.config.write_text(good.replace("receiver: alice", "receiver: alcie"))
    await reload(rig, 0)
    (line,) = log(rig, "configuration not reloaded")
    assert all(problem.startswith(f"{rig.config}:") and "alcie" in problem for problem in line["problems"])
    await post(rig, "ByTheOldFile")
    await rig.within("alice's call", rig.simulator.phone("alice-iphone").wait_for_call(None))

    rig.config.write_text(good.replace("receiver: alice", "receiver: bob"))
    await reload(rig, 1)
    await post(rig, "ByTheNewFile")
    await rig.within("bob's call", rig.simulator.phone("bob-iphone").wait_for_call(None))
    assert len(calls_sent(rig, "alice-iphone")) == 1


async def reload(rig: Rig, outcome: int) -> None:
    rig.running["bridge"].process.send_signal(signal.SIGHUP)

    async def look() -> bool | None:
        return await metric(rig, RELOADED) == outcome or None

    await rig.until("the reload", look)
