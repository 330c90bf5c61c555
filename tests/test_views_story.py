"""One incident's story: the hand-overs in order with true delays, and a picture that shows what happened."""

import dataclasses
from datetime import datetime
from typing import Any

from builders import NOW, at, receiver, step
from msgspec.structs import replace

from bridge.incidents import Episode, Incident, Slot, State
from bridge.views.story import (
    WIDE,
    Phoned,
    Push,
    Said,
    Segment,
    actions,
    alert,
    hops,
    lines,
    picture,
    web,
)

INCIDENT = Incident("i", Slot("default", "platform"), NOW)


def push(target: str = "alice-iphone", begun: float = 0, **fields: Any) -> Push:
    known = {
        "kind": "ring",
        "series": 1,
        "step": 1,
        "ring": 1,
        "created_at": at(begun),
        "outcome": "accepted",
    }
    return Push(**({"target": target} | known | fields))


def call(
    made: float = 0.01, accepted: float | None = 0.15, received: float | None = 0.8, *said: Said
) -> Phoned:
    def instant(seconds: float | None) -> datetime | None:
        return None if seconds is None else at(seconds)

    return Phoned(at(made), at(made + 30), instant(accepted), instant(received), said)


ANSWERED = call(0.01, 0.15, 0.8, Said("received", at(0.8)), Said("answered", at(12)))


def drawn(*pushes: Push, now: float = 60, **fields: Any) -> list[list[Segment]]:
    found = picture(replace(INCIDENT, **fields), pushes, at(now))
    assert found is not None
    return [list(lane.segments) for lane in found.lanes]


def ring(*pushes: Push, **fields: Any) -> Segment:
    return next(one for one in drawn(*pushes, **fields)[0] if one.kind == "ring")


def test_each_hand_over_comes_with_the_delay_since_the_one_before() -> None:
    incident = replace(INCIDENT, state=State.ACKNOWLEDGED, acknowledged_at=at(12.1), acknowledged_by="alice")
    found = hops(incident, [push(call=ANSWERED)], at(60))
    assert [(hop.what, hop.delay) for hop in found] == [
        ("alert committed", ""),
        ("alice-iphone is to ring", "+0 ms"),
        ("call made", "+10 ms"),
        ("Apple took it", "+140 ms"),
        ("phone has it", "+650 ms"),
        ("answered", "+11.2 s"),
        ("alice has it", "+100 ms"),
    ]


def test_the_call_that_was_answered_is_the_one_that_is_told() -> None:
    pushes = [push(call=call()), push("bob-iphone", 45, call=dataclasses.replace(ANSWERED, made_at=at(45)))]
    told = [hop.what for hop in hops(INCIDENT, pushes, at(90))]
    assert "bob-iphone is to ring" in told
    assert "alice-iphone is to ring" not in told


def test_what_has_not_happened_yet_is_not_told() -> None:
    waiting = push(outcome=None, call=call(0.01, None, None))
    assert [hop.what for hop in hops(INCIDENT, [waiting], NOW)] == [
        "alert committed",
        "alice-iphone is to ring",
        "call made",
    ]
    assert [hop.what for hop in hops(INCIDENT, [push()], NOW)] == ["alert committed"]


def test_an_incident_that_is_over_ends_the_chain() -> None:
    over = replace(INCIDENT, state=State.RESOLVED, resolved_at=at(40))
    assert hops(over, [], at(60))[-1].what == "over"


def test_an_answered_ring_lasts_from_its_receipt_to_its_answer() -> None:
    found = ring(push(call=ANSWERED))
    assert (found.tone, found.text) == ("good", "step 1, ring 1: answered")
    assert (found.x, round(found.x + found.width)) == (13.3, 200)


def test_a_declined_and_a_failed_ring_are_told_apart() -> None:
    assert ring(push(call=call(0, 0.1, 0.5, Said("declined", at(3))))).tone == "warn"
    assert ring(push(call=call(0, 0.1, 0.5, Said("failed", at(1))))).tone == "bad"


def test_a_ring_that_nobody_answers_lasts_until_the_call_expires() -> None:
    found = ring(push(call=call(0, 0.1, 0.5)))
    assert (found.tone, found.text) == ("info", "step 1, ring 1: rang")
    assert round(found.x + found.width) == 500


def test_a_ring_ends_when_somebody_else_has_it() -> None:
    held = ring(push(call=call(0, 0.1, 0.5)), state=State.ACKNOWLEDGED, acknowledged_at=at(15))
    assert round(held.x + held.width) == 250


def test_a_call_of_which_the_phone_says_nothing_is_no_ring() -> None:
    assert ring(push(call=call(0, 0.1, None))).text == "step 1, ring 1: Apple took it; no word from the phone"
    assert ring(push(kind="webhook", settled_at=at(1))).text == "step 1, ring 1: posted"


def test_what_did_not_go_out_says_why() -> None:
    refused = ring(push(outcome="unregistered", reason="410", settled_at=at(1)))
    assert (refused.tone, refused.text) == ("bad", "step 1, ring 1: unregistered: 410")
    assert ring(push(outcome="withdrawn", settled_at=at(1))).tone == "quiet"
    assert ring(push(outcome=None)).text == "step 1, ring 1: on its way"


def test_the_wait_before_a_ring_is_drawn() -> None:
    late = push(
        call=dataclasses.replace(
            call(), made_at=at(20), accepted_at=at(20.2), received_at=at(21), expires_at=at(50)
        )
    )
    wait, bell = drawn(late)[0]
    assert (wait.kind, wait.x, wait.width) == ("wait", 0, bell.x)


def test_each_target_has_a_lane_and_the_newest_series_is_drawn() -> None:
    old, new = push("bob-iphone", call=ANSWERED), push(begun=600, series=2, outcome=None)
    assert len(drawn(push(call=ANSWERED), push("bob-iphone", outcome=None))) == 2
    found = picture(INCIDENT, [old, new], at(610))
    assert found is not None
    assert [lane.target for lane in found.lanes] == ["alice-iphone"]
    assert found.lanes[0].text == "step 1, ring 1: on its way"
    assert found.ticks == ("0 ms", "15.0 s", "30.0 s", "45.0 s", "1 min")


def test_the_moment_of_the_acknowledgement_is_marked() -> None:
    incident = replace(INCIDENT, state=State.ACKNOWLEDGED, acknowledged_at=at(30))
    found = picture(incident, [push(call=call())], at(600))
    assert found is not None
    assert [(mark.x, mark.text) for mark in found.marks] == [(WIDE / 2, "acknowledged")]


def test_where_nobody_was_rung_there_is_no_picture() -> None:
    assert picture(INCIDENT, [push(kind="resolved")], NOW) is None


def test_lines_are_told_the_newest_first() -> None:
    found = lines([(NOW, "triggered", "DiskFull"), (at(5), "gave way", "x")], at(60))
    assert [(line.kind, line.tone) for line in found] == [("gave way", None), ("triggered", "info")]


def test_only_web_addresses_become_links() -> None:
    annotations = {"runbook_url": "https://wiki.example/x", "bad": "javascript:alert(1)", "odd": "http://a b"}
    labels = {"alertname": "A", "severity": "warning"}
    found = alert(Episode("f", labels, annotations, "ftp://x", NOW, at(9)), NOW)
    assert found.links == (("runbook_url", "https://wiki.example/x"),)
    assert [name for name, _ in found.annotations] == ["bad", "odd"]
    assert (found.tone, found.labels, found.ended) == ("warn", (("severity", "warning"),), None)
    assert not web("data:text/html,x")


def test_an_alert_that_ended_is_calm_and_one_without_a_name_says_so() -> None:
    over = Episode("f", {}, {}, "https://prom.example/g", NOW, at(9), status="resolved", ended_at=at(5))
    found = alert(over, at(9))
    assert (found.name, found.tone, found.severity) == ("alert without a name", "good", "none")
    assert found.links == (("source", "https://prom.example/g"),)
    assert found.ended is not None


def test_what_can_be_done_follows_from_how_it_stands() -> None:
    one, two = receiver(step("platform")), receiver(step("platform"), step("second"))
    taken, over = (replace(INCIDENT, state=state) for state in (State.ACKNOWLEDGED, State.RESOLVED))
    assert [name for name, can in actions(INCIDENT, two).items() if can] == [
        "acknowledge",
        "silence",
        "hand_on",
        "note",
    ]
    assert [name for name, can in actions(taken, one).items() if can] == ["unacknowledge", "silence", "note"]
    assert [name for name, can in actions(over, two).items() if can] == ["note"]
