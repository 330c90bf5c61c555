"""The main line on real parts: Prometheus, Alertmanager and the bridge as processes, a phone that rings."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge.children import Child
from bridge.rig import Rig

from .scene import (
    Disks,
    alertmanager_config,
    calls_sent,
    configure,
    log,
    rings,
    scene,
    shown,
    start_prometheus,
)

pytestmark = pytest.mark.real

EVERY = 2
ALERT = ("alertname=DiskFull", "team=db", "severity=critical")


# --- until somebody has it --------------------------------------------------------------------


async def by_the_command(rig: Rig, incident: str) -> str:
    await rig.cli("incidents", "ack", "--by", "carol", incident)
    return "carol"


async def by_the_phone(rig: Rig, incident: str) -> str:
    phone = rig.simulator.phone("alice-iphone")
    while True:
        await rig.within("a call", phone.wait_for_call(None))
        with suppress(LookupError):  # over already, on a slow machine: then the next one
            phone.answer()
            return "alice"


async def one_alone(rig: Rig) -> list[Child]:
    return [await rig.start_alertmanager(alertmanager_config(rig))]


async def a_cluster(rig: Rig) -> list[Child]:
    one, other = rig.address(), rig.address()
    return [
        await rig.start_alertmanager(
            alertmanager_config(rig),
            f"--cluster.listen-address={here}",
            f"--cluster.peer={there}",
            "--cluster.gossip-interval=50ms",
            name=name,
        )
        for name, here, there in (("one", one, other), ("other", other, one))
    ]


@pytest.mark.parametrize(
    ("start_alertmanagers", "acknowledge"),
    [(one_alone, by_the_command), (one_alone, by_the_phone), (a_cluster, by_the_command)],
    ids=lambda part: part.__name__,
)
async def test_a_firing_rule_rings_the_phone_every_two_seconds_until_somebody_has_it(
    tmp_path: Path,
    start_alertmanagers: Callable[[Rig], Awaitable[list[Child]]],
    acknowledge: Callable[[Rig, str], Awaitable[str]],
) -> None:
    """Alice's alert is acknowledged; bob's rings on, and so tells when alice's would have rung again."""
    ring = {"every": f"{EVERY}s", "for": "1s", "times": 100}
    config = configure(tmp_path, {"alice": "db", "bob": "web"}, ring)
    async with AsyncExitStack() as stack:
        disks = Disks()
        port = await disks.start(stack)
        rig = await stack.enter_async_context(scene(tmp_path, config))
        await rig.start_bridge()
        alertmanagers = await start_alertmanagers(rig)
        await start_prometheus(rig, port, [one.url.removeprefix("http://") for one in alertmanagers])
        await rig.ready()
        alice, bob = (rig.simulator.phone(f"{name}-iphone") for name in ("alice", "bob"))

        disks.full = {"db": True, "web": True}
        await rig.within("a call", alice.wait_for_call(None))
        await rig.within("another call", alice.wait_for_call(None))
        incident = await incident_of(rig, "alice")
        who = await acknowledge(rig, incident)
        await rig.until("the acknowledgement", lambda: reaches(rig, incident, "acknowledged"))
        await rig.within("bob to be rung twice more", bob.calls.until(len(bob.calls.items) + 2, None))
        disks.full["db"] = False
        await rig.until("the resolve", lambda: reaches(rig, incident, "resolved"))

        story = await shown(rig, incident)
        assert story["acknowledged_by"] == who
        assert (story["state"], story["resolution"]) == ("resolved", "resolved")
        assert_one_episode(story)
        first, second = rings(story)[:2]
        assert at(second["due_at"]) - at(first["due_at"]) >= timedelta(seconds=EVERY)
        assert all(at(page["due_at"]) <= at(story["acknowledged_at"]) for page in rings(story))
        assert {push.apns_id for push in calls_sent(rig, alice.name)} <= {p["call_id"] for p in rings(story)}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def incident_of(rig: Rig, receiver: str) -> str:
    (found,) = [one["id"] for one in await rig.incidents() if one["receiver"] == receiver]
    return str(found)


async def reaches(rig: Rig, incident: str, state: str) -> bool | None:
    return (await rig.incident(incident))["state"] == state or None


def assert_one_episode(story: dict[str, Any]) -> None:
    """News once, and then rings that count on: nothing has begun anew."""
    assert [event["kind"] for event in story["timeline"]].count("triggered") == 1
    assert story["revision"] == 1
    assert {(page["series"], page["step"]) for page in rings(story)} == {(1, 1)}
    assert [page["ring"] for page in rings(story)] == list(range(1, len(rings(story)) + 1))


# --- one alert, told in many ways -------------------------------------------------------------


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A bridge that rings once for each episode: another call is another episode."""
    config = configure(tmp_path, {"alice": "db"}, {"every": "2s", "for": "1s", "times": 1})
    async with scene(tmp_path, config) as rig:
        await rig.start_bridge()
        yield rig


async def told(rig: Rig, count: int) -> set[str]:
    """Wait until the bridge has committed so many webhooks; gives their groups."""

    async def look() -> set[str] | None:
        found = log(rig, "webhook")
        return {line["group_key"] for line in found} if len(found) >= count else None

    return await rig.until(f"{count} webhooks", look)


async def fire(rig: Rig, *alertmanagers: Child) -> None:
    for one in alertmanagers:
        await rig.amtool(one, "alert", "add", *ALERT)


async def resolve(rig: Rig, *alertmanagers: Child) -> dict[str, Any]:
    """End the alert; gives the story of its incident, which must be the only one."""
    for one in alertmanagers:
        await rig.amtool(one, "alert", "add", *ALERT, f"--end={datetime.now(UTC).isoformat()}")
    (incident,) = await rig.incidents()
    await rig.until("the resolve", lambda: reaches(rig, incident["id"], "resolved"))
    return await shown(rig, incident["id"])


def assert_rung_once(rig: Rig, story: dict[str, Any]) -> None:
    assert_one_episode(story)
    assert len(rings(story)) == len(calls_sent(rig, "alice-iphone")) == 1


async def test_two_alertmanagers_that_cannot_see_each_other_make_one_ring_episode(rig: Rig) -> None:
    pair = [await rig.start_alertmanager(alertmanager_config(rig), name=name) for name in ("one", "other")]
    await rig.ready()
    await fire(rig, *pair)
    await told(rig, 2)
    story = await resolve(rig, *pair)
    await told(rig, 4)
    assert_rung_once(rig, story)


async def test_an_alert_under_two_group_keys_makes_one_ring_episode(rig: Rig) -> None:
    """Alertmanager's `continue: true`: two of its routes lead to the bridge."""
    routes = ({"matchers": ['team="db"'], "continue": True}, {"matchers": ['severity="critical"']})
    one = await rig.start_alertmanager(alertmanager_config(rig, *routes))
    await rig.ready()
    await fire(rig, one)
    assert len(await told(rig, 2)) == 2
    story = await resolve(rig, one)
    await told(rig, 4)
    assert_rung_once(rig, story)


async def test_regrouping_by_a_reload_of_alertmanager_makes_no_further_ring_episode(rig: Rig) -> None:
    one = await rig.start_alertmanager(alertmanager_config(rig))
    await rig.ready()
    await fire(rig, one)
    await told(rig, 1)
    (rig.folder / "alertmanager.yml").write_text(alertmanager_config(rig, group_by=["severity"]))
    async with aiohttp.ClientSession() as session, session.post(f"{one.url}/-/reload") as answer:
        assert answer.status == 200
    assert len(await told(rig, 2)) == 2
    (rig.folder / "alertmanager.yml").write_text(alertmanager_config(rig, group_by=["..."]))
    one.process.send_signal(signal.SIGHUP)
    assert len(await told(rig, 3)) == 3
    assert_rung_once(rig, await resolve(rig, one))
