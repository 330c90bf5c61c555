"""The dead man's switch on the running bridge: a Watchdog stays away and returns, over restarts and reloads."""

import json
from datetime import timedelta
from typing import Any

import pytest
from appworld import World, without
from builders import NOW, at
from commands import ask
from structlog.testing import capture_logs

MINUTE = 60
HOUR = 60 * MINUTE
MISSING = "PushkitBridgeHeartbeatMissing"


def heartbeat(name: str = "prometheus", **fields: Any) -> dict[str, Any]:
    """Comes every five minutes, and is missing a minute later."""
    known = {"name": name, "matchers": ["alertname=Watchdog"], "every": "5m", "grace": "1m"}
    return known | fields


@pytest.fixture
async def watching(stage: World) -> World:
    """A running bridge that waits for a Watchdog, and has seen it at its start."""
    stage.config["heartbeats"] = [heartbeat()]
    await stage.start()
    await beat(stage)
    return stage


async def beat(world: World, **labels: str) -> None:
    await world.webhook(world.alert("Watchdog", severity="none", **labels))


async def beats(world: World, seconds: float) -> None:
    """Let it come every five minutes for a while, up to the last moment."""
    for _ in range(int(seconds // (5 * MINUTE))):
        await world.pass_(5 * MINUTE)
        await beat(world)


async def missing(world: World, *, closed: bool = False) -> list[str]:
    """Which heartbeats there are, or were, incidents of."""
    found = await world.incidents(closed=closed)
    return [one["group"]["heartbeat"] for one in found if one["title"] == MISSING]


# --- it comes, stays away, and returns --------------------------------------------------------


async def test_a_watchdog_that_comes_rings_nobody_and_is_no_incident(watching: World) -> None:
    await beats(watching, HOUR)
    assert await watching.incidents(closed=True) == []
    assert watching.rings() == []


async def test_one_that_stays_away_rings_as_any_incident_and_its_return_resolves_it(watching: World) -> None:
    await watching.pass_(6 * MINUTE - 1)
    assert watching.rings() == []
    await watching.pass_(1)
    assert watching.rings() == [360]
    (incident,) = await watching.incidents()
    assert (incident["title"], incident["receiver"], incident["state"]) == (MISSING, "platform", "triggered")
    assert incident["group"]["heartbeat"] == "prometheus"
    await watching.pass_(5 * MINUTE)
    assert watching.rings("bob") == [660], "the second step"
    await beat(watching)
    story = await watching.incident()
    assert (story["state"], story["resolution"]) == ("resolved", "resolved")
    assert (await watching.incidents()) == []
    await watching.pass_(5 * MINUTE)
    assert len(watching.rings("bob")) == 1, "nobody is rung any more"
    await watching.pass_(MINUTE)
    assert await missing(watching, closed=True) == ["prometheus"] * 2, "it stays away once more: another one"


async def test_it_is_missed_to_the_second_whenever_somebody_looked_last(watching: World) -> None:
    await watching.pass_(7)
    await beat(watching)
    await watching.pass_(6 * MINUTE)
    assert watching.rings() == [367]


async def test_a_phone_that_answers_has_it_and_it_stays_open_however_long(watching: World) -> None:
    await watching.pass_(6 * MINUTE)
    watching.alice.answer()
    await watching.settled()
    watching.clock.move(365 * 24 * HOUR)
    await watching.settled()
    await watching.pass_(MINUTE)
    (incident,) = await watching.incidents()
    assert (incident["state"], incident["acknowledged_by"]) == ("acknowledged", "alice")
    assert watching.rings() == [360]
    await beat(watching)
    assert await watching.incidents() == []


async def test_a_missing_heartbeat_that_nobody_answers_raises_the_alarm_of_that(watching: World) -> None:
    """Once for the heartbeat, at the root receiver, and not again for the alarm itself."""
    await watching.pass_(HOUR)
    titles = [one["title"] for one in await watching.incidents(closed=True)]
    assert titles == [MISSING, "PushkitBridgeIncidentUnanswered"]
    assert await missing(watching) == ["prometheus"]


async def test_a_resolved_watchdog_is_no_sign_of_life_and_no_incident(watching: World) -> None:
    await watching.pass_(4 * MINUTE)
    await watching.webhook(watching.alert("Watchdog", severity="none", resolved=True))
    await watching.pass_(2 * MINUTE)
    assert watching.rings() == [360]


async def test_what_comes_with_it_in_one_notification_rings_as_ever(watching: World) -> None:
    await watching.webhook(watching.alert("Watchdog", severity="none"), watching.alert("DiskFull"))
    (incident,) = await watching.incidents()
    assert (incident["title"], incident["alerts"]) == ("DiskFull", 1)
    assert watching.rings() == [0]
    await watching.webhook(watching.alert("DiskFull", resolved=True))
    assert await watching.incidents() == []


async def test_one_that_was_never_wired_up_is_noticed(stage: World) -> None:
    stage.config["heartbeats"] = [heartbeat()]
    await stage.start()
    await stage.pass_(6 * MINUTE)
    assert await missing(stage) == ["prometheus"]
    (episode,) = (await stage.incident())["episodes"]
    assert episode["annotations"]["summary"] == (
        "The heartbeat prometheus has never come, and was waited for since 2026-11-25 02:00:00 UTC"
    )


async def test_two_heartbeats_are_missed_each_by_itself_at_its_own_receiver(stage: World) -> None:
    stage.config["receivers"].append({"name": "second", "escalation": [stage.step("second")]})
    stage.config["heartbeats"] = [
        heartbeat("eu", matchers=["alertname=Watchdog", "cluster=eu"]),
        heartbeat("us", matchers=['{alertname="Watchdog",cluster="us"}'], receiver="second", every="9m"),
    ]
    await stage.start()
    await beat(stage, cluster="eu")
    await beat(stage, cluster="us")
    await stage.pass_(9 * MINUTE)
    assert await missing(stage) == ["eu"]
    await stage.pass_(MINUTE)
    assert await missing(stage) == ["eu", "us"]
    assert (stage.rings()[0], stage.rings("bob")[-1]) == (360, 600)
    await beat(stage, cluster="us")
    assert await missing(stage) == ["eu"]


async def test_each_alertmanager_can_be_watched_by_itself(stage: World) -> None:
    stage.config["sources"] = [{"name": "eu"}, {"name": "us"}]
    stage.config["heartbeats"] = [heartbeat(name, source=name) for name in ("eu", "us")]
    await stage.start()
    await stage.pass_(MINUTE)
    body = stage.message(stage.alert("Watchdog"))
    assert (await stage.post("/webhook/us", body)).status == 200
    await stage.pass_(5 * MINUTE)
    assert await missing(stage) == ["eu"]


# --- rule 10: restarts, outages, the clock ----------------------------------------------------


async def test_a_restart_in_between_changes_nothing_before_and_after_it_rings(watching: World) -> None:
    """Rule 10: deadlines outlast a restart."""
    await watching.pass_(4 * MINUTE)
    await watching.restart()
    await watching.pass_(2 * MINUTE)
    assert watching.rings() == [360]
    await watching.pass_(10)
    await watching.restart()
    await watching.pass_(35)
    assert watching.rings() == [360, 405]
    assert await missing(watching, closed=True) == ["prometheus"]
    await beat(watching)
    assert await watching.incidents() == []


async def test_a_bridge_that_was_down_gives_it_a_fair_chance(watching: World) -> None:
    await watching.pass_(4 * MINUTE)
    await watching.stop()
    watching.clock.move(HOUR)
    await watching.start()
    await watching.pass_(6 * MINUTE - 1)
    assert watching.rings() == []
    await watching.pass_(1)
    assert watching.rings() == [(4 + 60 + 6) * MINUTE]


async def test_one_that_came_before_the_first_look_after_a_start_is_not_missed(watching: World) -> None:
    await watching.pass_(6 * MINUTE)
    await watching.stop()
    watching.clock.move(HOUR)
    await watching.start()
    await beat(watching)
    assert await watching.incidents() == []
    await watching.pass_(6 * MINUTE - 1)
    assert await watching.incidents() == []


async def test_one_that_never_came_counts_from_when_it_was_first_known_over_restarts(stage: World) -> None:
    stage.config["heartbeats"] = [heartbeat()]
    await stage.start()
    for _ in range(3):
        await stage.pass_(110)
        await stage.restart()
    await stage.pass_(30)
    assert stage.rings() == [360]


@pytest.mark.parametrize("hours", [-10, 10])
async def test_a_jump_of_the_wall_clock_over_a_restart_neither_rings_nor_puts_it_off(
    watching: World, hours: int
) -> None:
    """Rule 10: it has its six minutes, by either clock."""
    await watching.pass_(4 * MINUTE)
    await watching.stop()
    watching.clock.move(hours * HOUR)
    await watching.start()
    begun = watching.elapsed
    await watching.pass_(6 * MINUTE - 1)
    assert await missing(watching) == []
    await watching.pass_(1)
    assert watching.rings() == [begun + 360]


async def test_a_ledger_that_refused_it_is_no_reason_to_miss_it(watching: World) -> None:
    """What we answered 503 was a sign of life that we lost ourselves: it comes again."""
    await watching.pass_(4 * MINUTE)
    with without(watching, "heartbeats"):
        for _ in range(60):
            watching.clock.move(5)
            await watching.settled()
        refused = await watching.post("/webhook", watching.message(watching.alert("Watchdog")))
        assert refused.status == 503
        assert (await watching.get("/-/ready")).json["error"] == "heartbeats cannot be watched"
    await watching.pass_(MINUTE)
    assert (await watching.get("/-/ready")).status == 200
    assert await watching.incidents() == []
    await watching.pass_(6 * MINUTE)
    assert await missing(watching) == ["prometheus"]


# --- reloads ----------------------------------------------------------------------------------


async def reload(world: World, *heartbeats: dict[str, Any]) -> None:
    world.config["heartbeats"] = list(heartbeats)
    answer = await world.reload()
    assert answer.status == 200, answer.text
    await world.settled()


async def test_a_heartbeat_that_is_taken_out_ends_its_incident_and_is_forgotten(watching: World) -> None:
    await watching.pass_(6 * MINUTE)
    await reload(watching)
    (incident,) = await watching.incidents(closed=True)
    assert incident["state"] == "resolved"
    await beat(watching)  # an ordinary alert from now on
    assert [one["title"] for one in await watching.incidents()] == ["Watchdog"]
    await reload(watching, heartbeat())
    await watching.pass_(6 * MINUTE - 1)
    assert await missing(watching) == [], "it is waited for since the reload"
    await watching.pass_(1)
    assert await missing(watching) == ["prometheus"]


async def test_one_that_was_taken_out_of_a_bridge_that_was_down_is_named_and_soon_forgotten(
    watching: World,
) -> None:
    """Another bridge on the same ledger may have it still, until nobody has looked for ten minutes."""
    await watching.pass_(6 * MINUTE)
    watching.config["heartbeats"] = []
    with capture_logs() as logs:
        await watching.restart()
        await watching.pass_(10 * MINUTE)
    (told,) = [one for one in logs if one["event"].startswith("unknown heartbeats")]
    assert told["names"] == ("prometheus",)
    assert await missing(watching) == ["prometheus"]
    await watching.pass_(30)
    assert await missing(watching) == []


async def test_a_heartbeat_that_is_renamed_is_another_one(watching: World) -> None:
    await watching.pass_(6 * MINUTE)
    await reload(watching, heartbeat("watchdog"))
    assert await watching.incidents() == []
    await watching.pass_(6 * MINUTE)
    assert await missing(watching, closed=True) == ["prometheus", "watchdog"]


async def test_a_watchdog_that_rang_before_it_was_a_heartbeat_ends_when_it_next_comes(world: World) -> None:
    await beat(world)
    assert [one["title"] for one in await world.incidents()] == ["Watchdog"]
    await reload(world, heartbeat())
    await beat(world)
    assert await world.incidents() == []


async def test_an_incident_stays_where_it_is_when_the_heartbeats_receiver_changes(watching: World) -> None:
    """Rule 1: the receiver is picked when the episode opens and stays; its return ends it there."""
    await watching.pass_(6 * MINUTE)
    watching.config["receivers"].append({"name": "second", "escalation": [watching.step("second")]})
    await reload(watching, heartbeat(receiver="second"))
    await watching.pass_(MINUTE)
    (incident,) = await watching.incidents()
    assert incident["receiver"] == "platform"
    await beat(watching)
    assert await watching.incidents() == []


async def test_a_reload_with_a_mistake_leaves_the_heartbeats_as_they_are(watching: World) -> None:
    watching.config["heartbeats"] = [heartbeat(receiver="platfrom")]
    refused = await watching.reload()
    assert refused.status == 500
    assert refused.json["problems"][0].endswith('undefined receiver "platfrom", did you mean "platform"?')
    await watching.pass_(6 * MINUTE)
    assert await missing(watching) == ["prometheus"]


# --- what is committed together ---------------------------------------------------------------


async def test_two_who_look_at_once_make_one_incident(watching: World) -> None:
    """As after a reload in the very moment in which it is due."""
    watching.clock.move(6 * MINUTE)
    watching.bridge.watcher.wake()
    await watching.bridge.watcher.look()
    await watching.bridge.watcher.look()
    await watching.pass_(6 * MINUTE)
    assert await missing(watching, closed=True) == ["prometheus"]
    assert (await watching.timeline()).count("triggered") == 1


async def test_it_is_not_seen_where_the_rest_of_its_notification_cannot_be_committed(
    watching: World,
) -> None:
    await watching.pass_(MINUTE)
    with without(watching, "timeline"):
        body = watching.message(watching.alert("Watchdog"), watching.alert("DiskFull"))
        assert (await watching.post("/webhook", body)).status == 503
    (one,) = (await watching.get("/api/v1/heartbeats")).json["heartbeats"]
    assert one["seen_at"] == NOW.isoformat()


# --- what operators see -----------------------------------------------------------------------


async def test_the_listing_says_when_each_came_and_which_are_missing(stage: World) -> None:
    stage.config["heartbeats"] = [
        heartbeat(),
        heartbeat("eu", matchers=["alertname=Watchdog", "cluster=~eu.*"], source="eu", grace="0s"),
    ]
    await stage.start()
    await stage.pass_(5 * MINUTE)
    await beat(stage)
    lines = (await ask(stage, "heartbeats", "list")).stdout.splitlines()
    assert lines == [
        'prometheus  due 2026-11-25T02:11:00Z  seen 2026-11-25T02:05:00Z  receiver=platform  alertname="Watchdog"',
        'eu  MISSING since 2026-11-25T02:05:00Z  NEVER SEEN  receiver=platform source=eu  alertname="Watchdog", cluster=~"eu.*"',
    ]
    said = json.loads((await ask(stage, "heartbeats", "list", "-o", "json")).stdout)
    assert said == (await stage.get("/api/v1/heartbeats")).json
    assert said["heartbeats"][0] == {
        "name": "prometheus",
        "source": None,
        "matchers": ['alertname="Watchdog"'],
        "every_seconds": 300.0,
        "grace_seconds": 60.0,
        "receiver": "platform",
        "known_at": NOW.isoformat(),
        "seen_at": at(300).isoformat(),
        "due_at": (at(300) + timedelta(minutes=6)).isoformat(),
        "missing_since": None,
    }


async def test_the_listing_of_none_says_so(world: World) -> None:
    assert (await ask(world, "heartbeats", "list")).stdout == "no heartbeats\n"


async def test_the_metrics_tell_of_each_heartbeat_and_of_none_that_is_gone(watching: World) -> None:
    await watching.pass_(90)
    await watching.get("/metrics")
    assert watching.metric("heartbeat_last_seen_seconds", heartbeat="prometheus") == 90
    assert watching.metric("heartbeat_missing", heartbeat="prometheus") == 0
    await watching.pass_(300)
    await watching.get("/metrics")
    assert watching.metric("heartbeat_last_seen_seconds", heartbeat="prometheus") == 390
    assert watching.metric("heartbeat_missing", heartbeat="prometheus") == 1
    await reload(watching)
    assert 'heartbeat="prometheus"' not in (await watching.get("/metrics")).text
