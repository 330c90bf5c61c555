"""Rules of the design as stories on the running bridge: muting, phones without receipts, two bridges, Apple lost."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import yaml
from aiohttp import web
from appworld import World

from bridge.app import Bridge, Options
from bridge.simulator import Answer
from bridge.simulator.feeds import Feed

HOUR = 3600

# --- rule 3: muting ---------------------------------------------------------------------------


@pytest.fixture
async def by_day(stage: World) -> World:
    """Warnings are muted from midnight to seven; the story begins at two."""
    stage.config["time_intervals"] = [
        {"name": "nights", "time_intervals": [{"times": [{"start_time": "00:00", "end_time": "07:00"}]}]}
    ]
    stage.config["route"]["routes"] = [
        {"matchers": ['severity="warning"'], "mute_time_intervals": ["nights"]},
    ]
    await stage.start()
    return stage


async def test_a_muted_alert_rings_when_the_mute_ends(by_day: World) -> None:
    """Rule 3: Alertmanager has our 200, and would not send it again in time."""
    await by_day.webhook(by_day.alert(severity="warning"))
    await by_day.pass_(5 * HOUR - 1)
    assert by_day.rings() == []
    assert (await by_day.incident())["next_ring_at"] == "2026-11-25T07:00:00+00:00"
    await by_day.restart()
    await by_day.pass_(1)
    assert by_day.rings() == [5 * HOUR]


async def test_a_muted_alert_that_resolves_in_time_wakes_nobody(by_day: World) -> None:
    """Rule 3."""
    await by_day.webhook(by_day.alert(severity="warning"))
    await by_day.pass_(HOUR)
    await by_day.webhook(by_day.alert(severity="warning", resolved=True))
    await by_day.pass_(9 * HOUR)
    assert by_day.alice.pushes.items == []


async def test_what_rings_when_a_mute_begins_goes_on(stage: World) -> None:
    """Rule 3: an escalation that has begun is not stopped by the clock."""
    stage.config["time_intervals"] = [
        {"name": "soon", "time_intervals": [{"times": [{"start_time": "02:01", "end_time": "07:00"}]}]}
    ]
    stage.config["route"]["routes"] = [{"mute_time_intervals": ["soon"], "matchers": ['severity="critical"']}]
    await stage.start()
    await stage.webhook(stage.alert())
    await stage.pass_(599)
    assert stage.rings("alice") == [0, 45, 90, 135]
    assert stage.rings("bob") == [300, 345, 390, 435]


# --- rule 6: receipts -------------------------------------------------------------------------


async def test_a_phone_known_by_static_tokens_alone_follows_the_schedule_without_receipts(
    world: World,
) -> None:
    """Rule 6: it says nothing, and that is no trouble: no fallback, no doubt, no next step before its time."""
    world.alice.profile.behaviour = "silent"
    await world.webhook(world.alert())
    await world.pass_(299)
    assert world.fates("alice") == ["silent"] * 4
    assert {push.notification.push_type for push in world.alice.pushes.items} == {"voip"}
    assert world.bob.pushes.items == []
    await world.get("/metrics")
    assert "pushkit_bridge_device_trouble{" not in (await world.get("/metrics")).text


# --- rule 8: two bridges that share nothing ---------------------------------------------------


async def test_two_bridges_that_share_nothing_ring_a_phone_once_and_both_hear_the_answer(
    stage: World,
) -> None:
    """Rule 8: the same UUID, so CallKit shows one call; the receipts go to both."""
    stage.sim.tokens.renewals = 2  # they share a key, and each has a provider token of its own
    await stage.start()
    config = stage.config | {"storage": {"url": f"sqlite:///{stage.folder}/other.db"}}
    file = stage.folder / "other.yaml"
    file.write_text(yaml.safe_dump(config))
    async with Bridge(
        Options(file, ("127.0.0.1:0",), phone_listen="127.0.0.1:0"), clock=stage.clock
    ) as other:
        alert = stage.alert()
        first, second = (
            stage.message(alert),
            stage.message(alert | {"startsAt": alert["startsAt"].replace("00+", "00.007+")}),
        )
        assert first != second
        assert (await stage.post("/webhook", first)).status == 200
        await stage.alice.pushes.until(1, 30)
        stage.clock.move(0.001)
        assert (await stage.ask("POST", f"{other.bound.web[0]}/webhook", second)).status == 200
        await stage.alice.pushes.until(2, 30)
        assert stage.fates() == ["rang", "joined"]
        stage.alice.answer()
        receipts = await stage.alice.receipts.until(4, 30)
        assert {one.status for one in receipts} == {200}
        for url in (stage.url, other.bound.web[0]):
            (incident,) = (await stage.ask("GET", f"{url}/api/v1/incidents")).json["incidents"]
            assert (incident["state"], incident["acknowledged_by"]) == ("acknowledged", "alice")


# --- rule 4: when Apple is lost ---------------------------------------------------------------


@pytest.fixture
async def hook() -> AsyncIterator[tuple[str, Feed[Any]]]:
    """An outgoing webhook's server: its URL, and what was posted to it."""
    posts: Feed[Any] = Feed()

    async def take(request: web.Request) -> web.Response:
        """Refuse each post at its first try."""
        key = request.headers["Idempotency-Key"]
        known = key in {one for one, _ in posts.items}
        posts.add((key, await request.json()))
        return web.Response(status=204 if known else 500)

    app = web.Application()
    app.router.add_post("/hook", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook", posts
    await runner.cleanup()


async def test_a_revoked_key_does_not_silence_the_webhook_of_the_next_step(
    stage: World, hook: tuple[str, Feed[Any]]
) -> None:
    """Rule 4: the same outbox serves both, so it is tried again too, under the same key."""
    url, posts = hook
    stage.config["receivers"] = [
        {"name": "platform", "escalation": [stage.step("platform"), {"webhooks": [{"url": url}]}]}
    ]
    await stage.start()
    stage.sim.service.script.extend([Answer(403, "InvalidProviderToken")] * 1000)
    await stage.webhook(stage.alert())
    incident = next(one["id"] for one in await stage.incidents() if one["title"] == "DiskFull")
    await stage.pass_(5)
    keys = [key for key, body in posts.items if incident in str(body)]
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert stage.elapsed == 5, "no phone could be reached: the next step began at once"
    pages = (await stage.get(f"/api/v1/incidents/{incident}")).json["pages"]
    (page,) = (page for page in pages if page["kind"] == "webhook")
    assert (page["id"], page["outcome"], page["attempt"]) == (keys[0], "accepted", 2)
