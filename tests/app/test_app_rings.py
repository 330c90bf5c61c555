"""What rings, and how often: rules 2, 4 and 5 on the running bridge."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from appworld import World

ONE_EPISODE = [0, 45, 90, 135]
"""When alice's phone rings for one series that nobody answers."""


async def test_a_firing_alert_rings_until_its_step_is_over_then_the_next_person(world: World) -> None:
    """Rule 4: ring.every, ring.times, then_after."""
    await world.webhook(world.alert())
    await world.pass_(599)
    assert world.rings("alice") == ONE_EPISODE
    assert world.rings("bob") == [300, 345, 390, 435]


async def test_an_incident_that_nobody_answered_is_an_alarm_of_its_own(world: World) -> None:
    await world.webhook(world.alert())
    await world.pass_(600)
    incident, alarm = await world.incidents()
    assert alarm["title"] == "PushkitBridgeIncidentUnanswered"
    assert alarm["group"]["incident"] == incident["id"]
    assert incident["unanswered_at"] is not None
    assert world.alice.calls.items[-1].payload["reason"].startswith("platform: Nobody answered DiskFull at")
    assert world.rings("alice") == [*ONE_EPISODE, 600]


async def test_an_alarm_that_nobody_answered_is_no_alarm_again(world: World) -> None:
    await world.webhook(world.alert())
    await world.pass_(1300)
    assert len(await world.incidents()) == 2


# --- one ring episode for all that is no news -------------------------------------------------


def as_it_was(message: dict[str, Any]) -> None:
    pass


def of_a_peer(message: dict[str, Any]) -> None:
    """An HA peer saw the same alert begin some milliseconds later."""
    message["externalURL"] = "http://other.example:9093"
    for alert in message["alerts"]:
        alert["startsAt"] = (
            datetime.fromisoformat(alert["startsAt"]) + timedelta(milliseconds=7)
        ).isoformat()


def under_another_group_key(message: dict[str, Any]) -> None:
    """`continue: true`: one alert comes by two routes."""
    message["groupKey"] = '{}/{severity="critical"}:{alertname="DiskFull"}'
    message["receiver"] = "another"


def regrouped(message: dict[str, Any]) -> None:
    """Alertmanager was reloaded with another group_by: it begins anew."""
    message |= {"groupKey": "{}:{severity}", "groupLabels": {"severity": "critical"}}
    message["notification_reason"] = "first notification"


def after_a_restart(message: dict[str, Any]) -> None:
    """A restart of Prometheus moves startsAt."""
    for alert in message["alerts"]:
        alert["startsAt"] = (datetime.fromisoformat(alert["startsAt"]) + timedelta(hours=1)).isoformat()


@pytest.mark.parametrize("again", [as_it_was, of_a_peer, under_another_group_key, regrouped, after_a_restart])
async def test_what_is_open_already_rings_no_second_time(
    world: World, again: Callable[[dict[str, Any]], None]
) -> None:
    """Rule 2: identity is (source, fingerprint), never groupKey, never the exact startsAt."""
    message = {"alerts": [world.alert()], "groupKey": "{}:{}", "externalURL": "http://am.example:9093"}
    await world.webhook(*message["alerts"])
    await world.pass_(20)
    again(message)
    alerts = message.pop("alerts")
    await world.webhook(*alerts, **message)
    await world.pass_(280)
    assert world.rings() == ONE_EPISODE
    assert (await world.timeline()).count("triggered") == 1


async def test_a_repeat_of_an_acknowledged_incident_leaves_the_phones_alone(world: World) -> None:
    await world.webhook(world.alert())
    world.alice.answer()
    await world.pass_(3600)
    await world.webhook(world.alert())
    await world.pass_(3600)
    assert world.rings() == [0]
    assert (await world.incident())["state"] == "acknowledged"


async def test_webhooks_at_the_same_instant_make_one_incident_and_one_call(world: World) -> None:
    """Two peers, each of which retries: the slot's unique incident holds (rule 1)."""
    body = world.message(world.alert())
    answers = await asyncio.gather(*(world.post("/webhook", body) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert {tuple(answer.json["incidents"]) for answer in answers} == {
        (next(iter(await world.incidents()))["id"],)
    }
    await world.settled()
    assert world.rings() == [0]
    assert len((await world.incident())["pages"]) == 1


# --- news -------------------------------------------------------------------------------------


async def test_an_alert_that_joins_begins_the_rings_anew(world: World) -> None:
    """Rule 2: a fingerprint that was not open is news: from step 1, ring 1."""
    await world.webhook(world.alert(instance="i1"))
    await world.pass_(100)
    await world.webhook(world.alert(instance="i1"), world.alert(instance="i2"))
    await world.pass_(400)
    # The call of 90 was up until 120, and its quiet gap lasts until 150: the second ring comes first,
    # for it keeps the pace (docs/adr/0004).
    assert world.rings() == [0, 45, 90, 145, 190, 235]
    assert world.rings("bob") == [400, 445, 490]
    assert (await world.timeline()).count("triggered") == 2


async def test_an_alert_that_joins_an_acknowledged_incident_rings_again(world: World) -> None:
    """Rule 2: acknowledged or not, news is news."""
    await world.webhook(world.alert(instance="i1"))
    world.alice.answer()
    await world.pass_(600)
    await world.webhook(world.alert(instance="i2"))
    await world.settled()
    assert world.rings() == [0, 600]
    incident = await world.incident()
    assert (incident["state"], incident["revision"], incident["acknowledged_by"]) == ("triggered", 2, None)


async def test_news_of_another_alertname_is_another_incident(world: World) -> None:
    """Rule 1: the slot is made of the values of group_by."""
    await world.webhook(world.alert("DiskFull"), world.alert("NodeDown"))
    assert sorted(one["title"] for one in await world.incidents()) == ["DiskFull", "NodeDown"]
    assert world.rings() == [0], "both travel in one call (rule 5)"
    assert world.alice.calls.items[0].payload["counts"]["incidents"] == 2


async def test_two_sources_never_share_an_incident(stage: World) -> None:
    """Rule 1: the source is part of the slot, and of an alert's identity (rule 2)."""
    stage.config["sources"] = [{"name": "eu"}, {"name": "us"}]
    await stage.start()
    for source in ("eu", "us"):
        assert (await stage.post(f"/webhook/{source}", stage.message(stage.alert()))).status == 200
    assert (await stage.post("/webhook/eu", stage.message(stage.alert(resolved=True)))).status == 200
    states = {one["source"]: one["state"] for one in await stage.incidents(closed=True)}
    assert states == {"eu": "resolved", "us": "triggered"}


# --- the end ----------------------------------------------------------------------------------


async def test_a_resolve_ends_the_rings_and_tells_those_who_were_told(world: World) -> None:
    await world.webhook(world.alert())
    await world.pass_(50)
    await world.webhook(world.alert(resolved=True))
    await world.pass_(600)
    assert world.rings() == [0, 45]
    assert world.rings("bob") == []
    assert world.alice.pushes.items[-1].payload["kind"] == "resolved"
    assert world.bob.pushes.items == []


async def test_a_body_that_says_resolved_ends_only_the_alerts_that_say_so_themselves(world: World) -> None:
    """With max_alerts: 1 Alertmanager says "resolved" while the group still fires (rule 2)."""
    one, two = world.alert(instance="i1"), world.alert(instance="i2")
    await world.webhook(one, two)
    await world.webhook(world.alert(instance="i1", resolved=True), truncatedAlerts=1)
    await world.webhook(status="resolved")
    await world.webhook(two, status="resolved")
    (incident,) = await world.incidents()
    assert (incident["state"], incident["alerts_firing"]) == ("triggered", 1)


async def test_a_firing_alert_in_a_body_that_says_resolved_rings(world: World) -> None:
    await world.webhook(world.alert(), status="resolved")
    assert world.rings() == [0]


async def test_an_alert_that_nobody_resolves_expires_after_its_time_to_live(stage: World) -> None:
    """Rule 2: alert_ttl counts from the last mention, and what ends that way is expired, not resolved."""
    stage.config["alert_ttl"] = "2h"
    await stage.start()
    await stage.webhook(stage.alert())
    stage.alice.answer()
    await stage.pass_(3600)
    await stage.webhook(stage.alert())
    await stage.pass_(7199)
    assert (await stage.incident())["state"] == "acknowledged"
    await stage.pass_(1)
    story = await stage.incident()
    assert (story["state"], story["resolution"]) == ("resolved", "expired")
    assert [alert["status"] for alert in story["episodes"]] == ["expired"]
    last = stage.alice.pushes.items[-1].payload
    assert [one["resolution"] for one in last["incidents"]] == ["expired"]


async def test_an_alert_that_fires_anew_after_its_incident_ended_opens_another(world: World) -> None:
    """Rule 2: refire_quiet is for an incident that is still open; this one was over."""
    await world.webhook(world.alert())
    await world.webhook(world.alert(resolved=True))
    await world.pass_(60)
    await world.webhook(world.alert())
    assert [one["state"] for one in await world.incidents(closed=True)] == ["resolved", "triggered"]
    assert world.rings() == [0, 60]


async def test_an_alert_that_flaps_beside_a_firing_one_joins_again_without_ringing(world: World) -> None:
    """Rule 2: within refire_quiet of its end, while the incident is open."""
    await world.webhook(world.alert(instance="i1"), world.alert(instance="i2"))
    world.alice.answer()
    await world.pass_(60)
    for _ in range(5):
        await world.webhook(world.alert(instance="i2", resolved=True))
        await world.pass_(60)
        await world.webhook(world.alert(instance="i2"))
        await world.pass_(60)
    assert world.rings() == [0]
    assert (await world.incident())["state"] == "acknowledged"
