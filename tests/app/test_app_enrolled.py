"""The simulator's phones as the app does it: enrolled, with tokens of their own, and an ear for the stream."""

import aiohttp
import pytest
from appworld import World, until

from bridge.api.phone import events
from bridge.simulator import Refused
from bridge.simulator.membership import read_link

BOTH = ["alice", "bob"]


@pytest.fixture
async def both(stage: World) -> World:
    """Alice and bob ring together."""
    stage.config["devices"] = []
    stage.config["device_groups"][0]["owners"] = BOTH
    await stage.start()
    await stage.enrol(*BOTH)
    return stage


async def test_a_phone_that_enrolled_rings_and_says_so(home: World) -> None:
    await home.webhook(home.alert())
    assert home.rings() == [0]
    assert [(one.kind, one.status) for one in home.alice.receipts.items] == [("received", 200)]
    home.alice.answer()
    await home.settled()
    assert (await home.incident())["acknowledged_by"] == "alice"


async def test_a_phone_may_post_receipts_with_its_credential(home: World) -> None:
    home.alice.profile.receipts_by = "credential"
    await home.webhook(home.alert())
    home.alice.answer()
    await home.settled()
    assert [(one.kind, one.status) for one in home.alice.receipts.items] == [
        ("received", 200),
        ("answered", 200),
    ]


async def test_a_ring_ends_on_the_others_phone_when_one_answers(both: World) -> None:
    await both.webhook(both.alert())
    call = both.bob.calls.items[0]
    both.alice.answer()
    await call.wait_for("ended", 30)
    assert call.why == "acknowledged: answered by alice"
    assert both.alice.calls.items[0].state == "answered"


async def test_what_ended_in_flight_mode_is_heard_after_it(both: World) -> None:
    """The stream is taken up again, by Last-Event-ID."""
    await both.webhook(both.alert())
    await both.bob.heard.until(1, 30)
    both.bob.profile.behaviour = "cut-off"
    with pytest.raises(ConnectionError, match="the phone is in flight mode"):
        await both.bob.enrolled.ask("GET", "/api/v1/device")
    both.alice.answer()
    await both.settled()
    call = both.bob.calls.items[0]
    assert call.state == "ringing"
    both.bob.profile.behaviour = "normal"
    await call.wait_for("ended", 30)
    numbers = [int(one.number) for one in both.bob.heard.items if one.number]
    assert numbers == sorted(set(numbers))
    kinds = [one.data["event"]["kind"] for one in both.bob.heard.items if one.kind == "incident"]
    assert kinds.count("acknowledged") == 1


async def test_the_stream_outlives_a_restart_of_the_bridge(stage: World) -> None:
    stage.config["devices"] = []
    await stage.start()
    await stage.enrol("alice")
    await stage.webhook(stage.alert())
    await stage.restart()
    await stage.webhook(stage.alert(resolved=True))
    call = stage.alice.calls.items[0]
    await call.wait_for("ended", 30)
    assert call.why == "resolved: resolved"


async def test_a_token_that_changed_rings_and_the_old_one_is_dead(home: World) -> None:
    """PushKit's didUpdate."""
    old = home.alice.profile.voip_token
    await home.alice.rotate_tokens()
    assert home.alice.profile.voip_token != old
    await home.webhook(home.alert())
    assert home.rings() == [0]
    assert [one.answer.status for one in home.sim.service.answered] == [200]


async def test_a_token_that_was_invalidated_is_asked_for_no_more(home: World) -> None:
    """PushKit's didInvalidatePushToken; the alert token stands in."""
    await home.alice.invalidate("voip")
    assert not (await home.alice.enrolled.ask("GET", "/api/v1/device"))["has_voip_token"]
    await home.webhook(home.alert())
    assert home.fates() == ["notified"]
    assert (await home.alice.put_tokens())["has_voip_token"] is False


async def test_a_device_that_is_revoked_hears_no_more_and_knows_it_at_once(
    home: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_KEEP_ALIVE", 3600.0)
    membership = home.alice.enrolled
    await until(lambda: membership.last_event != "", "the stream was not opened")
    await home.ask("DELETE", f"{home.url}/api/v1/devices/alice-iphone")
    await until(lambda: home.alice.membership is None)
    with pytest.raises(LookupError, match="alice has not enrolled"):
        await home.alice.put_tokens()


async def test_what_people_do_on_a_phone_reaches_the_incident(home: World) -> None:
    await home.webhook(home.alert())
    name = (await home.incident())["id"]
    membership = home.alice.enrolled
    for verb, fields in (
        ("acknowledge", {}),
        ("unacknowledge", {}),
        ("hand-on", {}),
        ("silence", {"seconds": 600}),
        ("notes", {"text": "it is the disk"}),
    ):
        await membership.act(name, verb, **fields)
    await home.settled()
    kinds = [kind for kind in await home.timeline() if kind not in {"triggered", "ring", "received"}]
    assert kinds == ["acknowledged", "unacknowledged", "handed on", "silenced", "note"]
    with pytest.raises(Refused, match="404: there is no such incident"):
        await membership.act("another", "acknowledge")


async def test_a_line_separator_in_a_text_ends_no_line_of_the_stream(home: World) -> None:
    await home.webhook(home.alert())
    await home.alice.enrolled.act((await home.incident())["id"], "notes", text="one \u2028 two \x85 three")
    await until(
        lambda: any(heard.data["event"]["text"].endswith("three") for heard in home.alice.heard.items)
    )


async def test_the_app_lists_what_was_open_before_it_listened_and_hears_the_rest(stage: World) -> None:
    await stage.start()
    await stage.webhook(stage.alert())
    await stage.enrol("alice")
    inbox = stage.alice.inbox
    await until(lambda: [one["state"] for one in inbox.items()] == ["triggered"], "it was not listed")
    await stage.webhook(stage.alert(resolved=True))
    await until(lambda: [one["state"] for one in inbox.items()] == ["resolved"], "the end was not heard")


async def test_an_app_that_was_killed_rings_again_once_it_is_opened_and_one_that_is_gone_cannot_be(
    home: World,
) -> None:
    home.alice.profile.behaviour = "silent"
    assert (await home.alice.open())["would_ring"]
    await home.webhook(home.alert())
    assert home.fates() == ["rang"]
    home.alice.profile.behaviour = "unregistered"
    with pytest.raises(LookupError, match="the app is not on alice any more"):
        await home.alice.open()


# --- over the simulator's control interface ---------------------------------------------------


async def control(world: World, path: str, body: object) -> tuple[int, dict[str, object]]:
    async with aiohttp.ClientSession() as session:
        url = f"{world.sim.control_url}/phones/{path}"
        async with session.post(url, json=body) as answer:
            return answer.status, await answer.json()


async def link(world: World, owner: str = "alice") -> str:
    return (await world.post("/api/v1/enrolments", params={"owner": owner})).json["link"]


async def test_a_person_enrols_a_virtual_phone_with_what_the_qr_code_says(stage: World) -> None:
    stage.config["devices"] = []
    await stage.start()
    status, phone = await control(stage, "alice/enrol", {"link": await link(stage)})
    url = stage.bridge.bound.phone
    assert status == 200
    assert phone["enrolled"] == {"url": url, "device": "alice-iphone", "owner": "alice"}
    await stage.webhook(stage.alert())
    name = (await stage.incident())["id"]
    status, incident = await control(stage, f"alice/incidents/{name}/silence", {"seconds": 60})
    assert (status, incident["silenced_until"]) == (200, "2026-11-25T02:01:00.000Z")
    before = phone["voip_token"]
    status, phone = await control(stage, "alice/rotate", {})
    assert (status, phone["voip_token"] == before) == (200, False)
    assert (await control(stage, "alice/invalidate", {"kind": "alert"}))[0] == 200
    device = await stage.alice.enrolled.ask("GET", "/api/v1/device")
    assert (device["has_voip_token"], device["has_alert_token"]) == (True, False)


async def test_a_bridge_that_says_no_or_nothing_is_quoted(stage: World) -> None:
    await stage.start()
    url = stage.bridge.bound.phone
    code = {"url": url, "code": "0000-0000-0000"}
    assert await control(stage, "alice/enrol", code) == (409, {"error": "400: this code is not valid"})
    assert (await control(stage, "alice/incidents/x/acknowledge", {}))[0] == 409
    await stage.stop()
    status, said = await control(stage, "alice/enrol", code)
    assert (status, str(said["error"]).startswith("the bridge does not answer at")) == (502, True)


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("alice/enrol", {}, "url is a text, not None"),
        ("alice/enrol", {"link": "https://example.com/?url=x&code=y"}, "this is not an enrolment link"),
        ("alice/invalidate", {"kind": "sms"}, "kind is voip or alert, not 'sms'"),
    ],
)
async def test_a_wrong_wish_is_told_what_is_wrong(
    stage: World, path: str, body: dict[str, str], error: str
) -> None:
    status, said = await control(stage, path, body)
    assert (status, error in str(said["error"])) == (400, True)


def test_a_link_is_read_back_as_it_was_written() -> None:
    link = "pushkit-bridge://enrol?url=https://bridge.example.com/phones&code=ABCD-EFGH-JKMN"
    assert read_link(link) == ("https://bridge.example.com/phones", "ABCD-EFGH-JKMN")
