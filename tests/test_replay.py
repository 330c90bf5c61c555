"""What failed pages are still good for, when somebody asks to have them sent again."""

from __future__ import annotations

from typing import Any

import pytest
from builders import at, make_alert, receiver, step
from msgspec.structs import replace
from story import Story

from bridge import replay
from bridge.incidents import Incident, PageKind, State, make_page, stable_id
from bridge.replay import FAILED, Failed, Replay, plan


def rung(*webhooks: str, **fields: Any) -> Story:
    """An incident that has rung, with a webhook in its step perhaps; nobody knows yet what came of it."""
    story = Story(receiver(step("platform", webhooks=webhooks), **fields))
    story.receive(make_alert())
    return story


def failed(incident: Incident, kind: PageKind = "ring", outcome: str = "misconfigured") -> Failed:
    target = "tickets" if kind == "webhook" else "alice-iphone"
    return Failed(make_page(incident, step("platform"), kind, target, at(0), at(45)), outcome)


def test_an_open_incident_that_reached_nobody_rings_anew() -> None:
    incident = rung().incident
    assert plan(incident, [failed(incident)], (), at(60)) == Replay(rings=True)


def test_one_that_nobody_answered_rings_anew_though_phones_were_reached() -> None:
    incident = replace(rung().incident, reached=True, unanswered_at=at(50), due_at=None)
    assert plan(incident, [failed(incident)], (), at(60)).rings


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"state": State.RESOLVED}, "it is over"),
        ({"state": State.ACKNOWLEDGED, "acknowledged_by": "bob"}, "bob has it"),
        ({"silenced_until": at(61)}, "it is silenced"),
        ({"series": 2}, "it has rung anew since"),
        ({"reached": True}, "somebody was reached, or it was replayed before"),
    ],
)
def test_what_is_of_no_use_any_more_is_left_with_the_reason(fields: dict[str, Any], why: str) -> None:
    incident = rung().incident
    found = plan(replace(incident, **fields), [failed(incident)], (), at(60))
    assert (found.does, found.why) == ("nothing", why)


def test_a_silence_that_is_over_keeps_nothing_back() -> None:
    incident = replace(rung().incident, silenced_until=at(60))
    assert plan(incident, [failed(incident)], (), at(60)).rings


def test_a_quiet_notification_that_failed_rings_nobody() -> None:
    incident = rung().incident
    assert plan(incident, [failed(incident, "acknowledged")], (), at(60)).why == "it has rung anew since"


def test_a_post_that_failed_goes_out_again_once() -> None:
    """Its repetition's id says of which page it is one."""
    incident = rung("tickets").incident
    one = failed(incident, "webhook", "expired")
    found = plan(incident, [one], (), at(60))
    (page,) = found.posts
    assert (page.id, page.target, page.due_at) == (stable_id("replay", one.page.id), "tickets", at(60))
    assert page.expires_at == at(60 + 3600)
    assert found.does == "posts again to tickets"
    assert plan(incident, [one], [page.id], at(70)).does == "nothing"


def test_where_the_ring_failed_too_it_rings_anew_and_the_post_goes_out_with_that() -> None:
    """By the same rules: the step's webhooks go out with its first ring."""
    story = rung("tickets")
    incident = story.incident
    gone = [failed(incident), failed(incident, "webhook")]
    found = plan(incident, gone, (), story.now)
    change = story.act(replay.verb(found, gone, "carol"))
    assert {(page.kind, page.series) for page in change.pages} == {("ring", 2), ("webhook", 2)}
    assert change.withdraw == "replayed"
    note = next(event for event in change.events if event.kind == "replayed")
    assert note.text == "by carol, for 2 misconfigured: rings anew"


def test_a_post_that_is_replayed_leaves_the_escalation_alone() -> None:
    story = rung("tickets")
    before = story.incident
    gone = [failed(before, "webhook", "expired"), failed(before, "ring", "expired")]
    found = plan(replace(before, reached=True), gone, (), at(60))
    change = story.act(replay.verb(found, gone, "carol"))
    assert [page.target for page in change.pages] == ["tickets"]
    assert story.incident == before
    assert story.events[-1] == "replayed"


def test_what_failed_is_what_was_wanted_and_did_not_get_there() -> None:
    assert set(FAILED) == {"rejected", "unregistered", "quarantined", "misconfigured", "expired"}
