"""Silences in Alertmanager: wished for with the acknowledgement, whatever becomes of Alertmanager meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from alertmanagers import StandIn, standing_in
from appworld import World, until
from handset import Handset
from structlog.testing import capture_logs

from bridge import alertmanager, silencer

HOURS = 3600.0
Alice = tuple[World, StandIn, Handset]


@pytest.fixture
async def upstream(stage: World) -> AsyncIterator[StandIn]:
    """An Alertmanager, and a configuration that names it; the bridge is not started yet."""
    async with standing_in(stage.clock.now) as one:
        stage.config["alertmanager"] = {"url": one.url}
        stage.config["receivers"][0]["ack_creates_silence"] = "2h"
        yield one


@pytest.fixture
async def alice(stage: World, upstream: StandIn) -> Handset:
    """A phone of alice, who is rung for DiskFull."""
    await stage.start()
    handset = await Handset.enrolled(stage, device="alices")
    upstream.fires(**stage.alert()["labels"])
    await stage.webhook(stage.alert())
    return handset


async def act(alice: Handset, what: str, **fields: Any) -> None:
    """Do it, and let the bridge do at once what follows."""
    name = (await alice.world.incident())["id"]
    assert (await alice.act(name, what, **fields)).status == 200
    await alice.world.settled()


async def lines(world: World) -> list[tuple[str, str]]:
    """What the timeline says of silences."""
    found = [(line["kind"], line["text"]) for line in (await world.incident())["timeline"]]
    return [(kind, text) for kind, text in found if kind.startswith("silence ")]


async def kinds(world: World) -> list[str]:
    return [kind for kind, _ in await lines(world)]


# --- from wish to silence ---------------------------------------------------------------------


async def test_an_acknowledgement_makes_one_silence_for_its_alerts(alice: Handset, upstream: StandIn) -> None:
    world = alice.world
    await act(alice, "acknowledge")
    ((name, made),) = upstream.active.items()
    assert made["matchers"] == [{"name": "alertname", "value": "DiskFull", "isRegex": False, "isEqual": True}]
    assert (made["createdBy"], upstream.ends) == ("alice", [2 * HOURS])
    incident = (await world.incident())["id"]
    assert made["comment"] == f"pushkit-bridge, receiver platform, incident {incident}"
    assert await lines(world) == [
        ("silence created", f"in Alertmanager until 2026-11-25T04:00:00+00:00, for alice: {name}")
    ]
    assert world.metric("silences_total", outcome="created") == 1
    await world.get("/metrics")
    assert world.metric("silences_waiting") == 0


async def test_off_by_default_an_acknowledgement_makes_none(stage: World, upstream: StandIn) -> None:
    del stage.config["receivers"][0]["ack_creates_silence"]
    await stage.start()
    await stage.webhook(stage.alert())
    await act(await Handset.enrolled(stage, device="alices"), "acknowledge")
    assert upstream.silences == {}


async def given_back(alice: Handset) -> None:
    await act(alice, "unacknowledge")


async def handed_on(alice: Handset) -> None:
    await act(alice, "hand-on")


async def news(alice: Handset) -> None:
    await alice.world.webhook(alice.world.alert(instance="db-2"))


async def resolved(alice: Handset) -> None:
    await alice.world.webhook(alice.world.alert(resolved=True))


@pytest.mark.parametrize("end", [given_back, handed_on, news, resolved], ids=lambda end: end.__name__)
async def test_the_silence_ends_with_what_it_was_made_for_and_no_other_does(
    alice: Handset, upstream: StandIn, end: Callable[[Handset], Awaitable[None]]
) -> None:
    theirs = upstream.add(comment="pushkit-bridge")
    await act(alice, "acknowledge")
    (mine,) = upstream.active.keys() - {theirs}
    await end(alice)
    assert list(upstream.active) == [theirs]
    assert (await lines(alice.world))[-1] == ("silence ended", f"in Alertmanager: {mine}")


async def test_a_phones_silence_is_replaced_by_a_longer_and_a_shorter_one(
    alice: Handset, upstream: StandIn
) -> None:
    for seconds in (600, 6000, 60):
        await act(alice, "silence", seconds=seconds)
        assert upstream.ends == [seconds]
    assert await kinds(alice.world) == ["silence created", "silence changed", "silence changed"]
    assert len(upstream.silences) == 1


async def test_a_silence_whose_time_is_over_ends_by_itself(alice: Handset, upstream: StandIn) -> None:
    await act(alice, "silence", seconds=600)
    await alice.world.pass_(700)
    assert upstream.active == {}
    assert await kinds(alice.world) == ["silence created"]
    await resolved(alice)
    assert upstream.asked("DELETE") == 0


async def test_alerts_that_take_two_ways_have_a_silence_each_and_all_end(
    stage: World, upstream: StandIn
) -> None:
    stage.config["route"]["routes"] = [{"matchers": ['team=~"db|web"']}]
    await stage.start()
    alerts = [stage.alert(team=team) for team in ("db", "web")]
    await stage.webhook(*alerts)
    alice = await Handset.enrolled(stage, device="alices")
    await act(alice, "acknowledge")
    values = [{m["name"]: m["value"] for m in one["matchers"]} for one in upstream.active.values()]
    assert sorted(values, key=repr) == [{"alertname": "DiskFull", "team": team} for team in ("db", "web")]
    await stage.webhook(*(stage.alert(team=team, resolved=True) for team in ("db", "web")))
    assert upstream.active == {}


async def test_where_no_label_tells_its_alerts_from_others_the_timeline_says_why_there_is_none(
    stage: World, upstream: StandIn
) -> None:
    stage.config["route"]["group_by"] = []
    await stage.start()
    await stage.webhook(stage.alert())
    await act(await Handset.enrolled(stage, device="alices"), "acknowledge")
    assert upstream.silences == {}
    assert await lines(stage) == [
        ("silence failed", "no label tells its alerts from others; give the route a group_by")
    ]


async def test_without_an_alertmanager_nothing_is_said_of_silences(stage: World) -> None:
    stage.config["receivers"][0]["ack_creates_silence"] = "2h"
    await stage.start()
    await stage.webhook(stage.alert())
    alice = await Handset.enrolled(stage, device="alices")
    await act(alice, "acknowledge")
    await act(alice, "silence", seconds=600)
    await resolved(alice)
    await stage.pass_(5)
    assert await lines(stage) == []
    await until(lambda: nothing_waits(stage))


async def nothing_waits(world: World) -> bool:
    await world.get("/metrics")
    return world.metric("silences_waiting") == 0


async def test_the_bridges_own_alarms_are_silenced_nowhere(alice: Handset, upstream: StandIn) -> None:
    world = alice.world
    await world.bridge.desk.alarm("PushkitBridgeTrouble", {}, "a trouble")
    await world.settled()
    (own,) = [one for one in await world.incidents() if one["source"] == "pushkit-bridge"]
    assert (await alice.act(own["id"], "acknowledge")).status == 200
    await world.settled()
    assert upstream.silences == {}


# --- Alertmanager away ------------------------------------------------------------------------


async def test_alertmanager_away_delays_no_acknowledgement_and_has_the_silence_when_it_is_back(
    alice: Handset, upstream: StandIn
) -> None:
    world = alice.world
    upstream.away = True
    rung = world.rings()
    with capture_logs() as logs:
        await act(alice, "acknowledge")
        assert (await world.incident())["acknowledged_by"] == "alice"
        await world.pass_(600)
    assert world.rings() == rung
    why = "a silence cannot be made yet: it answered 503; it is tried again"
    assert await lines(world) == [("silence failed", why)]
    said = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert said.count("silence failed") == 1
    assert "hunter2" not in repr(logs)
    assert "s3cret" not in repr(logs)
    assert 10 < upstream.asked("GET silences") < 30, "less and less often"
    await world.get("/metrics")
    assert world.metric("silences_waiting") == 1
    upstream.away = False
    await world.pass_(80)
    assert upstream.ends == [2 * HOURS - 680]
    assert await kinds(world) == ["silence failed", "silence created"]


async def test_what_could_not_be_made_in_its_time_is_given_up(alice: Handset, upstream: StandIn) -> None:
    upstream.away = True
    await act(alice, "silence", seconds=300)
    await alice.world.pass_(400)
    asked = upstream.asked("GET silences")
    assert (await lines(alice.world))[-1] == (
        "silence failed",
        "given up: Alertmanager could not be told in its time",
    )
    await alice.world.pass_(300)
    assert upstream.asked("GET silences") == asked


async def test_an_incident_that_ends_before_its_silence_was_made_wants_none(
    alice: Handset, upstream: StandIn
) -> None:
    upstream.away = True
    await act(alice, "acknowledge")
    await resolved(alice)
    upstream.away = False
    await alice.world.pass_(120)
    assert upstream.asked("POST") == 0
    assert (await lines(alice.world))[-1] == ("silence ended", "in Alertmanager there was none")


async def test_a_silence_that_cannot_be_ended_is_tried_until_it_is(alice: Handset, upstream: StandIn) -> None:
    await act(alice, "acknowledge")
    upstream.faults = [("DELETE", "silence/", 500)] * 3
    await resolved(alice)
    assert len(upstream.active) == 1
    await alice.world.pass_(30)
    assert upstream.active == {}
    assert await kinds(alice.world) == ["silence created", "silence failed", "silence ended"]


@pytest.mark.parametrize("times", [1, 3])
async def test_a_lost_answer_leaves_one_silence(alice: Handset, upstream: StandIn, times: int) -> None:
    upstream.faults = [("POST", "silences", "lost")] * times
    await act(alice, "acknowledge")
    await alice.world.pass_(30)
    assert (len(upstream.silences), upstream.asked("POST")) == (1, 1)
    assert await kinds(alice.world) == ["silence failed", "silence created"]


async def test_a_lost_answer_to_the_end_is_found_out_by_looking(alice: Handset, upstream: StandIn) -> None:
    await act(alice, "acknowledge")
    upstream.faults = [("DELETE", "silence/", "lost")] * 2  # the client asks once more by itself
    await resolved(alice)
    await alice.world.pass_(10)
    assert upstream.active == {}
    assert (await lines(alice.world))[-1] == ("silence ended", "in Alertmanager there was none")


async def test_a_bridge_that_dies_before_the_answer_leaves_one_silence(
    alice: Handset, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The claim is in the ledger before Alertmanager hears of it, and the next bridge looks what stands."""
    world = alice.world

    async def killed(*_: Any) -> None:
        raise RuntimeError("killed before it could be settled")

    monkeypatch.setattr(silencer, "_settle", killed)
    await act(alice, "acknowledge")
    monkeypatch.undo()
    assert len(upstream.active) == 1
    await world.restart()
    await world.settled()
    assert (len(upstream.silences), upstream.asked("POST")) == (1, 1)
    assert await kinds(world) == ["silence created"]


async def test_an_alertmanager_that_hangs_is_given_up_and_asked_again(
    alice: Handset, upstream: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alertmanager, "TIMEOUT", 0.2)
    upstream.faults = [("GET", "silences", "hangs")]
    await act(alice, "acknowledge")
    assert (await lines(alice.world))[0][1].endswith("yet: it did not answer in time; it is tried again")
    monkeypatch.undo()
    await alice.world.pass_(5)
    assert len(upstream.active) == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (401, "it answered 401; check basic_auth or authorization under alertmanager in the configuration"),
        (
            404,
            "it answered 404; check the path in alertmanager.url; Alertmanager's own is --web.route-prefix",
        ),
        (302, "it answered 302"),
        (b"<html>Sign in</html>", "its answer is not Alertmanager's"),
        (b'{"status": "success"}', "its answer is not Alertmanager's"),
        (b"[{}]", "its answer is not Alertmanager's"),
    ],
)
async def test_an_answer_that_is_none_is_said_in_words_and_tried_again(
    alice: Handset, upstream: StandIn, fault: int | bytes, words: str
) -> None:
    upstream.faults = [("GET", "silences", fault)]
    await act(alice, "acknowledge")
    assert (await lines(alice.world))[0][1] == f"a silence cannot be made yet: {words}; it is tried again"
    await alice.world.pass_(5)
    assert len(upstream.active) == 1


async def test_somebody_who_ends_the_silence_by_hand_is_not_overruled(
    alice: Handset, upstream: StandIn
) -> None:
    await act(alice, "acknowledge")
    for one in upstream.silences.values():
        one["endsAt"] = one["startsAt"]
    await alice.world.pass_(600)
    assert upstream.active == {}
    await resolved(alice)
    assert (await lines(alice.world))[-1] == ("silence ended", "in Alertmanager there was none")


async def test_an_alertmanager_that_a_reload_takes_away_ends_the_silence_when_it_is_named_again(
    alice: Handset, upstream: StandIn
) -> None:
    world = alice.world
    await act(alice, "acknowledge")
    known = world.config.pop("alertmanager")
    await world.reload()
    await resolved(alice)
    assert len(upstream.active) == 1
    world.config["alertmanager"] = known
    await world.reload()
    await world.pass_(90)
    assert upstream.active == {}
    why = "its silence cannot be ended yet: the configuration has no Alertmanager for it any more; it is tried again"
    assert ("silence failed", why) in await lines(world)
