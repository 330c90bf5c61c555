"""What delays an incident, what people do to it, and how it ends: rules 3 and 5."""

from __future__ import annotations

import pytest
from builders import at, make_alert, receiver, step
from story import Story

from bridge.incidents import State

FIRST = (0.0, "alice-iphone", 1, 1)


# --- rule 3: muting ---------------------------------------------------------------------------


def test_rule_3_muting_delays_the_start_to_the_end_of_the_mute() -> None:
    story = Story()
    story.receive(make_alert(), muted=3600)
    assert (story.rings, story.incident.due_at) == ([], at(3600))
    story.wait(3599)
    assert story.rings == []
    story.wait(1)
    assert story.rings == [(3600, "alice-iphone", 1, 1)]


def test_rule_3_an_alert_that_resolves_while_muted_never_rings() -> None:
    story = Story()
    story.receive(make_alert(), muted=3600)
    story.wait(10)
    story.receive(make_alert(firing=False))
    story.wait(7200)
    assert story.pages == []


def test_rule_3_muted_news_lets_an_escalation_that_has_begun_go_on() -> None:
    story = Story()
    story.receive(make_alert())
    story.receive(make_alert("NodeDown"), muted=3600)
    assert story.incident.series == 1
    assert story.incident.revision == 2
    story.wait(45)
    assert story.rings == [FIRST, (45, "alice-iphone", 1, 2)]


@pytest.mark.parametrize("seconds", [100, 400], ids=["in step 2", "in round 2"])
def test_rule_3_muted_news_moves_nothing_between_two_steps_either(seconds: float) -> None:
    policy = receiver(
        step("platform", times=1, then_after=100), step("second", times=1, then_after=300), repeat=1
    )
    story = Story(policy)
    story.receive(make_alert())
    story.wait(seconds - 1)
    story.now = at(seconds)
    due_at = story.incident.due_at
    story.receive(make_alert("NodeDown"), muted=3600)
    assert due_at == at(seconds)
    assert story.incident.series == 1
    assert story.rings[-1][0] == seconds


@pytest.mark.parametrize(("later", "due"), [(100, 100), (900, 600), (None, 0)])
def test_rule_3_a_start_that_waits_is_never_put_off_by_more_news(later: float | None, due: float) -> None:
    story = Story()
    story.receive(make_alert(), muted=600)
    story.receive(make_alert("NodeDown"), muted=later)
    story.wait(3600)
    assert story.rings[0][0] == due


def test_rule_3_muted_news_of_an_acknowledged_incident_rings_when_the_mute_ends() -> None:
    story = Story()
    story.receive(make_alert())
    story.acknowledge()
    story.receive(make_alert("NodeDown"), muted=600)
    story.wait(600)
    assert story.rings == [FIRST, (600, "alice-iphone", 1, 1)]


def test_rule_3_muted_news_of_an_unanswered_incident_rings_when_the_mute_ends() -> None:
    story = Story()
    story.receive(make_alert())
    story.wait(400)
    story.receive(make_alert("NodeDown"), muted=600)
    rung = len(story.rings)
    story.wait(600)
    assert story.rings[rung:] == [(1000, "alice-iphone", 1, 1)]


# --- rule 5 and people ------------------------------------------------------------------------


def test_acknowledging_ends_every_ring_and_withdraws_what_is_open() -> None:
    story = Story()
    story.receive(make_alert())
    story.acknowledge("alice")
    incident = story.incident
    assert (incident.state, incident.acknowledged_by, incident.acknowledged_at) == (
        State.ACKNOWLEDGED,
        "alice",
        at(0),
    )
    assert (incident.due_at, story.open_pages, story.withdrawn[-1]) == (None, {}, "acknowledged")
    story.wait(7200)
    assert story.rings == [FIRST]


def test_rule_5_answering_acknowledges_what_the_call_carried() -> None:
    story = Story()
    story.receive(make_alert())
    story.acknowledge(revision=1)
    assert story.incident.state is State.ACKNOWLEDGED


def test_rule_5_news_that_the_call_did_not_carry_still_rings() -> None:
    story = Story()
    story.receive(make_alert())
    story.receive(make_alert("NodeDown"))
    change = story.acknowledge(revision=1)
    assert (change.incident.state, change.withdraw) == (State.TRIGGERED, None)
    assert [event.kind for event in change.events] == ["answered"]
    story.wait(45)
    assert len(story.rings) == 3


def test_who_acknowledges_second_is_told_who_has_it() -> None:
    story = Story()
    story.receive(make_alert())
    story.acknowledge("alice")
    change = story.acknowledge("bob")
    assert change.incident.acknowledged_by == "alice"
    assert [event.text for event in change.events] == ["by bob too; alice has it already"]


def test_who_acknowledges_what_is_over_is_too_late() -> None:
    story = Story()
    story.receive(make_alert())
    story.receive(make_alert(firing=False))
    change = story.acknowledge("bob")
    assert change.incident.state is State.RESOLVED
    assert [event.text for event in change.events] == [
        "acknowledged by bob, but the incident is over (resolved)"
    ]


def test_acknowledging_an_unanswered_incident_ends_the_alarm() -> None:
    story = Story()
    story.receive(make_alert())
    story.wait(301)
    story.acknowledge()
    assert (story.incident.state, story.incident.unanswered_at) == (State.ACKNOWLEDGED, None)


# --- the end ----------------------------------------------------------------------------------


def test_those_who_were_told_are_told_quietly_that_it_is_over() -> None:
    story = Story()
    story.receive(make_alert())
    story.wait(1)
    story.receive(make_alert(firing=False))
    (page,) = story.open_pages.values()
    assert (page.kind, page.target, page.push, page.interruption_level) == (
        "resolved",
        "alice-iphone",
        "alert",
        "passive",
    )
    assert page.expires_at == at(3601)


@pytest.mark.parametrize(
    ("notify", "told"), [(False, True), (True, False)], ids=["not wanted", "nobody told"]
)
def test_no_quiet_push_where_none_is_wanted_or_nobody_was_told(notify: bool, told: bool) -> None:
    story = Story(receiver(notify_resolved=notify))
    story.receive(make_alert())
    if told:
        story.accept()
    story.receive(make_alert(firing=False))
    assert story.open_pages == {}
    assert story.withdrawn[-1] == "resolved"
