from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from bridge.simulator import Simulator, scripted
from bridge.simulator.membership import Heard

from .client import Sender
from .conftest import Bridge, Receiver, Time

CALL = "123e4567-e89b-12d3-a456-4266554400a0"


async def test_a_call_rings_and_is_acknowledged_by_a_receipt(
    sender: Sender, bridge: Bridge, sim: Simulator, receiver: Receiver, time: Time
) -> None:
    phone = sim.phone("alice")
    await bridge.push(sender, bridge.call(uuid=CALL.upper(), **receiver.call()))
    call = await phone.wait_for_call()
    assert (call.uuid, call.record_id, call.state) == (CALL, "rec-1", "ringing")
    receipt = await phone.wait_for_receipt()
    assert receipt.accepted
    credentials, body = receiver.posts[0]
    assert credentials == "Bearer s3cret"
    assert uuid.UUID(body.pop("event_id"))
    assert body == {"receipt": "received", "at": time.now.isoformat()}


@pytest.mark.parametrize("verb", ["answer", "decline"])
async def test_who_takes_or_declines_the_call_tells_the_bridge(
    sender: Sender, bridge: Bridge, sim: Simulator, receiver: Receiver, verb: str
) -> None:
    phone = sim.phone("alice")
    await bridge.push(sender, bridge.call(**receiver.call()))
    call = await phone.wait_for_call()
    assert getattr(phone, verb)() is call
    state = "answered" if verb == "answer" else "declined"
    await call.wait_for(state)
    await phone.receipts.until(2)
    assert receiver.kinds == ["received", state]
    assert len({body["event_id"] for _, body in receiver.posts}) == 2
    with pytest.raises(LookupError, match="no call is ringing on alice"):
        phone.answer()


async def test_a_call_that_nobody_takes_ends_at_its_deadline(
    sender: Sender, bridge: Bridge, sim: Simulator, time: Time
) -> None:
    await bridge.push(sender)
    call = await sim.phone("alice").wait_for_call()
    time.pass_(seconds=29)
    assert call.state == "ringing"
    time.pass_(seconds=1)
    assert call.state == "ended"
    assert call.history[-1][0] == call.expires_at


async def test_a_phone_can_answer_by_itself_after_some_seconds(
    sender: Sender, bridge: Bridge, sim: Simulator, time: Time, receiver: Receiver
) -> None:
    phone = sim.phone("alice")
    phone.profile.auto_answer = 5
    await bridge.push(sender, bridge.call(**receiver.call()))
    call = await phone.wait_for_call()
    time.pass_(seconds=4)
    assert call.state == "ringing"
    time.pass_(seconds=1)
    assert call.state == "answered"
    await phone.receipts.until(2)
    assert receiver.kinds == ["received", "answered"]


async def test_a_call_answered_by_hand_is_not_answered_again(
    sender: Sender, bridge: Bridge, sim: Simulator, time: Time
) -> None:
    sim.phone("alice").profile.auto_answer = 5
    await bridge.push(sender)
    call = sim.phone("alice").decline()
    time.pass_(seconds=60)
    assert [state for _, state in call.history] == ["ringing", "declined"]


async def test_a_repeated_push_does_not_ring_while_the_call_lives(
    sender: Sender, bridge: Bridge, sim: Simulator, receiver: Receiver
) -> None:
    phone = sim.phone("alice")
    body = bridge.call(uuid=CALL, **receiver.call())
    for _ in range(2):
        await bridge.push(sender, body)
    assert [push.fate for push in phone.pushes.items] == ["rang", "repeat"]
    assert len(phone.calls.items) == 1
    await phone.receipts.until(2)
    assert [(body["receipt"], body.get("error_code")) for _, body in receiver.posts] == [
        ("received", None),
        ("failed", 2),
    ]
    phone.answer()
    await bridge.push(sender, body)
    assert phone.pushes.items[-1].fate == "repeat"


async def test_two_bridges_that_ring_with_one_uuid_are_both_told(
    sender: Sender, bridge: Bridge, sim: Simulator, receiver: Receiver
) -> None:
    phone = sim.phone("alice")
    urls = [receiver.url, receiver.url.replace("rec-1", "rec-2"), receiver.url.replace("rec-1", "rec-3")]
    bodies = [
        bridge.call(id=f"rec-{n}", uuid=CALL, receipt_url=url, receipt_token="t")
        for n, url in enumerate(urls, 1)
    ]
    await bridge.push(sender, bodies[0])
    await bridge.push(sender, bodies[1])
    phone.answer()
    await bridge.push(sender, bodies[2])
    assert [push.fate for push in phone.pushes.items] == ["rang", "joined", "joined"]
    assert len(phone.calls.items) == 1
    await phone.receipts.until(6)
    told = [(record, kind) for record, kind in zip(receiver.records, receiver.kinds, strict=True)]
    for record in ("rec-1", "rec-2", "rec-3"):
        assert [kind for known, kind in told if known == record] == ["received", "answered"]


async def test_a_bridge_that_is_down_holds_up_no_other(
    bridge: Bridge,
    time: Time,
    receiver: Receiver,
    sim: Simulator,
    sender: Sender,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def never(seconds: float) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(sim.agenda, "sleep", never)
    dead = "http://127.0.0.1:1/"
    await bridge.push(sender, bridge.call(id="dead", uuid=CALL, receipt_url=dead, receipt_token="t"))
    await bridge.push(sender, bridge.call(uuid=CALL, **receiver.call()))
    assert (await sim.phone("alice").wait_for_receipt()).accepted


async def test_a_notification_that_lets_the_apps_extension_run_is_acknowledged_as_received(
    sender: Sender, bridge: Bridge, sim: Simulator, receiver: Receiver
) -> None:
    body = json.loads(bridge.call(**receiver.call()))
    for mutable in (0, 1):
        aps = {"alert": {"title": "x"}, "mutable-content": mutable}
        await sender.send(bridge.alert_headers(), json.dumps(body | {"aps": aps}).encode())
    await sim.phone("alice").wait_for_receipt()
    assert receiver.kinds == ["received"]
    assert sim.phone("alice").calls.items == []


async def test_a_push_for_a_declined_call_rings_again_for_callkit_has_forgotten_it(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    body = bridge.call(uuid=CALL)
    await bridge.push(sender, body)
    sim.phone("alice").decline()
    await bridge.push(sender, body)
    assert [call.state for call in sim.phone("alice").calls.items] == ["declined", "ringing"]


async def test_a_push_past_its_deadline_is_stale(
    sender: Sender, bridge: Bridge, sim: Simulator, time: Time, receiver: Receiver
) -> None:
    body = bridge.call(**receiver.call())
    time.pass_(seconds=30)
    assert (await bridge.push(sender, body)).status == 200
    phone = sim.phone("alice")
    assert (phone.pushes.items[0].fate, phone.calls.items, receiver.posts) == ("stale", [], [])


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"call": "x"},
        {"call": {"uuid": CALL}},
        {"call": {"expires_at": "2030-01-01T00:00:00Z"}},
        {"call": {"uuid": "x", "expires_at": "2030-01-01T00:00:00Z"}},
        {"call": {"uuid": 7, "expires_at": "2030-01-01T00:00:00Z"}},
        {"call": {"uuid": CALL, "expires_at": "soon"}},
        {"call": {"uuid": CALL, "expires_at": "2030-01-01T00:00:00"}},
        {"call": {"uuid": CALL, "expires_at": 1893456000}},
    ],
)
async def test_a_voip_push_that_the_app_cannot_report_is_malformed(
    sender: Sender, bridge: Bridge, sim: Simulator, payload: dict[str, Any]
) -> None:
    assert (await bridge.push(sender, json.dumps(payload).encode())).status == 200
    assert sim.phone("alice").pushes.items[0].fate == "malformed"
    assert sim.phone("alice").calls.items == []


async def test_an_alert_push_is_shown_and_rings_nothing(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    await sender.send(bridge.alert_headers(), b'{"aps":{"alert":{"title":"x"}}}')
    push = await sim.phone("alice").wait_for_push()
    assert (push.fate, push.payload["aps"]["alert"]["title"]) == ("notified", "x")


@pytest.mark.parametrize(("behaviour", "fate"), [("silent", "silent"), ("cut-off", "expired")])
async def test_apns_accepts_a_push_that_the_phone_never_shows(
    sender: Sender, bridge: Bridge, sim: Simulator, receiver: Receiver, behaviour: Any, fate: str
) -> None:
    phone = sim.phone("alice")
    phone.profile.behaviour = behaviour
    assert (await bridge.push(sender, bridge.call(**receiver.call()))).status == 200
    assert (phone.pushes.items[0].fate, phone.calls.items, receiver.posts) == (fate, [], [])


async def test_do_not_disturb_filters_the_call_and_says_so(
    sender: Sender, bridge: Bridge, sim: Simulator, receiver: Receiver
) -> None:
    phone = sim.phone("alice")
    phone.profile.behaviour = "do-not-disturb"
    assert (await bridge.push(sender, bridge.call(**receiver.call()))).status == 200
    assert (await phone.wait_for_receipt()).accepted
    assert (receiver.posts[0][1]["receipt"], receiver.posts[0][1]["error_code"]) == ("failed", 3)
    assert (phone.pushes.items[0].fate, phone.calls.items) == ("filtered", [])


@pytest.mark.parametrize(
    ("level", "allowed", "fate"),
    [
        ("critical", False, "notified"),
        ("time-sensitive", True, "notified"),
        ("time-sensitive", False, "quiet"),
        ("active", True, "quiet"),
        (None, True, "quiet"),
    ],
)
async def test_do_not_disturb_lets_through_what_is_critical_or_allowed(
    sender: Sender,
    bridge: Bridge,
    sim: Simulator,
    receiver: Receiver,
    level: str | None,
    allowed: bool,
    fate: str,
) -> None:
    """The app's notification service extension runs in any case, and posts `received`."""
    phone = sim.phone("alice")
    phone.profile.behaviour, phone.profile.time_sensitive = "do-not-disturb", allowed
    body = json.loads(bridge.call(**receiver.call()))
    body["aps"] = {"alert": {"title": "x"}, "mutable-content": 1}
    if level is not None:
        body["aps"]["interruption-level"] = level
    await sender.send(bridge.alert_headers(), json.dumps(body).encode())
    assert (await phone.wait_for_receipt()).accepted
    assert ([push.fate for push in phone.pushes.items], receiver.kinds) == ([fate], ["received"])


async def test_a_push_whose_call_is_over_already_as_the_stream_said_rings_nobody(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    """A bridge's stream may be faster than APNs."""
    phone = sim.phone("alice")
    over = {"call": "rec-1", "uuid": CALL, "reason": "resolved", "text": "resolved"}
    phone.hear(Heard("call_ended", over))
    await bridge.push(sender, bridge.call(uuid=CALL, id="rec-1"))
    assert ([push.fate for push in phone.pushes.items], phone.calls.items) == (["over"], [])


async def test_a_ring_that_two_bridges_want_ends_when_both_say_so(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    phone = sim.phone("alice")
    for record in ("rec-1", "rec-2"):
        await bridge.push(sender, bridge.call(uuid=CALL, id=record))
    (call,) = phone.calls.items
    for record, state in (("rec-1", "ringing"), ("rec-2", "ended")):
        over = {"call": record, "uuid": CALL, "reason": "acknowledged", "text": "answered by bob"}
        phone.hear(Heard("call_ended", over))
        assert call.state == state
    assert call.why == "acknowledged: answered by bob"


@pytest.mark.parametrize("since", [None, datetime(2026, 11, 1, tzinfo=UTC)])
async def test_an_unregistered_phone_answers_410_with_the_time_in_milliseconds(
    sender: Sender, bridge: Bridge, sim: Simulator, time: Time, since: datetime | None
) -> None:
    profile = sim.phone("alice").profile
    profile.behaviour, profile.unregistered_since = "unregistered", since
    answer = await bridge.push(sender)
    assert answer.status == 410
    assert json.loads(answer.body) == {
        "reason": "Unregistered",
        "timestamp": int((since or time.now).timestamp() * 1000),
    }
    assert sim.phone("alice").pushes.items == []


async def test_a_slow_phone_rings_at_once_and_its_answer_comes_later(
    sender: Sender, bridge: Bridge, sim: Simulator, time: Time
) -> None:
    phone = sim.phone("alice")
    phone.profile.behaviour, phone.profile.delay = "slow", 7
    response = sender.begin(bridge.headers(), bridge.call())
    await phone.wait_for_call()
    time.pass_(seconds=6)
    assert not response.done.is_set()
    time.pass_(seconds=1)
    await sender.until(response.done.is_set)
    assert response.status == 200


async def test_the_next_pushes_of_one_phone_are_answered_as_told(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    phone = sim.phone("alice")
    phone.answer_next(scripted({"reason": "TooManyRequests", "retry_after": 1.5}), times=2)
    phone.answer_next(scripted({"status": 200, "delivered": False}))
    answers = [await bridge.push(sender) for _ in range(4)]
    assert [(one.status, one.reason) for one in answers] == [
        (429, "TooManyRequests"),
        (429, "TooManyRequests"),
        (200, None),
        (200, None),
    ]
    assert answers[0].headers["retry-after"] == "1.5"
    assert len(phone.pushes.items) == 1


async def test_a_receipt_is_tried_again_under_the_same_id(
    sender: Sender, bridge: Bridge, sim: Simulator, receiver: Receiver
) -> None:
    receiver.statuses = [503, 500]
    await bridge.push(sender, bridge.call(**receiver.call()))
    receipt = await sim.phone("alice").wait_for_receipt()
    assert (receipt.accepted, receipt.attempts) == (True, 3)
    assert len({body["event_id"] for _, body in receiver.posts}) == 1


@pytest.mark.parametrize(("statuses", "attempts"), [([401], 1), ([503] * 9, 3)])
async def test_a_receipt_is_given_up_when_refused_or_after_the_last_attempt(
    sender: Sender, bridge: Bridge, sim: Simulator, receiver: Receiver, statuses: list[int], attempts: int
) -> None:
    receiver.statuses = statuses
    await bridge.push(sender, bridge.call(**receiver.call()))
    receipt = await sim.phone("alice").wait_for_receipt()
    assert (receipt.accepted, receipt.attempts) == (False, attempts)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "not a url", "ftp://x/"])
async def test_a_receipt_that_cannot_be_posted_is_given_up(
    sender: Sender, bridge: Bridge, sim: Simulator, url: str
) -> None:
    await bridge.push(sender, bridge.call(receipt_url=url, receipt_token="t"))
    receipt = await sim.phone("alice").wait_for_receipt()
    assert (receipt.status, receipt.attempts) == (None, 3)


async def test_receipts_keep_their_order_while_the_bridge_is_down(
    sender: Sender, bridge: Bridge, sim: Simulator, receiver: Receiver
) -> None:
    receiver.statuses = [503]
    await bridge.push(sender, bridge.call(**receiver.call()))
    sim.phone("alice").answer()
    await sim.phone("alice").receipts.until(2)
    assert receiver.kinds == ["received", "received", "answered"]


async def test_the_pauses_between_attempts_are_those_that_were_given(
    time: Time, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async with (
        Simulator(phones=["alice"], clock=time, receipt_retry=(60.0, 90.0)) as sim,
        Sender(sim) as sender,
    ):
        monkeypatch.setattr(sim.agenda, "sleep", sleep)
        receiver.statuses = [503, 503]
        bridge = Bridge(sim, time)
        await bridge.push(sender, bridge.call(**receiver.call()))
        assert (await sim.phone("alice").wait_for_receipt()).accepted
    assert pauses == [60.0, 90.0]


async def test_sleep_is_by_the_clock_that_was_given(sim: Simulator, time: Time) -> None:
    sleeper = asyncio.create_task(sim.agenda.sleep(3600))
    await asyncio.sleep(0)
    time.pass_(seconds=3599)
    await asyncio.sleep(0)
    assert not sleeper.done()
    time.pass_(seconds=1)
    await sleeper


async def test_waiting_for_a_call_that_does_not_come_ends_in_a_timeout(sim: Simulator) -> None:
    with pytest.raises(TimeoutError):
        await sim.phone("alice").wait_for_call(0.01)


async def test_each_wait_gives_the_next_call(sender: Sender, bridge: Bridge, sim: Simulator) -> None:
    phone = sim.phone("alice")
    names = [str(uuid.uuid4()) for _ in range(2)]
    for name in names:
        await bridge.push(sender, bridge.call(uuid=name))
    assert [(await phone.wait_for_call()).uuid for _ in names] == names


async def test_no_two_phones_share_a_name_or_a_token(sim: Simulator) -> None:
    taken = sim.phone("alice").profile.voip_token
    with pytest.raises(ValueError, match="there is a phone 'alice' already"):
        sim.add_phone("alice")
    with pytest.raises(ValueError, match="belongs to the phone 'alice'"):
        sim.add_phone("bob", alert_token=taken.upper())
    with pytest.raises(ValueError, match="are the same"):
        sim.add_phone("bob", alert_token="ab", voip_token="AB")
    with pytest.raises(ValueError, match="not hexadecimal"):
        sim.add_phone("bob", alert_token="xy")
    with pytest.raises(KeyError, match="no phone 'bob'; there are alice"):
        sim.phone("bob")
