"""Two Alertmanager pods, each with a bridge and a SQLite file of its own: what holds, and what cannot."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from appworld import World
from handset import Handset, exchange
from replicas import Crew

Pods = Crew


@pytest.fixture
async def pods(tmp_path: Path) -> AsyncIterator[Pods]:
    async with World(tmp_path) as stage:
        # One key, and a provider token of each bridge: docs/replicas.md.
        stage.sim.tokens.renewals = 2
        crew = Pods(stage, 2)
        for number, one in enumerate(crew):
            one.config = copy.deepcopy(stage.config)
            one.config["storage"]["url"] = f"sqlite:///{tmp_path}/pod-{number}.db"
            one.config_file = tmp_path / f"pod-{number}.yaml"
            await one.start()
        yield crew
        await crew.stop()


async def tell_both(pods: Pods) -> None:
    body = pods[0].message(pods[0].alert())
    await asyncio.gather(*(one.post("/webhook", body) for one in pods))
    await pods.settled()


async def test_the_first_ring_of_two_bridges_that_share_nothing_is_one_call_on_the_phone(pods: Pods) -> None:
    """Rule 8: both derive the same call UUID, and CallKit shows a call that it has already once only."""
    await tell_both(pods)
    first, second = (push.payload["call"]["uuid"] for push in pods[0].alice.pushes.items)
    assert first == second
    assert sorted(pods[0].fates()) == ["rang", "repeat"]
    assert pods[0].rings() == [0]


async def test_an_acknowledgement_at_one_of_them_is_not_known_to_the_other_which_rings_on(pods: Pods) -> None:
    """What this shape cannot do; a shared PostgreSQL can."""
    await tell_both(pods)
    (one,) = await pods[0].incidents()
    assert (await pods[0].post(f"/api/v1/incidents/{one['id']}/acknowledge?by=alice")).status == 200
    pods[0].clock.move(61)
    await pods.settled()
    assert [(await pod.incident())["state"] for pod in pods] == ["acknowledged", "triggered"]
    assert len(pods[0].rings()) == 2


async def test_a_phone_that_enrolled_at_one_of_them_is_a_stranger_to_the_other(pods: Pods) -> None:
    """What this shape cannot do: phones are to be named in the configuration of both."""
    made = await pods[0].post("/api/v1/enrolments", params={"owner": "alice"})
    done = await exchange(pods[0], made.json["code"])
    handset = Handset(pods[0], done.json["credential"])
    assert (await handset.get("/incidents")).status == 200
    handset.world = pods[1]
    assert (await handset.get("/incidents")).status == 401
