"""What a phone that enrolled sees of incidents and calls, and what its person does to them."""

import asyncio
import json
from typing import Any

import pytest
from appworld import World
from handset import Handset, fresh
from test_app_phone import post, receipt

ACTS = {
    "acknowledge": {},
    "unacknowledge": {},
    "hand-on": {},
    "silence": {"seconds": 600},
    "notes": {"text": "it is the disk"},
}


@pytest.fixture
async def alice(world: World) -> Handset:
    return await Handset.enrolled(world, device="alices")


@pytest.fixture
async def bob(world: World) -> Handset:
    return await Handset.enrolled(world, "bob", device="bobs")


async def only(handset: Handset) -> Any:
    """The one incident that it is shown."""
    (one,) = (await handset.get("/incidents?state=all")).json["incidents"]
    return one


async def kinds(handset: Handset, name: str) -> list[str]:
    return [event["kind"] for event in (await handset.get(f"/incidents/{name}")).json["timeline"]]


# --- visibility -------------------------------------------------------------------------------


def two_teams(world: World) -> None:
    """Alerts of team a ring alice alone, those of team b ring bob alone."""
    world.config["receivers"] = [
        {"name": "a", "escalation": [world.step("platform")]},
        {"name": "b", "escalation": [world.step("second")]},
    ]
    routes = [{"matchers": [f'team="{name}"'], "receiver": name} for name in ("a", "b")]
    world.config["route"] = {"receiver": "b", "group_by": ["alertname"], "routes": routes}


async def test_a_person_sees_what_rings_them_or_could_and_nothing_else(stage: World) -> None:
    two_teams(stage)
    await stage.start()
    handsets = [await Handset.enrolled(stage, owner) for owner in ("alice", "bob")]
    await stage.webhook(stage.alert("A", team="a"), stage.alert("B", team="b"))
    seen = [[one["title"] for one in (await h.get("/incidents")).json["incidents"]] for h in handsets]
    assert seen == [["A"], ["B"]]


async def test_anothers_incident_is_404_for_every_verb_and_nothing_happens_to_it(stage: World) -> None:
    two_teams(stage)
    await stage.start()
    alice, bob = [await Handset.enrolled(stage, owner) for owner in ("alice", "bob")]
    await stage.webhook(stage.alert("A", team="a"))
    name = (await only(alice))["id"]
    before = (await alice.get(f"/incidents/{name}")).json
    assert (await bob.get(f"/incidents/{name}")).status == 404
    for verb, fields in ACTS.items():
        answer = await bob.act(name, verb, **fields)
        assert (answer.status, answer.json["error"]) == (
            404,
            "there is no such incident for this device's owner",
        )
        assert (await alice.act("no-such-incident", verb, **fields)).json == answer.json, "and says no more"
    assert (await alice.get(f"/incidents/{name}")).json == before


async def test_a_step_far_down_the_policy_and_a_group_of_devices_count_too(stage: World) -> None:
    """Whoever could be rung sees it before it rings them."""
    stage.config["device_groups"][1] = {"name": "second", "devices": ["bob-iphone"]}
    await stage.start()
    bob = await Handset.enrolled(stage, "bob")
    await stage.webhook(stage.alert())
    assert stage.rings("bob") == []
    assert (await only(bob))["title"] == "DiskFull"


async def test_who_was_paged_still_sees_it_when_no_receiver_reaches_them_any_more(stage: World) -> None:
    two_teams(stage)
    await stage.start()
    alice = await Handset.enrolled(stage)
    await stage.webhook(stage.alert("A", team="a"))
    stage.config["device_groups"][0]["owners"] = ["bob"]
    assert (await stage.reload()).status == 200
    await stage.webhook(stage.alert("Another", team="a"))
    assert (await only(alice))["title"] == "A"
    assert (await alice.act((await only(alice))["id"], "acknowledge")).json["acknowledged_by"] == "alice"


async def test_a_step_with_webhooks_alone_shows_nothing_to_anybody(stage: World) -> None:
    two_teams(stage)
    step = {"webhooks": [{"name": "alice-iphone", "url": "http://127.0.0.1:1/"}]}
    stage.config["receivers"][0]["escalation"] = [step]
    await stage.start()
    alice = await Handset.enrolled(stage)
    await stage.webhook(stage.alert("A", team="a"))
    assert (await alice.get("/incidents")).json["incidents"] == []


# --- one incident -----------------------------------------------------------------------------


async def test_an_incident_is_shown_with_its_alerts_links_and_timeline(alice: Handset) -> None:
    world = alice.world
    firing = world.alert(instance="i1") | {
        "annotations": {"summary": "Disk full on i1", "runbook_url": "https://runbooks.example.com/disk"}
    }
    broken = {
        "status": "firing",
        "labels": {"alertname": "DiskFull", "instance": "i2"},
        "annotations": {"runbook": "r"},
    }
    await world.webhook(firing, broken, truncatedAlerts=3)
    one = (await alice.get(f"/incidents/{(await only(alice))['id']}")).json
    shown = {alert["labels"]["instance"]: alert for alert in one["alerts"]}
    assert shown["i1"] == {
        "fingerprint": firing["fingerprint"],
        "status": "firing",
        "labels": firing["labels"],
        "annotations": firing["annotations"],
        "starts_at": "2026-11-25T01:59:00.000Z",
        "ended_at": None,
        "generator_url": "http://prom.example/graph",
        "runbook_url": "https://runbooks.example.com/disk",
        "repairs": [],
    }
    assert sorted(shown["i2"]["repairs"]) == ["fingerprint", "startsAt"]
    assert shown["i2"]["runbook_url"] == "r"
    facts = {
        "state": "triggered",
        "title": "DiskFull",
        "summary": "Disk full on i1",
        "severity": "critical",
        "receiver": "platform",
        "source": "default",
        "group": {"alertname": "DiskFull"},
        "revision": 1,
        "alerts_firing": 2,
        "alerts_total": 2,
        "truncated_alerts": 3,
        "step": 1,
        "next_ring_at": "2026-11-25T02:00:45.000Z",
        "opened_at": "2026-11-25T02:00:00.000Z",
        "acknowledged_by": None,
        "resolution": None,
        "external_url": "http://am.example:9093",
    }
    assert one | facts == one
    assert [event["kind"] for event in one["timeline"]] == ["triggered", "ring", "received"]
    ids = [event["id"] for event in one["timeline"]]
    assert ids == sorted(ids)
    listed = await only(alice)
    assert listed == {name: value for name, value in one.items() if name not in {"alerts", "timeline"}}


async def test_firing_alerts_come_first_and_an_ended_one_says_when(alice: Handset) -> None:
    world = alice.world
    await world.webhook(world.alert(instance="i1"), world.alert(instance="i2"))
    await world.pass_(30)
    await world.webhook(world.alert(instance="i1", resolved=True))
    one = (await alice.get(f"/incidents/{(await only(alice))['id']}")).json
    assert [(alert["labels"]["instance"], alert["status"]) for alert in one["alerts"]] == [
        ("i2", "firing"),
        ("i1", "resolved"),
    ]
    assert one["alerts"][1]["ended_at"] == "2026-11-25T02:00:30.000Z"
    assert (one["alerts_firing"], one["alerts_total"]) == (1, 2)


async def test_an_incident_or_call_that_is_not_there_is_404(alice: Handset) -> None:
    for name in ("x", "%FF", "%00", "..%2F..%2Fdevice", "🙂", "x" * 4000):
        assert (await alice.get(f"/incidents/{name}")).status == 404, name
        assert (await alice.get(f"/calls/{name}")).status == 404, name
        assert (await alice.act(name, "acknowledge")).status == 404, name


# --- the list ---------------------------------------------------------------------------------


async def test_the_list_is_gone_through_page_by_page_the_newest_first(alice: Handset) -> None:
    world = alice.world
    for batch in range(3):  # many at the same instant, then later ones
        await world.webhook(*(world.alert(f"Alert{batch}-{number}") for number in range(85)))
        await world.pass_(1)
    whole: list[dict[str, Any]] = []
    query, pages = "?limit=50", 0
    while query:
        page = (await alice.get(f"/incidents{query}")).json
        assert len(page["incidents"]) == (50 if page["next"] else 5)
        whole += page["incidents"]
        query = f"?limit=50&before={page['next']}" if page["next"] else ""
        pages += 1
    assert (pages, len(whole), len({one["id"] for one in whole})) == (6, 255, 255)
    times = [one["opened_at"] for one in whole]
    assert times == sorted(times, reverse=True)
    assert len((await alice.get("/incidents")).json["incidents"]) == 100, "the most that is given at once"


async def test_a_page_that_is_just_full_is_the_last_one(alice: Handset) -> None:
    await alice.world.webhook(alice.world.alert("A"), alice.world.alert("B"))
    page = (await alice.get("/incidents?limit=2")).json
    assert (len(page["incidents"]), page["next"]) == (2, None)
    assert (await alice.get("/incidents?limit=1")).json["next"] is not None


async def test_what_comes_meanwhile_moves_no_page(alice: Handset) -> None:
    world = alice.world
    await world.webhook(world.alert("A"), world.alert("B"), world.alert("C"))
    first = (await alice.get("/incidents?limit=2")).json
    await world.pass_(1)
    await world.webhook(world.alert("D"))
    second = (await alice.get(f"/incidents?limit=2&before={first['next']}")).json
    titles = [one["title"] for page in (first, second) for one in page["incidents"]]
    assert sorted(titles) == ["A", "B", "C"]


async def test_closed_incidents_are_in_the_list_of_all(alice: Handset) -> None:
    world = alice.world
    await world.webhook(world.alert("A"), world.alert("B"))
    await world.webhook(world.alert("A", resolved=True))
    listed = (await alice.get("/incidents")).json["incidents"]
    assert [one["title"] for one in listed] == ["B"]
    every = {
        one["title"]: one["state"] for one in (await alice.get("/incidents?state=all")).json["incidents"]
    }
    assert every == {"A": "resolved", "B": "triggered"}


CANNOT_BE = {
    "state": ["closed", ""],
    "limit": ["0", "101", "-1", "1e2", "", "%D9%A1", "9" * 5000],
    "before": ["", "x", "%FF%00", "MjAyNg", "A" * 5000, "🙂"],
}


async def test_a_list_that_cannot_be_is_refused_and_says_why(alice: Handset) -> None:
    for name, values in CANNOT_BE.items():
        for value in values:
            answer = await alice.get(f"/incidents?{name}={value}")
            assert (answer.status, name in answer.json["error"]) == (400, True), (name, value)


# --- acts -------------------------------------------------------------------------------------


async def test_acknowledging_ends_the_rings_on_every_phone(alice: Handset, bob: Handset) -> None:
    world = alice.world
    await world.webhook(world.alert())
    done = await bob.act((await only(bob))["id"], "acknowledge")
    assert (done.json["state"], done.json["acknowledged_by"]) == ("acknowledged", "bob")
    assert done.json == await only(alice)
    await world.pass_(600)
    assert (world.rings("alice"), world.rings("bob")) == ([0], [])
    again = await alice.act(done.json["id"], "acknowledge")
    assert again.json["acknowledged_by"] == "bob", "the first has it"


async def test_given_back_it_rings_from_step_1(alice: Handset) -> None:
    world = alice.world
    await world.webhook(world.alert())
    name = (await only(alice))["id"]
    await alice.act(name, "acknowledge")
    await world.pass_(600)
    done = await alice.act(name, "unacknowledge")
    await world.settled()
    assert (done.json["state"], done.json["acknowledged_by"], done.json["step"]) == ("triggered", None, 1)
    assert world.rings() == [0, 600]


async def test_handed_on_the_next_step_rings_at_once_and_this_one_no_more(alice: Handset) -> None:
    world = alice.world
    await world.webhook(world.alert())
    await world.pass_(10)
    done = await alice.act((await only(alice))["id"], "hand-on")
    await world.settled()
    assert (done.json["step"], world.rings("bob")) == (2, [10])
    await world.pass_(180)
    assert world.rings("alice") == [0]


async def test_silenced_it_rings_when_the_time_is_over_if_it_still_fires(alice: Handset) -> None:
    world = alice.world
    await world.webhook(world.alert("A"), world.alert("B"))
    for one in (await alice.get("/incidents")).json["incidents"]:
        done = await alice.act(one["id"], "silence", seconds=600)
        assert done.json["silenced_until"] == done.json["next_ring_at"] == "2026-11-25T02:10:00.000Z"
    await world.pass_(300)
    await world.webhook(world.alert("A", resolved=True), world.alert("B", instance="news"))
    await world.pass_(299)
    assert world.rings() == [0]
    await world.pass_(1)
    assert world.rings() == [0, 600]
    assert [one["title"] for one in world.alice.calls.items[-1].payload["incidents"]] == ["B"]


async def test_a_silence_that_cannot_be_is_refused(alice: Handset) -> None:
    await alice.world.webhook(alice.world.alert())
    name = (await only(alice))["id"]
    for seconds in (0, -1, 30 * 24 * 3600 + 1, 1.5, "600", None, 10**30, True):
        answer = await alice.act(name, "silence", seconds=seconds)
        assert (answer.status, "seconds" in answer.json["error"]) == (400, True), seconds
    assert (await only(alice))["silenced_until"] is None


ODD = [
    "it is the disk",
    "zwei\nZeilen",
    "🙂 " * 100,
    "\u202e\x1b[2J<script>&amp;",
    "x" * 1000,
    "'; DROP TABLE",
    " ",
]


async def test_a_note_is_kept_as_it_was_written(alice: Handset) -> None:
    await alice.world.webhook(alice.world.alert())
    name = (await only(alice))["id"]
    for text in ODD:
        assert (await alice.act(name, "notes", text=text)).status == 200, text
    timeline = (await alice.get(f"/incidents/{name}")).json["timeline"]
    assert [event["text"] for event in timeline if event["kind"] == "note"] == [
        f"alice: {text}" for text in ODD
    ]


async def test_a_note_that_is_none_is_refused(alice: Handset) -> None:
    await alice.world.webhook(alice.world.alert())
    name = (await only(alice))["id"]
    for body in (
        b'{"event_id": "e", "text": ""}',
        b'{"event_id": "e", "text": "' + b"x" * 1001 + b'"}',
        b'{"event_id": "e", "text": "a\\u0000b"}',
        b'{"event_id": "e", "text": "\\ud800"}',
        b'{"event_id": "e", "text": 7}',
        b'{"event_id": "e"}',
        b'{"event_id": "", "text": "x"}',
        b'{"event_id": "a\\u0000", "text": "x"}',
        b'{"event_id": "' + b"x" * 101 + b'", "text": "x"}',
        b'{"text": "x"}',
        b"",
        b"\xff",
        b"[]",
        b"null",
    ):
        answer = await alice.ask("POST", f"/incidents/{name}/notes", body)
        assert (answer.status, answer.json["hint"]) == (400, "GET /api/v1/openapi.json describes it"), body
    assert "note" not in await kinds(alice, name)


async def test_a_body_over_16_kib_is_413(alice: Handset) -> None:
    assert (await alice.act("x", "notes", text="x", padding="x" * 17_000)).status == 413


async def test_nothing_changes_an_incident_that_is_over_but_a_note(alice: Handset) -> None:
    world = alice.world
    await world.webhook(world.alert())
    await world.webhook(world.alert(resolved=True))
    before = await only(alice)
    for verb, fields in ACTS.items():
        done = await alice.act(before["id"], verb, **fields)
        assert (done.status, done.json) == (200, before), verb
    assert (await kinds(alice, before["id"]))[-2:] == ["too late", "note"]
    await world.pass_(3600)
    assert world.rings() == [0]


# --- repetitions ------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ACTS)
async def test_the_same_act_again_has_no_second_effect(alice: Handset, verb: str) -> None:
    """By its event id: after a lost answer, at the same instant, and after a restart."""
    world = alice.world
    await world.webhook(world.alert())
    name = (await only(alice))["id"]
    if verb == "unacknowledge":
        await alice.act(name, "acknowledge")
    path, body = f"/incidents/{name}/{verb}", fresh() | ACTS[verb]
    answers = await asyncio.gather(*(alice.ask("POST", path, body) for _ in range(5)))
    assert {answer.status for answer in answers} == {200}
    await world.settled()
    before = await kinds(alice, name)
    await world.restart()
    assert (await alice.ask("POST", path, body)).status == 200
    assert await kinds(alice, name) == before
    wanted = {"acknowledge": "acknowledged", "unacknowledge": "unacknowledged", "hand-on": "handed on"}
    kind = wanted.get(verb, {"silence": "silenced", "notes": "note"}.get(verb))
    assert before.count(str(kind)) == 1
    assert (await alice.ask("POST", path, body | fresh())).status == 200


async def test_a_repetition_says_how_the_incident_is_now(alice: Handset, bob: Handset) -> None:
    world = alice.world
    await world.webhook(world.alert())
    name = (await only(alice))["id"]
    body = fresh()
    await alice.ask("POST", f"/incidents/{name}/acknowledge", body)
    await alice.act(name, "unacknowledge")
    again = await alice.ask("POST", f"/incidents/{name}/acknowledge", body)
    assert (again.status, again.json["state"]) == (200, "triggered")


async def test_two_phones_may_use_the_same_event_id(alice: Handset, bob: Handset) -> None:
    await alice.world.webhook(alice.world.alert())
    name = (await only(alice))["id"]
    for handset in (alice, bob):
        await handset.ask("POST", f"/incidents/{name}/notes", {"event_id": "e", "text": "seen"})
    assert (await kinds(alice, name)).count("note") == 2


async def test_two_who_acknowledge_at_the_same_instant_both_hear_who_has_it(
    alice: Handset, bob: Handset
) -> None:
    await alice.world.webhook(alice.world.alert())
    name = (await only(alice))["id"]
    answers = await asyncio.gather(*(handset.act(name, "acknowledge") for handset in (alice, bob)))
    assert len({answer.json["acknowledged_by"] for answer in answers}) == 1


# --- calls and receipts -----------------------------------------------------------------------


@pytest.fixture
async def ringing(stage: World) -> Handset:
    """Alice's enrolled phone, which has the simulated phone's tokens and says nothing by itself."""
    stage.config["devices"] = [stage.device("bob")]
    stage.alice.profile.behaviour = "silent"
    await stage.start()
    handset = await Handset.enrolled(stage)
    await handset.put(voip_token=stage.alice.profile.voip_token)
    return handset


def pushed(handset: Handset) -> dict[str, Any]:
    """What the last push said of its call."""
    call: dict[str, Any] = handset.world.alice.pushes.items[-1].payload["call"]
    return call


async def test_a_call_of_300_incidents_is_shown_whole_the_worst_first(ringing: Handset) -> None:
    """Design: every alert is in what the phone fetches, also what its push had no room for."""
    world = ringing.world
    alerts = [
        world.alert(f"Alert{number}", instance=f"i{copy}", severity="warning" if number else "critical")
        for number in range(300)
        for copy in range(2)
    ]
    assert (await world.post("/webhook", world.message(*alerts[1:], alerts[0]))).status == 200
    await world.settled()
    payload = world.alice.pushes.items[0].payload
    assert payload["incidents_omitted"] > 200
    call = (await ringing.get(f"/calls/{payload['call']['id']}")).json
    assert len(call["incidents"]) == 300
    assert sum(len(one["alerts"]) for one in call["incidents"]) == 600
    assert call["incidents"][0]["title"] == "Alert0"
    assert [one["id"] for one in call["incidents"][: len(payload["incidents"])]] == [
        one["id"] for one in payload["incidents"]
    ]
    assert {name: call[name] for name in ("id", "uuid", "state")} == {
        "id": payload["call"]["id"],
        "uuid": payload["call"]["uuid"],
        "state": "open",
    }


async def test_a_call_is_shown_to_its_own_device_alone(ringing: Handset) -> None:
    await ringing.world.webhook(ringing.world.alert())
    name = pushed(ringing)["id"]
    assert (await ringing.get(f"/calls/{name}")).json["incidents"][0]["timeline"]
    for other in (
        await Handset.enrolled(ringing.world, "bob"),
        await Handset.enrolled(ringing.world, device="another-of-alices"),
    ):
        assert (await other.get(f"/calls/{name}")).status == 404
        answer = await other.ask("POST", f"/calls/{name}/receipts", receipt("answered"))
        assert (answer.status, answer.json["error"]) == (404, "there is no such call of this device")
    assert (await only(ringing))["state"] == "triggered"


@pytest.mark.parametrize("by", ["credential", "token"])
async def test_a_receipt_is_taken_by_the_devices_credential_and_by_the_calls_token(
    ringing: Handset, by: str
) -> None:
    await ringing.world.webhook(ringing.world.alert())
    call = pushed(ringing)
    body = receipt("answered")
    token = ringing.credential if by == "credential" else call["receipt_token"]
    answers = [await post(ringing.world, call, body, token) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert answers[0].json == answers[1].json
    assert answers[0].json["incidents"][0]["acknowledged_by"] == "alice"
    assert (await kinds(ringing, (await only(ringing))["id"])).count("acknowledged") == 1


async def test_the_calls_token_works_when_the_device_was_taken_over_and_the_old_credential_does_not(
    ringing: Handset,
) -> None:
    world = ringing.world
    await world.webhook(world.alert())
    call = pushed(ringing)
    await Handset.enrolled(world, device=ringing.name)
    assert (await post(world, call, receipt("received"), ringing.credential)).status == 401
    assert (await post(world, call, receipt("received"))).status == 200


async def test_a_receipt_of_a_call_that_is_not_there_is_404_by_credential(ringing: Handset) -> None:
    assert (await ringing.ask("POST", "/calls/x/receipts", receipt("received"))).status == 404


async def test_nothing_that_is_shown_holds_a_secret(ringing: Handset) -> None:
    world = ringing.world
    await world.webhook(world.alert())
    name = (await only(ringing))["id"]
    for path in ("/incidents", f"/incidents/{name}", f"/calls/{pushed(ringing)['id']}"):
        text = (await ringing.get(path)).text
        assert not [secret for secret in (*world.secrets(), ringing.credential) if secret in text]
        assert json.loads(text)
