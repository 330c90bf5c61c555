"""What each answer of APNs leads to, over real HTTP/2: outcomes, retries, alarms, and what stands in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from builders import at, receiver, step
from ledgers import device, incident, page, put, sync
from senderworld import ALICE, BOB, World, policy, world

from bridge.simulator import Answer, scripted
from bridge.simulator.answers import STATUS_OF
from bridge.store.tables import calls, incidents


@pytest.fixture
async def sending(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as found:
        yield found


def without_alert_tokens(folder: Path, *receivers: Any) -> AbstractAsyncContextManager[World]:
    return world(folder, *receivers, change=lambda one: replace(one, alert_token=None))


# --- every documented answer ------------------------------------------------------------------

RETRIED = {
    "TooManyRequests",
    "InternalServerError",
    "ServiceUnavailable",
    "Shutdown",
    "IdleTimeout",
    "UnrelatedKeyIdInToken",
    "ExpiredProviderToken",
    "TooManyProviderTokenUpdates",
}
SET_ASIDE = {
    "Unregistered": "unregistered",
    "ExpiredToken": "unregistered",
    "BadDeviceToken": "quarantined",
    "DeviceTokenNotForTopic": "quarantined",
}
MISCONFIGURED = {
    "BadTopic",
    "MissingTopic",
    "TopicDisallowed",
    "InvalidPushType",
    "BadCertificate",
    "BadCertificateEnvironment",
    "Forbidden",
    "InvalidProviderToken",
    "MissingProviderToken",
    "BadEnvironmentKeyIdInToken",
}
OUR_MISTAKE = {
    "PayloadTooLarge",
    "PayloadEmpty",
    "BadCollapseId",
    "BadExpirationDate",
    "BadMessageId",
    "BadPriority",
    "DuplicateHeaders",
    "MissingDeviceToken",
    "BadPath",
    "MethodNotAllowed",
}


def meaning(reason: str) -> tuple[str, str | None]:
    """What Apple's reason comes to: the page's outcome or state, and the device's trouble."""
    if reason in RETRIED:
        return "waiting", None
    if reason in SET_ASIDE:
        return SET_ASIDE[reason], f"{SET_ASIDE[reason]}: {reason}"
    return "misconfigured" if reason in MISCONFIGURED else "rejected", None


async def test_every_documented_answer_comes_to_what_apple_says_it_means(tmp_path: Path) -> None:
    assert set(STATUS_OF) == RETRIED | set(SET_ASIDE) | MISCONFIGURED | OUR_MISTAKE
    async with without_alert_tokens(tmp_path) as sending:
        found = {}
        for number, reason in enumerate(STATUS_OF):
            name = f"{reason}-phone"
            phone = sending.sim.add_phone(name)
            phone.answer_next(scripted({"reason": reason}))
            await sync(
                sending.room.store, device(name, voip_token=phone.profile.voip_token, alert_token=None)
            )
            opened = incident(f"Alert{number}")
            one = page(opened, name)
            await put(sending.room.store, opened, pages=[one])
            await sending.sender.tick()
            await sending.sender.drain()
            row = await sending.page(id=one.id)
            assert row["reason"] == reason
            found[reason] = (row["outcome"] or row["state"], (await sending.device(name))["voip_trouble"])
        assert found == {reason: meaning(reason) for reason in STATUS_OF}


# --- accepted ---------------------------------------------------------------------------------


async def test_an_accepted_push_rings_the_phone_and_is_written_down_everywhere(sending: World) -> None:
    (change,) = await sending.room.fire("DiskFull")
    await sending.send()
    push = await sending.alice.wait_for_push()
    assert push.fate == "rang"
    assert await sending.pages() == [("ring", ALICE, "accepted", None)]
    call = await sending.call()
    assert (call["state"], call["accepted_at"], call["device"]) == ("open", at(0), ALICE)
    assert push.apns_id == call["id"] == push.payload["call"]["id"]
    assert push.payload["call"]["uuid"] == call["uuid"] == change.pages[0].call_uuid
    phone = await sending.device(ALICE)
    assert (phone["live_call"], phone["live_until"]) == (call["id"], at(30))
    row = await sending.incident()
    assert (row["told"], row["reached"]) == ([ALICE], True)
    assert sending.metric("pushes_total", push="voip", outcome="accepted", reason="") == 1
    assert sending.metric("pages_settled_total", kind="ring", outcome="accepted") == 1
    assert await sending.alarms() == []


async def test_a_voip_push_is_urgent_and_kept_for_seconds_and_a_quiet_one_is_neither(
    sending: World,
) -> None:
    await sending.room.fire("DiskFull")
    await sending.send()
    await sending.room.resolve("DiskFull")
    await sending.send(5)
    ring, over = sending.alice.pushes.items
    start = int(at(0).timestamp())
    assert (ring.headers["apns-push-type"], ring.headers["apns-priority"]) == ("voip", "10")
    assert 0 < int(ring.headers["apns-expiration"]) - start <= 10
    assert (over.headers["apns-push-type"], over.headers["apns-priority"]) == ("alert", "5")
    assert int(over.headers["apns-expiration"]) - start == 3600
    assert over.payload["kind"] == "resolved"
    assert over.payload["aps"]["interruption-level"] == "passive"


async def test_a_notification_is_as_loud_as_the_loudest_page_that_it_carries(sending: World) -> None:
    one, other = incident("One"), incident("Other")
    await put(sending.room.store, one, other)
    await sending.put(
        page(one, push="alert", interruption_level="active"),
        page(other, push="alert", interruption_level="critical"),
    )
    await sending.send()
    (push,) = sending.alice.pushes.items
    assert push.payload["aps"]["interruption-level"] == "critical"


# --- dead tokens ------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, 60])
async def test_a_token_that_is_dead_since_it_was_registered_is_set_aside_and_somebody_is_told(
    sending: World, seconds: float
) -> None:
    sending.alice.profile.behaviour = "unregistered"
    sending.alice.profile.unregistered_since = at(seconds)
    await sending.room.fire("DiskFull")
    await sending.send()
    assert (await sending.device(ALICE))["voip_trouble"] == "unregistered: Unregistered"
    assert await sending.alarms() == ["PushkitBridgeDeviceCannotRing"]
    (alarm,) = await sending.room.look.rows(incidents, source="pushkit-bridge")
    assert alarm["receiver"] == "platform"
    assert dict(alarm["group_values"]) == {
        "alertname": "PushkitBridgeDeviceCannotRing",
        "device": ALICE,
        "owner": "alice",
        "reason": "Unregistered",
    }


async def test_a_410_from_before_the_registration_sets_nothing_aside(sending: World) -> None:
    """Apple: a token that was registered after the answer's timestamp lives."""
    sending.alice.answer_next(
        scripted({"reason": "Unregistered", "timestamp": int(at(-1).timestamp() * 1000)})
    )
    await sending.room.fire("DiskFull")
    await sending.send()
    assert (await sending.device(ALICE))["voip_trouble"] is None
    assert await sending.alarms() == []
    assert [row[:3] for row in await sending.pages()] == [
        ("ring", ALICE, "unregistered"),
        ("fallback", ALICE, "accepted"),
    ]
    await sending.room.desk.advance([(await sending.incident())["id"]])
    sending.clock.move(45)
    await sending.room.desk.advance([(await sending.incident())["id"]])
    await sending.send()
    assert [call.state for call in sending.alice.calls.items] == ["ringing"], "the next ring is a call again"


async def test_a_bad_token_is_quarantined_never_deleted_and_raises_the_alarm_once(sending: World) -> None:
    """A wrong topic or environment would otherwise wipe out every phone."""
    sending.alice.answer_next(scripted({"reason": "BadDeviceToken"}), times=5)
    await sending.room.fire("DiskFull")
    await sending.send()
    row = await sending.device(ALICE)
    assert row["voip_token"] == sending.alice.profile.voip_token
    assert row["voip_trouble"] == "quarantined: BadDeviceToken"
    assert await sending.alarms() == ["PushkitBridgeDeviceCannotRing"]
    await sending.room.fire("Another")
    await sending.send()
    assert sending.metric("pushes_total", push="voip", outcome="quarantined", reason="BadDeviceToken") == 1


# --- what stands in ---------------------------------------------------------------------------


async def test_where_a_call_cannot_ring_an_alert_push_stands_in_at_once_and_moves_no_timer(
    sending: World,
) -> None:
    """Rule 4: the fallback belongs to the same ring."""
    sending.alice.answer_next(scripted({"reason": "BadDeviceToken"}))
    (change,) = await sending.room.fire("DiskFull")
    await sending.send()
    mine = [row for row in await sending.pages() if row[0] != "ring" or row[2] != "accepted"]
    assert mine[:2] == [
        ("ring", ALICE, "quarantined", "BadDeviceToken"),
        ("fallback", ALICE, "accepted", None),
    ]
    push = sending.alice.pushes.items[0]
    assert (push.headers["apns-push-type"], push.fate) == ("alert", "notified")
    after = await sending.incident()
    assert (after["due_at"], after["step"], after["out"]) == (change.incident.due_at, 1, {})
    assert after["told"] == [ALICE]


async def test_without_anything_to_stand_in_the_next_step_begins_at_once(tmp_path: Path) -> None:
    """Rule 4: a step ends early when none of its targets can be reached."""
    async with without_alert_tokens(tmp_path) as sending:
        sending.alice.answer_next(scripted({"reason": "BadDeviceToken"}))
        await sending.room.fire("DiskFull")
        await sending.send()
        row = await sending.incident()
        assert (row["step"], row["ring"], row["told"]) == (2, 1, [BOB])
        assert [push.fate for push in sending.bob.pushes.items] == ["rang"]


async def test_where_the_stand_in_fails_too_the_device_is_out_of_the_step(sending: World) -> None:
    sending.alice.answer_next(scripted({"reason": "Unregistered", "timestamp": 2**42}), times=2)
    await sending.room.fire("DiskFull")
    await sending.send()
    row = await sending.incident()
    assert (row["step"], row["told"]) == (2, [BOB])
    device = await sending.device(ALICE)
    assert (device["voip_trouble"], device["alert_trouble"]) == ("unregistered: Unregistered",) * 2


@pytest.mark.parametrize("tokens", [0, 1])
async def test_a_device_that_cannot_be_used_does_not_keep_the_others_waiting(
    tmp_path: Path, tokens: int
) -> None:
    """Rule 4: no usable device, the next step at once; with an alert token alone, that is used."""

    def change(one: Any) -> Any:
        gone = {"voip_token": None} | ({} if tokens else {"alert_token": None})
        return replace(one, **gone) if one.name == ALICE else one

    async with world(tmp_path, change=change) as sending:
        await sending.room.fire("DiskFull")
        await sending.send()
        told = [("fallback", ALICE)] if tokens else [("ring", BOB)]
        assert [row[:2] for row in await sending.pages()] == told
        assert [row[2] for row in await sending.pages()] == ["accepted"]


async def test_a_device_that_a_reload_took_away_under_way_costs_its_own_page_alone(sending: World) -> None:
    (change,) = await sending.room.fire("DiskFull")
    await sync(sending.room.store, device(BOB, voip_token=sending.bob.profile.voip_token))
    await sending.send()
    page_row = await sending.page(id=change.pages[0].id)
    assert (page_row["outcome"], page_row["reason"]) == ("quarantined", "no token that can be used")
    assert (await sending.incident())["step"] == 2
    assert [push.fate for push in sending.bob.pushes.items] == ["rang"]
    assert await sending.alarms() == []


# --- again, later -----------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["TooManyRequests", "ServiceUnavailable", "InternalServerError"])
async def test_a_push_is_repeated_when_apns_asked_for_with_the_same_ids(sending: World, reason: str) -> None:
    sending.alice.answer_next(scripted({"reason": reason, "retry_after": 7}))
    await sending.room.fire("DiskFull")
    await sending.send()
    assert (await sending.page())["next_attempt_at"] == at(7)
    await sending.send(6.9)
    assert (await sending.page())["attempt"] == 1
    await sending.send(0.1)
    row, call = await sending.page(), await sending.call()
    assert (row["outcome"], row["attempt"]) == ("accepted", 2)
    answered = list(sending.sim.service.answered)
    assert [one.apns_id for one in answered] == [call["id"]] * 2
    assert [one.payload["call"]["uuid"] for one in sending.alice.pushes.items] == [call["uuid"]]
    assert [one.fate for one in sending.alice.pushes.items] == ["rang"]


async def test_without_a_word_from_apns_it_is_repeated_soon_and_less_and_less_often(sending: World) -> None:
    sending.alice.answer_next(scripted({"reason": "InternalServerError"}), times=4)
    await sending.room.fire("DiskFull")
    pauses = []
    for _ in range(4):
        await sending.send(pauses[-1] if pauses else 0)
        pauses.append(((await sending.page())["next_attempt_at"] - sending.clock.now()).total_seconds())
    for pause, seconds in zip(pauses, (0.5, 1, 2, 4), strict=True):
        assert 0.75 * seconds <= pause <= 1.25 * seconds
    await sending.send(pauses[-1])
    assert (await sending.page())["outcome"] == "accepted"


@pytest.mark.parametrize("manner", ["drop", "reset"])
async def test_a_push_whose_answer_was_lost_is_the_same_call_when_it_is_repeated(
    sending: World, manner: str
) -> None:
    """CallKit says that it knows the call: no second ring."""
    wish = {"manner": manner, "delivered": True} | ({"error_code": 2} if manner == "reset" else {})
    sending.alice.answer_next(scripted(wish))
    await sending.room.fire("DiskFull")
    await sending.send()
    await sending.send(1)
    assert [one.fate for one in sending.alice.pushes.items] == ["rang", "repeat"]
    assert (await sending.page())["outcome"] == "accepted"
    assert len(sending.alice.calls.items) == len(await sending.room.look.rows(calls)) == 1


async def test_however_long_apns_asks_to_wait_an_alert_push_stands_in_when_the_call_is_over(
    sending: World,
) -> None:
    """429 counts for one token: another may get through."""
    sending.alice.answer_next(Answer(429, "TooManyRequests", retry_after=900))
    (change,) = await sending.room.fire("DiskFull")
    await sending.send()
    assert (await sending.page())["next_attempt_at"] == at(30)
    await sending.send(30)
    assert await sending.pages() == [
        ("ring", ALICE, "expired", "TooManyRequests"),
        ("fallback", ALICE, "accepted", None),
    ]
    assert (await sending.incident())["due_at"] == change.incident.due_at


async def test_a_page_that_apns_never_took_in_its_time_expires_with_apns_reason(tmp_path: Path) -> None:
    async with without_alert_tokens(tmp_path, policy(times=1, then_after=45)) as sending:
        sending.alice.answer_next(Answer(429, "TooManyRequests", retry_after=900))
        await sending.room.fire("DiskFull")
        await sending.send()
        await sending.send(30)
        assert await sending.pages() == [("ring", ALICE, "expired", "TooManyRequests")]
        assert sending.metric("pages_settled_total", kind="ring", outcome="expired") == 1


# --- nobody's device's fault ------------------------------------------------------------------


def last_resort() -> Any:
    """Alice and a webhook in one step: a revoked key must not silence everything."""
    return receiver(step("platform", webhooks=("hook",)), step("second"))


async def test_with_a_key_that_apns_refuses_the_alarm_is_raised_and_the_webhook_goes_out_all_the_same(
    tmp_path: Path,
) -> None:
    async with world(tmp_path, last_resort()) as sending:
        refusal = scripted({"reason": "InvalidProviderToken"})
        for phone in (sending.alice, sending.bob):
            phone.answer_next(refusal, times=1000)
        await sending.room.fire("DiskFull")
        await sending.send()
        mine = [body for _, _, body in sending.hook.requests if body["source"] == "default"]
        assert [body["alerts"][0]["labels"]["alertname"] for body in mine] == ["DiskFull"]
        # No phone was reached: the rounds go on until the key is mended, and others hear of that.
        raised = ["PushkitBridgeApnsMisconfigured", "PushkitBridgeIncidentUnanswered"]
        assert sorted(await sending.alarms()) == raised
        assert sending.sender.misconfigured == "InvalidProviderToken"
        device = await sending.device(ALICE)
        assert (device["voip_trouble"], device["alert_trouble"]) == (None, None), "the token is kept"
        # An alarm is an incident like any other: its webhook is the one way that works.
        told = [body for _, _, body in sending.hook.requests if body["source"] == "pushkit-bridge"]
        assert sorted(body["group"]["alertname"] for body in told) == raised
        for phone in (sending.alice, sending.bob):
            phone.script.clear()
        await sending.room.fire("Another")
        await sending.send()
        assert sending.sender.misconfigured is None


async def test_a_push_that_apns_calls_our_mistake_is_never_sent_again_and_raises_the_alarm(
    sending: World,
) -> None:
    sending.alice.answer_next(scripted({"reason": "BadExpirationDate"}))
    (change,) = await sending.room.fire("DiskFull")
    await sending.send()
    await sending.send(20)
    row = await sending.page(id=change.pages[0].id)
    assert (row["outcome"], row["reason"], row["attempt"]) == ("rejected", "BadExpirationDate", 1)
    assert await sending.alarms() == ["PushkitBridgePushRejected"]
    assert [kind for kind, *_ in (await sending.pages())[:2]] == ["ring", "fallback"]


async def test_no_answer_of_apns_brings_a_token_into_the_log(sending: World) -> None:
    with structlog.testing.capture_logs() as logs:
        for reason in ("BadDeviceToken", "Unregistered", "InternalServerError", "BadTopic", "BadPriority"):
            sending.alice.answer_next(scripted({"reason": reason}))
            await sending.room.fire(f"Alert{reason}")
            await sending.send()
            sending.clock.move(120)
    tokens = [sending.alice.profile.voip_token, sending.alice.profile.alert_token]
    assert not [line for line in logs if any(token in repr(line) for token in tokens)]
    assert [line for line in logs if line["event"] == "push"]
