"""Pushes that only their phone can read: what Apple carries, what the phone shows, and that it always rings."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from appworld import World
from commands import ask
from handset import Handset, code_for, exchange
from structlog.testing import capture_logs

from bridge.incidents import stable_id
from bridge.simulator import Answer, Phone
from bridge.simulator.keyring import KEPT_FOR
from bridge.store import enrolment

WORDS = ("Zwiebelkuchen", "zwiebeldienst", "://", "DRILL", "resolved:", "carol", "platform")
"""What is in no push where encryption is required: labels, annotations, receivers, people, addresses."""


def alert(world: World, **how: Any) -> dict[str, Any]:
    return world.alert("Zwiebelkuchen", team="zwiebeldienst", **how)


def carried(*phones: Phone) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """All that Apple was handed for these: bodies and headers."""
    return [(dict(push.carried), dict(push.headers)) for phone in phones for push in phone.pushes.items]


def leaks(world: World, *phones: Phone) -> set[str]:
    """The words that Apple could read, in pushes for these phones, or for all."""
    seen = json.dumps(carried(*(phones or world.sim.phones))).replace(world.sim.topic, "").lower()
    return {word for word in WORDS if word.lower() in seen}


@pytest.fixture
async def strict(stage: World) -> World:
    """Alice's phone enrolled with a key, bob's never did; encryption is required."""
    stage.config["devices"] = [stage.device("bob")]
    stage.config["encryption"] = "required"
    await stage.start()
    await stage.enrol("alice")
    return stage


async def test_where_it_is_preferred_a_phone_with_a_key_gets_it_sealed_and_another_in_the_clear(
    stage: World,
) -> None:
    stage.config["devices"] = [stage.device("bob")]
    stage.config["device_groups"][0]["owners"] = ["alice", "bob"]
    await stage.start()
    await stage.enrol("alice")
    await stage.webhook(alert(stage))
    (sealed,), (clear,) = stage.alice.pushes.items, stage.bob.pushes.items
    assert (sealed.seal, clear.seal) == ("opened", "clear")
    assert sealed.carried.keys() == {"aps", "v", "call", "caller_name", "sealed"}
    assert sealed.carried["caller_name"] == "On call"
    assert sealed.payload["caller_name"] == clear.payload["caller_name"] == "CRITICAL Zwiebelkuchen"
    stage.alice.answer()
    await stage.settled()
    assert (await stage.incident())["acknowledged_by"] == "alice"


async def test_where_it_is_off_nothing_is_sealed(stage: World) -> None:
    stage.config |= {"encryption": "off", "devices": []}
    await stage.start()
    await stage.enrol("alice")
    await stage.webhook(alert(stage))
    assert [push.seal for push in stage.alice.pushes.items] == ["clear"]


async def test_where_it_is_required_apple_reads_no_word_of_any_push(strict: World) -> None:
    """A call, what stands in for it, who has it, that it is over, and a drill."""
    strict.config["device_groups"][0]["owners"] = ["alice", "bob"]
    await strict.reload()
    strict.alice.profile.behaviour = "do-not-disturb"
    await strict.webhook(alert(strict))
    strict.alice.profile.behaviour = "normal"
    await strict.pass_(46)
    strict.alice.answer()
    await strict.settled()
    await strict.webhook(alert(strict, resolved=True))
    await strict.pass_(120)
    drilled = await strict.post("/api/v1/tests", params={"receiver": "platform", "by": "carol"})
    assert drilled.status == 201, drilled.body
    await strict.settled()
    kinds = {
        (phone.name, push.payload.get("kind", "call"), push.seal)
        for phone in strict.sim.phones
        for push in phone.pushes.items
    }
    assert {("alice", kind, "opened") for kind in ("call", "alert", "resolved")} <= kinds
    assert {("bob", kind, "shut") for kind in ("call", "acknowledged", "resolved")} <= kinds
    assert leaks(strict, strict.alice) == set()
    assert leaks(strict) <= {"://"}, "where a phone without a key may answer"
    told = json.dumps([push.payload for push in strict.alice.pushes.items])
    assert {word for word in ("Zwiebelkuchen", "DRILL", "platform") if word in told} == {
        "Zwiebelkuchen",
        "DRILL",
        "platform",
    }


async def test_a_phone_without_a_key_rings_all_the_same_and_can_be_answered(strict: World) -> None:
    """Nobody's night is lost for want of a key."""
    strict.config["device_groups"][0]["owners"] = ["bob"]
    await strict.reload()
    await strict.webhook(alert(strict))
    assert strict.bob.calls.items[0].state == "ringing"
    assert strict.bob.pushes.items[0].payload["caller_name"] == "On call"
    strict.bob.answer()
    await strict.settled()
    assert (await strict.incident())["acknowledged_by"] == "bob"
    assert leaks(strict) <= {"://"}


async def test_by_the_names_of_a_call_nobody_can_confirm_a_guess(strict: World) -> None:
    """They are derived from labels, and Apple could try some; where two bridges must agree they stay (ADR 0016)."""
    await strict.webhook(alert(strict))
    (body, headers) = carried(strict.alice)[0]
    page = (await strict.incident())["pages"][0]
    derived = {page["call_uuid"], stable_id("call record", page["id"])}
    assert not derived & {body["call"]["uuid"], body["call"]["id"], headers["apns-id"]}
    strict.config["encryption"] = "preferred"
    await strict.reload()
    await strict.pass_(46)
    (body, headers) = carried(strict.alice)[1]
    page = (await strict.incident())["pages"][1]
    assert body["call"]["id"] == headers["apns-id"] == stable_id("call record", page["id"])
    assert body["call"]["uuid"] == page["call_uuid"]


async def test_a_repeated_push_keeps_its_names_and_is_sealed_for_the_key_of_now(strict: World) -> None:
    old = strict.alice.keys.kid
    strict.alice.answer_next(Answer(503, "ServiceUnavailable"))
    strict.alice.answer_next(Answer(503, "ServiceUnavailable"))
    await strict.webhook(alert(strict))
    await strict.alice.rotate_key()
    await strict.pass_(5)
    (push,) = strict.alice.pushes.items
    assert (push.seal, push.carried["sealed"]["kid"]) == ("opened", strict.alice.keys.kid)
    assert strict.alice.keys.kid != old
    (call,) = await strict_calls(strict)
    assert call == push.carried["call"]["id"] == push.headers["apns-id"]


async def strict_calls(world: World) -> list[str]:
    return [one["id"] for one in (await world.incident())["calls"]]


async def test_what_was_under_way_is_opened_by_the_key_of_before_for_a_day(strict: World) -> None:
    await strict.webhook(alert(strict))
    was = dict(strict.alice.pushes.items[0].carried)
    await strict.alice.rotate_key()
    assert strict.alice.keys.open(was)[1] == "opened"
    strict.alice.keys.rotate(strict.clock.now() + KEPT_FOR + timedelta(seconds=1))
    assert strict.alice.keys.open(was)[1] == "shut"


async def test_a_push_that_cannot_be_opened_rings_and_is_answered_by_the_credential(strict: World) -> None:
    strict.alice.keys.forget()
    await strict.webhook(alert(strict))
    (push,) = strict.alice.pushes.items
    assert (push.fate, push.seal, push.payload["caller_name"]) == ("rang", "shut", "On call")
    strict.alice.answer()
    await strict.settled()
    assert (await strict.incident())["acknowledged_by"] == "alice"


async def test_a_key_in_the_ledger_that_is_none_costs_the_words_and_not_the_ring(strict: World) -> None:
    await strict.bridge.store.write(
        lambda tx: enrolment.put_key(tx.connection, "alice-iphone", "A" * 43, tx.now)
    )
    with capture_logs() as logs:
        await strict.webhook(alert(strict))
        await strict.settled()
    said = [line for line in logs if line["event"] in {"a push cannot be sealed", "template"}]
    assert [(line["event"], line["device"]) for line in said] == [("a push cannot be sealed", "alice-iphone")]
    (push,) = strict.alice.pushes.items
    assert (push.fate, push.carried["sealed"]) == ("rang", {})
    assert leaks(strict) <= {"://"}


async def test_who_enrolled_here_answers_a_push_of_another_bridge_where_that_push_says(strict: World) -> None:
    """One that could not be sealed brings the URL of its own bridge: the enrolled one knows no such call."""
    await strict.bridge.store.write(
        lambda tx: enrolment.put_key(tx.connection, "alice-iphone", "A" * 43, tx.now)
    )
    await strict.webhook(alert(strict))
    (call,) = strict.alice.calls.items
    (record,) = call.records.values()
    carried_call = strict.alice.pushes.items[0].carried["call"]
    assert (record.url, record.token) == (carried_call["receipt_url"], carried_call["receipt_token"])


async def test_for_a_quiet_push_that_cannot_be_opened_nobody_is_told_anything(strict: World) -> None:
    await strict.webhook(alert(strict))
    strict.alice.keys.forget()
    await strict.webhook(alert(strict, resolved=True))
    await strict.pass_(120)
    push = strict.alice.pushes.items[-1]
    assert (push.payload["kind"], push.seal) == ("resolved", "shut")
    asked = {receipt.token for receipt in strict.alice.receipts.items}
    assert strict.alice.enrolled.credential not in asked


async def test_a_page_for_a_phone_is_sealed_as_soon_as_a_reload_says_so(stage: World) -> None:
    stage.config["devices"] = []
    stage.config["encryption"] = "off"
    await stage.start()
    await stage.enrol("alice")
    await stage.webhook(alert(stage))
    stage.config["encryption"] = "required"
    assert (await stage.reload()).status == 200
    await stage.pass_(46)
    assert [push.seal for push in stage.alice.pushes.items] == ["clear", "opened"]


# --- who has no key ---------------------------------------------------------------------------


async def test_a_phone_without_a_key_cannot_enrol_where_one_is_required_and_its_code_stays_good(
    strict: World,
) -> None:
    code = (await code_for(strict))["code"]
    refused = await exchange(strict, code)
    assert (refused.status, refused.json["error"]) == (400, "this bridge wants an encryption key")
    key = strict.sim.phone("bob").keys.rotate(strict.clock.now())
    assert (await exchange(strict, code, encryption_key=key)).status == 201


async def test_where_a_key_is_required_it_is_said_who_has_none(strict: World) -> None:
    trouble = "it has no encryption key, so it rings without saying why: let it enrol"
    shown = {one["name"]: one for one in (await strict.get("/api/v1/devices")).json["devices"]}
    assert (shown["bob-iphone"]["troubles"], shown["bob-iphone"]["would_ring"]) == ([trouble], True)
    assert shown["alice-iphone"]["troubles"] == []
    assert f"TROUBLE: {trouble}" in (await ask(strict, "devices", "list")).stdout
    status = (await strict.get("/-/status")).json
    assert (status["encryption"], status["devices"]["without_key"], status["ready"]) == ("required", 1, True)
    await strict.get("/metrics")
    assert strict.metric("devices_without_key") == 1
    page = (await strict.get("/", headers={"Accept": "text/html"})).text
    assert "1 without a key" in page
    phones = (await strict.get("/phones", headers={"Accept": "text/html"})).text
    assert [text in phones for text in (trouble, strict.alice.keys.kid, "its pushes are not sealed")] == [
        True
    ] * 3


async def test_who_gets_no_push_is_not_blamed_for_having_no_key(strict: World) -> None:
    """Bob's phone enrolled beside the device of the configuration; Alice's other phone has no tokens yet."""
    key = strict.bob.keys.rotate(strict.clock.now())
    done = await exchange(strict, (await code_for(strict, "bob"))["code"], encryption_key=key)
    voip = strict.bob.profile.voip_token  # the alert token stays with the old one
    await Handset(strict, done.json["credential"]).put(voip_token=voip)
    done = await exchange(strict, (await code_for(strict))["code"], encryption_key=key)
    other = Handset(strict, done.json["credential"], done.json["device"])
    await other.ask("DELETE", "/device/encryption-key")
    shown = {one["name"]: one for one in (await strict.get("/api/v1/devices")).json["devices"]}
    assert shown["bob-iphone-2"]["troubles"] == []
    for name, trouble in (("bob-iphone", "enrolled as bob-iphone-2"), (other.name, "no VoIP token")):
        said = " ".join(shown[name]["troubles"])
        assert (trouble in said, "encryption key" in said, shown[name]["would_ring"]) == (True, False, False)
    assert (await strict.get("/-/status")).json["devices"]["without_key"] == 0
    assert "without a key" not in (await strict.get("/", headers={"Accept": "text/html"})).text


async def test_the_app_puts_its_key_again_where_the_bridge_has_another_or_none(strict: World) -> None:
    """An answer was lost, or a bridge of the version before enrolled it in a rolling update."""
    other = strict.bob.keys.rotate(strict.clock.now())
    for wrong in (None, other):
        await strict.bridge.store.write(
            lambda tx, wrong=wrong: enrolment.put_key(tx.connection, "alice-iphone", wrong, tx.now)
        )
        seen = await strict.alice.open()
        assert seen["kid"] == strict.alice.keys.kid
    await strict.webhook(alert(strict))
    assert [push.seal for push in strict.alice.pushes.items] == ["opened"]


async def test_a_phone_that_forgets_its_key_is_told_so_itself(strict: World) -> None:
    key = strict.bob.keys.rotate(strict.clock.now())
    done = await exchange(strict, (await code_for(strict))["code"], encryption_key=key)
    handset = Handset(strict, done.json["credential"], done.json["device"])
    await handset.put(voip_token="ab" * 32, environment="sandbox")
    gone = await handset.ask("DELETE", "/device/encryption-key")
    assert "no encryption key" in "".join(gone.json["troubles"])
    put = await handset.ask("PUT", "/device/encryption-key", {"encryption_key": key})
    assert "no encryption key" not in "".join(put.json["troubles"])


async def test_elsewhere_nobody_is_blamed_for_having_no_key(world: World) -> None:
    shown = (await world.get("/api/v1/devices")).json["devices"]
    assert [one["troubles"] for one in shown] == [[], []]
    assert "without a key" not in (await world.get("/", headers={"Accept": "text/html"})).text
