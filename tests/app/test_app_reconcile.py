"""Alerts that end unheard: a bridge that asks Alertmanager, and is not led astray by one that is away or odd."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from alertmanagers import StandIn, standing_in
from appworld import World
from structlog.testing import capture_logs

GRACE = 300


@pytest.fixture
async def upstream(stage: World) -> AsyncIterator[StandIn]:
    """An Alertmanager, and a configuration that names it; the bridge is not started yet."""
    async with standing_in(stage.clock.now) as one:
        stage.config["alertmanager"] = {"url": one.url}
        yield one


@pytest.fixture
async def world(stage: World, upstream: StandIn) -> World:
    """DiskFull fires, Alertmanager has shown it, and alice has taken it."""
    await stage.start()
    upstream.fires(**stage.alert()["labels"])
    await stage.webhook(stage.alert())
    stage.alice.answer()
    await stage.pass_(5)
    assert (await stage.incident())["acknowledged_by"] == "alice"
    assert [one["seen"] for one in (await stage.incident())["episodes"]] == [True]
    return stage


async def state(world: World) -> str:
    return str((await world.incident())["state"])


async def test_an_alert_that_ended_unheard_closes_its_incident_after_the_grace(
    world: World, upstream: StandIn
) -> None:
    upstream.alerts.clear()
    await world.pass_(60 + GRACE - 1)
    assert await state(world) == "acknowledged"
    await world.pass_(60)
    story = await world.incident()
    assert (story["state"], story["resolution"]) == ("resolved", "resolved")
    assert ("alert resolved", "DiskFull: Alertmanager has it no more") in [
        (line["kind"], line["text"]) for line in story["timeline"]
    ]
    assert world.metric("alerts_gone_total", alertmanager="default") == 1


async def test_rule_2_what_ended_unheard_and_fires_again_rings_though_alertmanager_takes_it_for_told(
    world: World, upstream: StandIn
) -> None:
    """Its notification log says "firing", so that it is silent until repeat_interval; also over a restart."""
    upstream.alerts.clear()
    await world.pass_(60 + GRACE + 60)
    assert await world.incidents() == []
    await world.restart()
    upstream.fires(**world.alert()["labels"])
    somebodys = upstream.add()
    await world.pass_(120)
    assert await world.incidents() == [], "somebody has silenced it"
    del upstream.silences[somebodys]
    rung = len(world.rings())
    await world.pass_(61)
    (again,) = await world.incidents()
    assert (again["state"], len(world.rings())) == ("triggered", rung + 1)


async def test_what_fires_again_while_a_time_interval_of_alertmanagers_mutes_it_rings_when_that_is_over(
    world: World, upstream: StandIn
) -> None:
    """Its state says "active" all the time."""
    upstream.alerts.clear()
    await world.pass_(60 + GRACE + 60)
    upstream.fires(**world.alert()["labels"])
    await world.pass_(59)
    upstream.muted = ["nights"]
    await world.pass_(600)
    assert await world.incidents() == []
    upstream.muted = []
    await world.pass_(61)
    assert [one["state"] for one in await world.incidents()] == ["triggered"]


async def test_an_alertmanager_before_0_28_does_not_say_what_is_muted_and_the_alert_rings(
    world: World, upstream: StandIn
) -> None:
    """Known, and in docs/silences.md: rather a call too many than none."""
    upstream.muted = None
    upstream.alerts.clear()
    await world.pass_(60 + GRACE + 60)
    upstream.fires(**world.alert()["labels"])
    await world.pass_(121)
    assert [one["state"] for one in await world.incidents()] == ["triggered"]


async def test_what_ended_unheard_and_was_told_since_is_alertmanagers_to_tell_from_then_on(
    world: World, upstream: StandIn
) -> None:
    upstream.alerts.clear()
    await world.pass_(60 + GRACE + 60)
    upstream.fires(**world.alert()["labels"])
    await world.webhook(world.alert())
    await world.pass_(61)
    upstream.alerts.clear()
    await world.webhook(world.alert(resolved=True))
    assert await world.incidents() == []
    upstream.fires(**world.alert()["labels"])
    await world.pass_(180)
    assert await world.incidents() == []


async def test_what_fires_on_under_a_silence_stays_open_and_does_not_expire(world: World) -> None:
    """Alertmanager mentions it no more, for days; that it has it counts as a mention."""
    world.config["alertmanager"]["reconcile_every"] = "1h"
    await world.reload()
    await world.pass_(60 * 3600)
    assert await state(world) == "acknowledged"


@pytest.mark.parametrize(
    "fault", [500, 404, b"null", b"{}", b"[{}]", b"<html>", b'[{"fingerprint": 7}]', "lost"], ids=repr
)
async def test_an_answer_that_is_none_closes_nothing(world: World, upstream: StandIn, fault: Any) -> None:
    upstream.alerts.clear()
    upstream.faults = [("GET", "alerts", fault)] * 60
    await world.pass_(2 * GRACE)
    assert await state(world) == "acknowledged"


@pytest.mark.parametrize("fault", [503, b"{}", b'{"uptime": "yesterday"}'], ids=repr)
async def test_an_alertmanager_that_does_not_say_since_when_it_runs_closes_nothing(
    world: World, upstream: StandIn, fault: Any
) -> None:
    upstream.alerts.clear()
    upstream.faults = [("GET", "status", fault)] * 60
    await world.pass_(2 * GRACE)
    assert await state(world) == "acknowledged"


async def test_one_that_restarts_and_is_told_of_the_alert_again_closes_nothing(
    world: World, upstream: StandIn
) -> None:
    known = set(upstream.alerts)
    upstream.alerts.clear()
    for _ in range(4):
        upstream.started_at = world.clock.now()
        await world.pass_(GRACE - 1)
        assert await state(world) == "acknowledged"
    upstream.alerts |= known
    await world.pass_(3 * GRACE)
    assert await state(world) == "acknowledged"


async def test_another_alertmanager_than_the_one_that_sends_closes_nothing(
    stage: World, upstream: StandIn
) -> None:
    """A wrong URL must not end what rings."""
    await stage.start()
    upstream.fires(alertname="Something")
    await stage.webhook(stage.alert())
    await stage.pass_(3 * GRACE)
    assert await state(stage) == "triggered"


async def test_a_url_that_was_changed_to_another_alertmanager_closes_nothing(
    world: World, upstream: StandIn
) -> None:
    """It has shown the alert, but not at this URL; nor after a restart."""
    async with standing_in(world.clock.now) as other:
        other.fires(alertname="Something")
        world.config["alertmanager"]["url"] = other.url
        await world.reload()
        await world.pass_(2 * GRACE)
        await world.restart()
        await world.pass_(2 * GRACE)
        assert await state(world) == "acknowledged"
        other.fires(**world.alert()["labels"])
        await world.pass_(60)
        other.alerts.clear()
        await world.pass_(60 + GRACE)
        assert await state(world) == "resolved"


async def test_an_alert_that_ended_while_the_bridge_was_down_closes_its_incident(
    world: World, upstream: StandIn
) -> None:
    """That Alertmanager has shown it is kept in the ledger."""
    await world.stop()
    upstream.alerts.clear()
    await world.start()
    await world.pass_(GRACE)
    assert await state(world) == "resolved"


async def test_an_alert_whose_fingerprint_the_bridge_made_up_is_left_to_its_time_to_live(
    stage: World, upstream: StandIn
) -> None:
    await stage.start()
    await stage.webhook(stage.alert() | {"fingerprint": "?", "labels": {"alertname": 7}})
    await stage.pass_(3 * GRACE)
    assert await state(stage) == "triggered"


async def test_one_that_is_away_is_in_the_log_once_and_in_the_metrics_for_as_long(
    world: World, upstream: StandIn
) -> None:
    upstream.alerts.clear()
    upstream.away = True
    with capture_logs() as logs:
        await world.pass_(3600)
        await world.get("/metrics")
        assert world.metric("alertmanager_unreachable_seconds", alertmanager="default") > 3500
        assert (await world.get("/-/ready")).status == 200
        upstream.away = False
        await world.pass_(60)
    await world.get("/metrics")
    assert world.metric("alertmanager_unreachable_seconds", alertmanager="default") == 0
    said = [(line["log_level"], line["event"]) for line in logs if "Alertmanager" in line["event"]]
    assert said == [
        ("warning", "Alertmanager cannot be asked for its alerts"),
        ("info", "Alertmanager answers again"),
    ]
    assert "s3cret" not in repr(logs)
    assert await state(world) == "acknowledged"
    await world.pass_(GRACE)
    assert await state(world) == "resolved"


async def test_nothing_open_it_is_not_asked_for_all_its_alerts(stage: World, upstream: StandIn) -> None:
    await stage.start()
    await stage.pass_(600)
    assert upstream.asked("GET alerts") == 0
    assert upstream.asked("GET status") == 11


async def test_several_addresses_an_alert_that_one_of_them_has_is_there(
    world: World, upstream: StandIn
) -> None:
    async with standing_in(world.clock.now) as other:
        world.config["alertmanager"]["url"] = [upstream.url, other.url]
        await world.reload()
        upstream.alerts, other.alerts = other.alerts, upstream.alerts
        await world.pass_(3 * GRACE)
        assert await state(world) == "acknowledged"
        other.alerts.clear()
        other.away = True
        await world.pass_(3 * GRACE)
        assert await state(world) == "acknowledged", "who knows what the other one has"
        other.away = False
        await world.pass_(2 * GRACE)
        assert await state(world) == "resolved"


async def test_each_source_is_compared_with_its_own_alertmanager(stage: World, upstream: StandIn) -> None:
    async with standing_in(stage.clock.now) as other:
        stage.config["sources"] = [{"name": "eu", "alertmanager": {"url": other.url}}, {"name": "us"}]
        await stage.start()
        for one in (upstream, other):
            one.fires(**stage.alert()["labels"])
        for source in ("eu", "us"):
            assert (await stage.post(f"/webhook/{source}", stage.message(stage.alert()))).status == 200
        await stage.pass_(65)
        other.alerts.clear()
        await stage.pass_(2 * GRACE)
        states = {one["source"]: one["state"] for one in await stage.incidents(closed=True)}
        assert (states["eu"], states["us"]) == ("resolved", "triggered")


async def test_what_is_missing_is_asked_for_as_often_and_as_long_as_the_configuration_says(
    world: World, upstream: StandIn
) -> None:
    world.config["alertmanager"] |= {"reconcile_every": "10s", "reconcile_grace": "20s"}
    await world.reload()
    await world.settled()
    upstream.alerts.clear()
    upstream.started_at = world.clock.now() - timedelta(seconds=20)
    await world.pass_(29)
    assert await state(world) == "acknowledged"
    await world.pass_(1)
    assert await state(world) == "resolved"
