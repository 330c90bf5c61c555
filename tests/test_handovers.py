"""What became of a test call, read from its story."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from builders import NOW, at

from bridge.handovers import Handset, Report, chronicle, report

NAME = "alice-iphone"
ENROLLED, STATIC = Handset(enrolled=True), Handset(enrolled=False)


def iso(seconds: float) -> str:
    return at(seconds).isoformat()


def page(kind: str = "ring", **fields: Any) -> dict[str, Any]:
    known = {
        "id": f"p-{kind}", "kind": kind, "target": NAME, "push": "voip", "step": 1, "ring": 1, "attempt": 1,
        "created_at": iso(0), "state": "settled", "settled_at": iso(2), "outcome": "accepted", "reason": None,
        "call_id": f"c-{kind}",
    }  # fmt: skip
    return known | fields


def call(kind: str = "ring", **fields: Any) -> dict[str, Any]:
    known = {
        "id": f"c-{kind}", "uuid": "u", "device": NAME, "push": "voip" if kind == "ring" else "alert",
        "created_at": iso(1), "accepted_at": iso(2), "received_at": None, "receipt_due_at": iso(12),
        "expires_at": iso(31), "state": "open",
    }  # fmt: skip
    return known | fields


def receipt(kind: str, seconds: float = 3, code: int | None = None, of: str = "ring") -> dict[str, Any]:
    return {
        "call_id": f"c-{of}", "event_id": f"e-{kind}-{seconds}", "receipt": kind, "error_code": code,
        "received_at": iso(seconds),
    }  # fmt: skip


def story(**fields: Any) -> dict[str, Any]:
    known = {
        "state": "triggered", "group": {"device": NAME, "run": "1"}, "acknowledged_by": None,
        "unanswered_at": None, "resolution": None, "pages": [], "calls": [], "receipts": [], "timeline": [],
    }  # fmt: skip
    return known | fields


def told(
    it: dict[str, Any], phone: Handset | None = ENROLLED, seconds: float = 5, others: str | None = None
) -> Report:
    phones = {} if phone is None else {NAME: phone}
    return report(it, phones | ({others: ENROLLED} if others else {}), at(seconds))


def kinds(found: Report) -> list[str]:
    return [one.what for one in found.handovers]


# --- what happened ----------------------------------------------------------------------------


def test_each_hand_over_is_told_with_its_time() -> None:
    answered = call(received_at=iso(3), state="answered", receipt_due_at=None)
    events = [
        {"kind": "ring", "at": iso(0), "text": "step 1"},
        {"kind": "acknowledged", "at": iso(4), "text": "by alice"},
    ]
    receipts = [receipt("answered", 4), receipt("received", 3)]
    found = told(story(pages=[page()], calls=[answered], receipts=receipts, timeline=events))
    assert [(one.what, (one.at - NOW).total_seconds()) for one in found.handovers] == [
        ("committed", 0), ("claimed", 1), ("accepted", 2), ("received", 3), ("answered", 4), ("acknowledged", 4),
    ]  # fmt: skip
    assert "apns-id c-ring" in found.handovers[2].text
    assert (found.over, found.passed) == (True, True)


def test_what_comes_at_one_instant_is_told_in_its_order() -> None:
    receipts = [receipt("answered", 3), receipt("received", 3)]
    found = told(story(pages=[page()], calls=[call(received_at=iso(3))], receipts=receipts))
    assert kinds(found)[-2:] == ["received", "answered"]


@pytest.mark.parametrize(
    ("kind", "push", "words"),
    [
        ("ring", "voip", "a call"),
        ("ring", "alert", "a notification"),
        ("fallback", "alert", "a notification in its place"),
        ("webhook", "voip", "a post"),
        ("acknowledged", "alert", "a quiet notification"),
    ],
)
def test_what_is_sent_is_named(kind: str, push: str, words: str) -> None:
    found = told(story(pages=[page(kind, push=push)], calls=[call(kind)]))
    assert found.handovers[0].text == f"{words}, step 1, ring 1"


def test_a_webhook_is_accepted_by_its_server() -> None:
    found = told(story(pages=[page("webhook", call_id=None)]))
    assert [(one.what, one.text) for one in found.handovers][1] == ("accepted", "by its server")


def test_a_call_that_was_not_taken_at_once_is_tried_again() -> None:
    tried = page(state="waiting", outcome=None, settled_at=None, reason="Timeout", attempt=2)
    found = told(story(pages=[tried], calls=[call(accepted_at=None)]))
    assert found.handovers[-1].text == "Timeout; it is tried again (attempt 2)"
    assert not found.over


@pytest.mark.parametrize(
    ("free_at", "attempt", "phone", "waits"),
    [
        (20, 0, True, True),
        (3, 0, True, False),
        (None, 0, True, False),
        (20, 1, True, False),
        (20, 0, False, False),
    ],
)
def test_rule_5_a_call_that_waits_for_its_phone_says_so(
    free_at: float | None, attempt: int, phone: bool, waits: bool
) -> None:
    waiting = page(state="waiting", outcome=None, settled_at=None, call_id=None, attempt=attempt)
    handset = Handset(True, (), None if free_at is None else at(free_at))
    found = told(story(pages=[waiting]), handset if phone else None)
    assert ("waits" in kinds(found)) is waits
    assert not found.over


def test_what_is_told_twice_has_the_same_key() -> None:
    it = story(pages=[page()], calls=[call(received_at=iso(3))], receipts=[receipt("received")])
    keys = [one.key for one in told(it).handovers]
    assert len(set(keys)) == len(keys)
    assert [one.key for one in told(it, seconds=7).handovers] == keys


# --- what came of it --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "words"),
    [("answered", "was answered"), ("declined", "was declined"), ("received", "nobody answered")],
)
def test_a_phone_that_said_so_rang(kind: str, words: str) -> None:
    state = "open" if kind == "received" else kind
    heard = call(received_at=iso(3), receipt_due_at=None, state=state)
    receipts = [receipt("received", 2.5), receipt(kind)]
    found = told(story(pages=[page()], calls=[heard], receipts=receipts), seconds=31)
    assert (found.over, found.passed, found.verdict) == (True, True, f"{NAME} rang, and {words}")


def test_a_repeated_push_changes_nothing_about_it() -> None:
    heard = call(received_at=iso(3), receipt_due_at=None)
    receipts = [receipt("received"), receipt("failed", 4, code=2)]
    found = told(story(pages=[page()], calls=[heard], receipts=receipts), seconds=31)
    assert found.passed
    assert found.handovers[-1].text == "CallKit says 2 (it was ringing already)"


def test_it_is_not_over_while_it_rings() -> None:
    heard = call(received_at=iso(3), receipt_due_at=None)
    assert not told(story(pages=[page()], calls=[heard], receipts=[receipt("received")]), seconds=30).over


@pytest.mark.parametrize(("code", "words"), [(3, "3 (Do Not Disturb"), (99, "99"), (None, "None")])
def test_callkits_refusal_is_told_with_its_code(code: int | None, words: str) -> None:
    failed = call(received_at=iso(3), state="failed", receipt_due_at=None)
    instead = call("fallback", receipt_due_at=None, received_at=iso(5))
    found = told(
        story(
            pages=[page(), page("fallback", push="alert")],
            calls=[failed, instead],
            receipts=[receipt("failed", code=code), receipt("received", 5, of="fallback")],
        )
    )
    assert (found.over, found.passed) == (True, False)
    assert found.verdict.startswith(f"{NAME} did not ring: CallKit says {words}")
    assert found.verdict.endswith("; a notification went out in its place")
    assert found.handovers[-1].text == "by the phone: the notification"


def test_rule_6_accepted_is_not_rang_where_a_receipt_is_awaited() -> None:
    it = story(pages=[page()], calls=[call()])
    assert not told(it).over, "its receipt may still come"
    given_up = story(pages=[page()], calls=[call(receipt_due_at=None)])
    found = told(given_up, seconds=13)
    assert (found.over, found.passed) == (True, False)
    assert "the phone said nothing in time" in found.verdict


def test_a_notification_in_its_place_is_waited_for() -> None:
    pages, given_up = [page(), page("fallback", push="alert")], call(receipt_due_at=None)
    assert not told(story(pages=pages, calls=[given_up, call("fallback")])).over
    silent = call("fallback", receipt_due_at=None)
    assert told(story(pages=pages, calls=[given_up, silent])).over


def test_rule_6_of_a_phone_that_is_configured_accepted_is_all_that_can_be_known() -> None:
    it = story(pages=[page()], calls=[call(receipt_due_at=None)])
    assert not told(it, STATIC, seconds=30).over, "it may ring, and its app may say so"
    found = told(it, STATIC, seconds=31)
    assert (found.over, found.passed) == (True, True)
    assert "only its owner can tell" in found.verdict


@pytest.mark.parametrize("outcome", ["unregistered", "quarantined", "misconfigured", "rejected"])
def test_a_push_that_apns_refused_is_told_with_what_to_do(outcome: str) -> None:
    refused = page(outcome=outcome, reason="Because")
    found = told(story(pages=[refused], calls=[call(accepted_at=None, state="sending")]))
    assert (found.over, found.passed) == (True, False)
    assert found.verdict.startswith(f"{NAME} did not ring: {outcome} (Because): ")
    assert found.handovers[-1].text.startswith("Because: ")


def test_a_call_that_was_too_late_is_told_with_its_reason() -> None:
    late = page(outcome="expired", reason="its phone was busy", call_id=None)
    found = told(story(pages=[late]))
    assert found.handovers[-1].text == "its phone was busy"
    assert found.verdict == f"{NAME} did not ring: its turn did not come in time"


def test_what_is_wrong_with_a_phone_is_said_where_nothing_could_be_sent() -> None:
    it = story(unanswered_at=iso(0))
    assert told(it, Handset(True, ("it has no VoIP token",))).verdict.endswith("it has no VoIP token")
    gone = told(it, None)
    assert (gone.over, gone.verdict) == (True, f"{NAME} did not ring: it is not there any more")


@pytest.mark.parametrize(
    ("resolution", "words"),
    [("gave way", "it gave way"), ("called off", "called off"), ("expired", "its turn")],
)
def test_an_end_before_its_time_is_told(resolution: str, words: str) -> None:
    found = told(story(state="resolved", resolution=resolution))
    assert found.over
    assert words in found.verdict


# --- receivers --------------------------------------------------------------------------------


def test_a_receiver_passes_when_somebody_acknowledges() -> None:
    group = {"receiver": "platform", "run": "1"}
    running = story(group=group, pages=[page()], calls=[call(receipt_due_at=None)])
    assert not told(running, seconds=60).over, "the next ring comes"
    done = told(running | {"acknowledged_by": "bob", "state": "acknowledged"})
    assert (done.over, done.passed, done.verdict) == (True, True, "acknowledged by bob")
    for fields, words in (
        ({"unanswered_at": iso(9)}, "nobody answered"),
        ({"state": "resolved", "resolution": "called off"}, "called off"),
    ):
        failed = told(running | fields)
        assert (failed.over, failed.passed, failed.verdict) == (True, False, words)


def test_the_time_of_a_handover_is_an_instant() -> None:
    found = told(story(pages=[page()]))
    assert found.handovers[0].at.utcoffset() == timedelta()


# --- an incident's whole story ----------------------------------------------------------------


def test_a_chronicle_tells_everything_in_order_and_how_long_each_hand_over_took() -> None:
    heard = {"id": 7, "at": iso(0), "source": "default", "firing": ["a", "b"], "resolved": []}
    lines = [{"at": iso(0), "kind": "triggered", "text": "DiskFull"}]
    lines += [{"at": iso(9), "kind": "note", "text": "on my way"}]
    hook = page(
        "webhook", target="tickets", call_id=None, settled_at=iso(4), outcome="expired", reason="HTTP 500"
    )
    it = story(
        notifications=[heard],
        timeline=lines,
        pages=[page(), hook],
        calls=[call()],
        receipts=[receipt("received", 3.5)],
    )
    found = [
        ((one.at - NOW).total_seconds(), one.what, one.target, took) for one, took in chronicle(it, at(20))
    ]
    assert found == [
        (0, "accepted", "", None),
        (0, "triggered", "", None),
        (0, "committed", NAME, None),
        (0, "committed", "tickets", None),
        (1, "claimed", NAME, 1),
        (2, "accepted", NAME, 1),
        (3.5, "received", NAME, 1.5),
        (4, "expired", "tickets", 4),
        (9, "note", "", None),
    ]
    (first, _), *_ = chronicle(it, at(20))
    assert first.text == "notification 7 from default: 2 firing, 0 resolved"
