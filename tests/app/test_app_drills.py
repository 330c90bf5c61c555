"""Drills at agreed hours: each must confirm, who did not is named, and no hour rings twice or is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from appworld import World
from commands import ask

MINUTE = 60
UNCONFIRMED, MISSED = "PushkitBridgeDrillUnconfirmed", "PushkitBridgeDrillMissed"


def drilled(world: World, **fields: Any) -> World:
    """Alice and bob take part in a drill ten minutes after the story begins; carol hears who did not confirm."""
    world.sim.add_phone("carol")
    world.config["devices"] = []
    world.config["people"] += [{"name": "carol"}]
    world.config["device_groups"] += [{"name": "chief", "owners": ["carol"]}]
    world.config["receivers"] += [{"name": "chief", "escalation": [world.step("chief", push="alert")]}]
    drill = {"name": "weekly", "device_groups": ["platform", "second"], "at": "02:10", "report_to": "chief"}
    world.config["drills"] = [drill | fields]
    return world


async def begin(world: World) -> None:
    await world.start()
    await world.enrol("alice", "bob", "carol")


@pytest.fixture
async def weekly(stage: World) -> World:
    """A bridge that runs, ten minutes before the drill."""
    await begin(drilled(stage))
    return stage


async def runs(world: World) -> list[dict[str, Any]]:
    return (await world.get("/api/v1/drills/weekly")).json["runs"]


async def results(world: World) -> dict[str, str]:
    """What came of the last one for each: "" = confirmed."""
    return {one["who"]: one["why"] for one in (await runs(world))[0]["results"]}


async def titles(world: World) -> list[str]:
    return [one["title"] for one in await world.incidents(closed=True) if not one["drill"]]


async def test_each_answers_for_themselves_and_it_has_passed_when_all_have(weekly: World) -> None:
    await weekly.pass_(10 * MINUTE)
    assert (weekly.rings("alice"), weekly.rings("bob")) == ([600], [600])
    weekly.alice.answer()
    await weekly.settled()
    assert weekly.bob.calls.items[0].state == "ringing", "who answers confirms for nobody else"
    assert [run["outcome"] for run in await runs(weekly)] == [None]
    assert await results(weekly) == {"alice": "", "bob": "did not answer"}
    await weekly.pass_(45)
    assert (weekly.rings("alice"), weekly.rings("bob")) == ([600], [600, 645])
    weekly.bob.answer()
    await weekly.settled()
    (run,) = await runs(weekly)
    assert (run["outcome"], [one["confirmed"] for one in run["results"]]) == ("passed", [True, True])
    await weekly.pass_(30 * MINUTE)
    assert await weekly.incidents() == []
    assert await titles(weekly) == [], "nobody needs to hear of it"
    await weekly.get("/metrics")
    assert weekly.metric("drills_total", drill="weekly", outcome="passed") == 1
    assert weekly.metric("drill_unconfirmed", drill="weekly", who="bob") == 0


async def test_who_did_not_confirm_is_named_in_listing_log_and_metric_and_told(
    weekly: World,
) -> None:
    await weekly.pass_(10 * MINUTE)
    weekly.alice.answer()
    with structlog.testing.capture_logs() as logs:
        await weekly.pass_(15 * MINUTE)
    (over,) = [line for line in logs if line["event"] == "drill over"]
    assert (over["log_level"], over["unconfirmed"]) == ("warning", {"bob": "did not answer"})
    (run,) = await runs(weekly)
    assert (run["outcome"], run["due_at"]) == ("failed", "2026-11-25T02:10:00+00:00")
    (report,) = await weekly.incidents()
    assert (report["title"], report["receiver"], report["drill"]) == (UNCONFIRMED, "chief", False)
    push = weekly.sim.phone("carol").pushes.items[-1].payload
    says = "chief: Drill weekly of Wed 2026-11-25 02:10 UTC: not confirmed by bob (did not answer)"
    assert (push["aps"]["alert"]["body"], push.get("drill")) == (says, None)
    await weekly.get("/metrics")
    assert weekly.metric("drill_unconfirmed", drill="weekly", who="bob") == 1
    assert weekly.metric("drill_unconfirmed", drill="weekly", who="alice") == 0
    assert weekly.metric("drills_total", drill="weekly", outcome="failed") == 1
    listed = (await ask(weekly, "drills", "list")).stdout
    assert listed == (
        "weekly  next Thu 2026-11-26 02:10 +00:00  "
        "last Wed 2026-11-25 02:10 +00:00: FAILED, not confirmed by bob\n"
    )
    shown = (await ask(weekly, "drills", "show", "weekly")).stdout
    assert "    alice  confirmed 2026-11-25T02:10:00Z\n    bob  NOT: did not answer\n" in shown
    await weekly.restart()
    await weekly.get("/metrics")
    assert weekly.metric("drill_unconfirmed", drill="weekly", who="bob") == 1


def _decline(world: World) -> None:
    world.bob.decline()


@pytest.mark.parametrize(
    ("behaviour", "then", "why"),
    [
        ("normal", _decline, "bob-iphone: declined"),
        ("silent", None, "bob-iphone: no receipt in time"),
        ("unregistered", None, "bob-iphone: unregistered (Unregistered)"),
        ("do-not-disturb", None, "did not answer"),
    ],
)
async def test_it_says_why_somebody_did_not_confirm(
    weekly: World, behaviour: str, then: Callable[[World], None] | None, why: str
) -> None:
    weekly.bob.profile.behaviour = behaviour  # type: ignore[assignment]
    weekly.alice.profile.auto_answer = 1
    await weekly.pass_(10 * MINUTE)
    if then is not None:
        then(weekly)
    await weekly.pass_(15 * MINUTE)
    assert await results(weekly) == {"alice": "", "bob": why}
    assert await titles(weekly) == [UNCONFIRMED], "no other alarm is made of it"


async def test_somebody_without_a_phone_is_named(stage: World) -> None:
    await begin(drilled(stage))
    await stage.ask("DELETE", f"{stage.url}/api/v1/devices/bob-iphone")
    stage.alice.profile.auto_answer = 1
    await stage.pass_(25 * MINUTE)
    assert await results(stage) == {"alice": "", "bob": "no phone could be rung"}


async def test_who_acknowledges_for_another_confirms_nothing(weekly: World) -> None:
    await weekly.pass_(10 * MINUTE)
    weekly.alice.answer()
    (bobs,) = [one for one in await weekly.incidents() if one["group"].get("person") == "bob"]
    await ask(weekly, "incidents", "ack", bobs["id"], "--by=alice")
    await weekly.settled()
    assert await results(weekly) == {"alice": "", "bob": "alice acknowledged it instead"}
    assert [run["outcome"] for run in await runs(weekly)] == ["failed"]


async def test_of_a_receiver_all_whom_its_steps_reach_take_part_whoever_is_on_call(stage: World) -> None:
    layer = {"members": ["alice", "bob"], "start": "2026-11-18", "handover": "02:05", "every": "1w"}
    stage.config["schedules"] = [{"name": "primary", "layers": [layer]}]
    stage.config["device_groups"][0] = {"name": "platform", "schedules": ["primary"]}
    await begin(drilled(stage, device_groups=[], receiver="chief"))
    stage.config["drills"][0] |= {"receiver": "platform"}
    stage.config["receivers"][0]["escalation"] = [stage.step("platform"), stage.step("chief")]
    stage.config["receivers"][0]["otherwise"] = ["second"]
    assert (await stage.reload()).status == 200
    await stage.pass_(10 * MINUTE)
    assert list(await results(stage)) == ["bob", "carol"]


async def test_each_device_must_confirm_where_devices_are_asked(stage: World) -> None:
    drilled(stage, each="device", device_groups=["platform"]).sim.add_phone("alice-ipad")
    await begin(stage)
    await stage.enrol("alice-ipad")
    await stage.pass_(10 * MINUTE)
    stage.alice.answer()
    await stage.pass_(15 * MINUTE)
    assert await results(stage) == {"alice-ipad": "did not answer", "alice-iphone": ""}


async def test_a_drill_with_nobody_to_ring_has_failed_and_says_so(stage: World) -> None:
    layer = {"members": ["alice"], "start": "2026-12-01", "every": "1w"}
    stage.config["schedules"] = [{"name": "primary", "layers": [layer]}]
    stage.config["device_groups"][0] = {"name": "platform", "schedules": ["primary"]}
    await begin(drilled(stage, device_groups=["platform"]))
    await stage.pass_(10 * MINUTE)
    assert [run["outcome"] for run in await runs(stage)] == ["failed"]
    body = stage.sim.phone("carol").pushes.items[-1].payload["aps"]["alert"]["body"]
    assert body.endswith("there was nobody to ring")


# --- beside what is real ----------------------------------------------------------------------


async def test_a_real_alert_during_a_drill_rings_and_the_drill_gives_way(weekly: World) -> None:
    await weekly.pass_(10 * MINUTE + 40)
    await weekly.webhook(weekly.alert())
    assert weekly.rings("alice") == [600, 640], "the drill's call is over: no gap is owed to it"
    assert "drill" not in weekly.alice.pushes.items[-1].payload
    weekly.alice.answer()
    await weekly.settled()
    real = next(one for one in await weekly.incidents() if not one["drill"])
    assert (real["title"], real["acknowledged_by"]) == ("DiskFull", "alice")
    weekly.bob.profile.auto_answer = 1
    await weekly.pass_(10 * MINUTE)
    assert await results(weekly) == {"alice": "it gave way to a real page", "bob": ""}
    assert len(weekly.rings("alice")) == 2, "whoever works on something real is drilled no more"


# --- hours ------------------------------------------------------------------------------------


async def test_a_restart_in_a_drill_neither_doubles_nor_forgets_it(weekly: World) -> None:
    await weekly.pass_(10 * MINUTE)
    await weekly.restart()
    await weekly.settled()
    weekly.alice.answer()
    await weekly.settled()
    await weekly.restart()
    await weekly.pass_(15 * MINUTE)
    assert len(weekly.rings("alice")) == 1
    assert [run["outcome"] for run in await runs(weekly)] == ["failed"]
    assert await results(weekly) == {"alice": "", "bob": "did not answer"}


@pytest.mark.parametrize(("away", "late"), [(35, True), (45, False)])
async def test_a_bridge_that_was_down_at_the_hour_rings_a_little_late_or_says_that_it_missed_it(
    weekly: World, away: int, late: bool
) -> None:
    await weekly.pass_(MINUTE)
    await weekly.stop()
    weekly.clock.move(away * MINUTE - MINUTE)
    await weekly.start()
    await weekly.settled()
    assert weekly.rings("alice") == ([away * MINUTE] if late else [])
    (run,) = await runs(weekly)
    assert (run["outcome"], run["due_at"]) == (None if late else "missed", "2026-11-25T02:10:00+00:00")
    assert await titles(weekly) == ([] if late else [MISSED])
    await weekly.restart()
    await weekly.settled()
    assert len(await runs(weekly)) == 1
    assert len(await titles(weekly)) == (0 if late else 1)


async def test_of_several_hours_that_were_missed_each_is_noted_and_one_is_told(weekly: World) -> None:
    await weekly.stop()
    weekly.clock.move(timedelta(days=3).total_seconds())
    await weekly.start()
    await weekly.settled()
    assert [run["outcome"] for run in await runs(weekly)] == ["missed"] * 3
    (told,) = await weekly.incidents()
    story = (await weekly.get(f"/api/v1/incidents/{told['id']}")).json
    says = story["episodes"][0]["annotations"]["summary"]
    assert says.endswith("the bridge was not running; nor did 2 earlier ones")
    shown = (await ask(weekly, "drills", "list")).stdout
    assert "last Fri 2026-11-27 02:10 +00:00: MISSED: the bridge was not running" in shown


async def test_other_hours_begin_with_the_next_one(weekly: World) -> None:
    await weekly.pass_(5 * MINUTE)
    weekly.config["drills"][0]["at"] = "02:03"
    assert (await weekly.reload()).status == 200
    await weekly.pass_(30 * MINUTE)
    assert weekly.rings("alice") == []
    assert (await weekly.get("/api/v1/drills")).json["drills"][0]["next_at"] == "2026-11-26T02:03:00+00:00"


async def test_a_drill_that_a_reload_takes_away_in_the_middle_still_ends_and_is_told(weekly: World) -> None:
    await weekly.pass_(10 * MINUTE)
    del weekly.config["drills"]
    assert (await weekly.reload()).status == 200
    await weekly.pass_(15 * MINUTE)
    (report,) = await weekly.incidents()
    assert (report["title"], report["receiver"]) == (UNCONFIRMED, "platform"), "the root's, now"
    assert (await ask(weekly, "drills", "list")).stdout == "no drills\n"
    gone = await ask(weekly, "drills", "show", "weekly")
    assert (gone.exit_code, '404: there is no drill "weekly"' in gone.stderr) == (1, True)


BERLIN = {"time_zone": "Europe/Berlin", "at": "02:30"}


@pytest.mark.parametrize(
    ("night", "rings"),
    [
        # 02:30 is not there: the moment of the change, 03:00 CEST.
        (datetime(2027, 3, 27, 23, tzinfo=UTC), datetime(2027, 3, 28, 1, 0, tzinfo=UTC)),
        # 02:30 is there twice: the first one, CEST.
        (datetime(2026, 10, 24, 23, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    ],
)
async def test_the_night_in_which_the_clocks_are_changed_has_one_drill_whatever_is_restarted(
    tmp_path: Path, night: datetime, rings: datetime
) -> None:
    async with World(tmp_path, night) as world:
        await begin(drilled(world, **BERLIN))
        world.alice.profile.auto_answer = world.bob.profile.auto_answer = 1
        for _ in range(20):
            await world.pass_(15 * MINUTE)
            await world.restart()
            await world.settled()
        assert [call.history[0][0] for call in world.alice.calls.items] == [rings]
        assert [run["outcome"] for run in await runs(world)] == ["passed"]


async def test_without_drills_there_is_nothing_to_look_at(world: World) -> None:
    await world.settled()
    assert world.bridge.driller.looks_at - world.clock.now() == timedelta(days=1)
