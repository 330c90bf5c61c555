"""The tokens of a phone that enrolled: put, partly, anew, under another name, and taken away."""

from datetime import timedelta
from typing import Any

import pytest
from appworld import World, until
from handset import Handset

from bridge.simulator import Answer
from bridge.store import Topic, enrolment


@pytest.fixture
async def bare(stage: World) -> World:
    """A bridge that knows no static tokens."""
    stage.config["devices"] = []
    await stage.start()
    return stage


@pytest.fixture
async def handset(bare: World) -> Handset:
    """Alice's phone, enrolled and with both tokens."""
    handset = await Handset.enrolled(bare)
    profile = bare.alice.profile
    await handset.put(voip_token=profile.voip_token, alert_token=profile.alert_token)
    return handset


async def stored(world: World, name: str) -> Any:
    (row,) = await world.bridge.store.read(lambda c: enrolment.list_devices(c, name))
    return row


async def test_tokens_come_one_by_one_and_what_is_not_said_stays(bare: World) -> None:
    handset = await Handset.enrolled(bare)
    assert (await handset.get("/device")).json["troubles"]
    first = await handset.put(alert_token="cd" * 32, app_version="1.0")
    assert (first.status, first.json["has_voip_token"], first.json["has_alert_token"]) == (200, False, True)
    then = await handset.put(voip_token="ab" * 32, alert_token=None, os_version="26.4")
    assert then.json["has_alert_token"]
    assert {name: then.json[name] for name in ("app_version", "os_version", "bundle_id", "environment")} == {
        "app_version": "1.0",
        "os_version": "26.4",
        "bundle_id": bare.sim.topic,
        "environment": "production",
    }
    assert (then.json["would_ring"], then.json["troubles"]) == (True, [])
    assert (await handset.put()).json == then.json, "nothing said, nothing changed"


async def test_a_token_in_upper_case_is_the_same_token(bare: World) -> None:
    handset = await Handset.enrolled(bare)
    await handset.put(voip_token=bare.alice.profile.voip_token.upper())
    assert (await stored(bare, handset.name))["voip_token"] == bare.alice.profile.voip_token
    await bare.webhook(bare.alert())
    assert bare.rings() == [0]


async def test_no_token_is_in_any_answer(handset: Handset) -> None:
    world, profile = handset.world, handset.world.alice.profile
    answers = [
        await handset.get("/device"),
        await handset.put(voip_token=profile.voip_token),
        await world.get("/api/v1/devices"),
        await world.get(f"/api/v1/devices/{handset.name}"),
    ]
    for answer in answers:
        assert not [token for token in (profile.voip_token, profile.alert_token) if token in answer.text]


NO_TOKENS = {
    "voip_token": ["", "ab" * 31, "ab" * 101, "ab" * 32 + "a", "ab" * 32 + "\n", "xy" * 32],
    "alert_token": [7, "ab" * 31],
    "environment": ["staging", ""],
    "bundle_id": ["com", "com.example.oncall/../x", "com.example.oncall\n", ""],
    "app_version": ["x" * 65],
}


async def test_what_is_no_token_is_refused_and_says_why(handset: Handset) -> None:
    for name, values in NO_TOKENS.items():
        for value in values:
            answer = await handset.put(**{name: value})
            assert (answer.status, name in answer.json["error"]) == (400, True), (name, value)
            assert not value or name != "voip_token" or value not in answer.text
    await handset.world.webhook(handset.world.alert())
    assert handset.world.rings() == [0], "the old ones stand"


async def test_a_token_is_one_phones_whoever_had_it_before_is_set_aside(world: World) -> None:
    """The configuration's device too: the phone rings once."""
    profile = world.alice.profile
    handset = await Handset.enrolled(world)
    await handset.put(voip_token=profile.voip_token)
    before = (await world.get("/api/v1/devices/alice-iphone")).json
    assert before["would_ring"] is False
    assert "its phone enrolled as alice-iphone-2" in before["troubles"][0]
    await world.webhook(world.alert())
    assert world.rings() == [0]
    (call,) = world.alice.calls.items
    assert call.payload["call"]["uuid"]
    await world.restart()
    assert (await world.get("/api/v1/devices/alice-iphone")).json["would_ring"] is False
    other = await Handset.enrolled(world)
    await other.put(voip_token=profile.voip_token)
    shown = (await handset.get("/device")).json
    assert shown["troubles"] == [
        "its voip token is set aside (its phone enrolled as alice-iphone-3): revoke this one"
    ]


async def test_a_token_that_the_configuration_names_later_rings_once_all_the_same(handset: Handset) -> None:
    world = handset.world
    world.config["devices"] = [world.device("alice") | {"name": "alices"}]
    assert (await world.reload()).status == 200
    shown = (await world.get("/api/v1/devices/alices")).json
    assert shown["troubles"] == [
        f"its {push} token is set aside (its phone enrolled as alice-iphone): take this one out of the configuration"
        for push in ("voip", "alert")
    ]
    await world.webhook(world.alert())
    assert world.rings() == [0]
    await handset.ask("DELETE", "/device")
    assert (await world.get("/api/v1/devices/alices")).json["troubles"] == []
    await world.pass_(45)
    assert world.rings() == [0, 45], "it is the configuration's alone again"


async def test_a_token_changed_in_the_middle_of_a_ring_is_used_by_the_next_ring(handset: Handset) -> None:
    world = handset.world
    await world.webhook(world.alert())
    await world.pass_(20)
    await handset.put(voip_token=world.bob.profile.voip_token)
    await world.pass_(25)
    assert (world.rings("alice"), world.rings("bob")) == ([0], [45])


async def test_a_410_older_than_the_registration_does_nothing_and_a_newer_one_sets_the_token_aside(
    handset: Handset,
) -> None:
    world = handset.world
    now = world.clock.now()
    old, new = (
        Answer(410, "Unregistered", timestamp=int((now + timedelta(seconds=s)).timestamp() * 1000))
        for s in (-1, 1)
    )
    world.alice.answer_next(old)
    await world.webhook(world.alert())
    assert (await handset.get("/device")).json["would_ring"] is True
    await world.pass_(45)
    assert world.rings() == [45]
    world.alice.answer_next(new)
    await world.pass_(45)
    shown = (await handset.get("/device")).json
    assert shown["would_ring"] is False
    assert shown["troubles"] == [
        "its voip token is set aside (unregistered: Unregistered): open the app on it"
    ]
    await handset.put(voip_token=world.alice.profile.voip_token)
    assert (await handset.get("/device")).json["would_ring"] is True, "registered anew, it is trusted anew"


async def test_a_token_that_is_taken_away_is_used_no_more_and_the_other_one_is(handset: Handset) -> None:
    dropped = await handset.ask("DELETE", "/device/tokens/voip")
    assert (dropped.status, dropped.json["has_voip_token"], dropped.json["has_alert_token"]) == (
        200,
        False,
        True,
    )
    assert (await handset.ask("DELETE", "/device/tokens/voip")).status == 200
    await handset.world.webhook(handset.world.alert())
    assert handset.world.fates() == ["notified"]
    await handset.ask("DELETE", "/device/tokens/alert")
    await handset.world.pass_(45)
    assert handset.world.fates() == ["notified"]


async def test_there_are_two_kinds_of_tokens(handset: Handset) -> None:
    for kind in ("sms", "VOIP", "voip ", "%00", "..%2Fvoip"):
        answer = await handset.ask("DELETE", f"/device/tokens/{kind}")
        assert (answer.status, answer.json["error"]) == (404, "there are two kinds of tokens: voip and alert")


async def test_tokens_rotate_and_the_device_stays(handset: Handset) -> None:
    before = (await handset.get("/device")).json
    await handset.world.pass_(60)
    after = (await handset.put(voip_token="ab" * 32, alert_token="cd" * 32)).json
    assert after == before | {"heard_at": "2026-11-25T02:01:00.000Z"}


async def test_a_phone_says_of_which_app_and_environment_its_tokens_are(stage: World) -> None:
    stage.config["devices"] = []
    await stage.start()
    handset = await Handset.enrolled(stage)
    profile = stage.alice.profile
    profile.bundle_id = "com.example.oncall.beta"
    stage.sim.service.topics.add("com.example.oncall.beta")
    await handset.put(voip_token=profile.voip_token, bundle_id="com.example.oncall.beta")
    await stage.webhook(stage.alert())
    assert stage.rings() == [0]
    assert stage.alice.pushes.items[0].headers["apns-topic"] == "com.example.oncall.beta.voip"


async def test_the_environment_of_an_enrolled_phone_is_connected_to_before_it_is_needed(bare: World) -> None:
    """When the phone says so, and at each start after that."""

    def connected() -> set[str]:
        return set(bare.bridge.transport._by_environment)

    handset = await Handset.enrolled(bare)
    assert connected() == {"production"}
    await handset.put(voip_token="ab" * 32, environment="sandbox")
    await until(lambda: connected() == {"production", "sandbox"}, "it did not connect")
    await bare.restart()
    assert connected() == {"production", "sandbox"}
    await handset.ask("DELETE", "/device")
    await bare.restart()
    assert connected() == {"production"}


async def test_a_phone_that_names_an_app_which_is_not_ours_harms_itself_alone(bare: World) -> None:
    """Rule 12: APNs refuses its topic, and the bridge can do its work all the same."""
    for owner, bundle_id in (("alice", "com.example.other"), ("bob", bare.sim.topic)):
        handset = await Handset.enrolled(bare, owner)
        await handset.put(voip_token=bare.sim.phone(owner).profile.voip_token, bundle_id=bundle_id)
    await bare.webhook(bare.alert())
    assert (bare.rings("alice"), bare.rings("bob")) == ([], [0]), "alice's step has nobody left"
    assert await bare.bridge.vitals.deaf() == []
    shown = (await bare.get("/api/v1/devices/alice-iphone")).json
    assert shown["troubles"] == [
        "its voip token is set aside (quarantined: TopicDisallowed): open the app on it"
    ]


async def test_a_put_that_comes_when_the_device_was_just_revoked_changes_nothing(
    handset: Handset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Authorised, then revoked, then written."""
    world = handset.world
    let_in = enrolment.by_credential

    async def revoked_meanwhile(*arguments: Any) -> Any:
        found = await let_in(*arguments)
        await world.bridge.desk.revoke(handset.name)
        return found

    monkeypatch.setattr("bridge.api.phone.operations.by_credential", revoked_meanwhile)
    answer = await handset.put(voip_token="ab" * 32)
    assert (answer.status, answer.json["error"]) == (404, "this device was revoked just now")
    rows = await world.bridge.store.read(lambda c: c.exec_driver_sql("SELECT voip_token FROM devices"))
    assert rows.scalars().all() == [None]


async def test_whoever_looks_at_the_console_is_told_of_each_change_to_a_phone(
    handset: Handset, bare: World
) -> None:
    told: list[str] = []
    bare.bridge.store.on(Topic.STORY, lambda _: told.append("told"))
    for method, path, body in (
        ("PUT", "/device/tokens", {"voip_token": "ab" * 32}),
        ("DELETE", "/device/tokens/voip", None),
        ("PUT", "/device/encryption-key", {"encryption_key": "yWhDiBhHQZwaVeMMWLE_RSWRgHdfAxQWbDSBbotWOSc"}),
        ("DELETE", "/device/encryption-key", None),
    ):
        told.clear()
        assert (await handset.ask(method, path, body)).status == 200
        assert told, path
