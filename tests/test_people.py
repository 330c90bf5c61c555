"""What delays an incident, what people do to it, and how it ends: rules 3 and 5."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from builders import at, make_alert, phone, receiver, step
from story import Story

from bridge import people
from bridge.incidents import QUIET, Silence, State

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
    story.advance()
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


def test_a_phone_that_shows_no_notifications_is_not_told_that_it_is_over() -> None:
    story = Story()
    story.receive(make_alert())
    story.accept()
    story.receive(make_alert(firing=False))
    assert story.open_pages == {}


def test_those_who_were_told_are_told_quietly_that_it_is_over() -> None:
    story = Story(phones=[phone(alert=True)])
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
    story = Story(receiver(notify_resolved=notify), phones=[phone(alert=True)])
    story.receive(make_alert())
    if told:
        story.accept()
    story.receive(make_alert(firing=False))
    assert story.open_pages == {}
    assert story.withdrawn[-1] == "resolved"


# --- who has it -------------------------------------------------------------------------------


def quiet(story: Story) -> list[tuple[str, str]]:
    return [(page.kind, page.target) for page in story.pages if page.kind in QUIET]


def rung_by_both(**policy: Any) -> Story:
    phones = [phone(alert=True), phone("bob-iphone", alert=True), phone("bob-ipad")]
    story = Story(receiver(step("both"), **policy), phones=phones)
    story.receive(make_alert())
    story.accept()
    return story


def test_the_others_whose_phones_rang_are_told_who_has_it() -> None:
    story = rung_by_both()
    story.acknowledge("alice")
    assert quiet(story) == [("acknowledged", "bob-iphone")]
    (page,) = story.open_pages.values()
    assert (page.push, page.interruption_level) == ("alert", "passive")


def test_nobody_is_told_where_the_receiver_does_not_want_it() -> None:
    story = rung_by_both(notify_acknowledged=False)
    story.acknowledge("alice")
    assert quiet(story) == []


def test_a_phone_that_is_gone_is_not_told() -> None:
    story = rung_by_both()
    story.phones = story.phones[:1]
    story.acknowledge("alice")
    assert quiet(story) == []


# --- an acknowledgement that times out --------------------------------------------------------


def test_an_acknowledgement_may_time_out_and_rings_again() -> None:
    story = Story(receiver(ack_timeout=timedelta(hours=1)))
    story.receive(make_alert())
    story.wait(10)
    story.acknowledge()
    story.wait(3599)
    assert (story.incident.state, story.rings) == (State.ACKNOWLEDGED, [FIRST])
    story.wait(1)
    assert (story.incident.state, story.rings[1:]) == (State.TRIGGERED, [(3610, "alice-iphone", 1, 1)])
    assert story.incident.acknowledged_until is None
    assert "ack timed out" in story.events


def test_acknowledging_again_prolongs_it() -> None:
    story = Story(receiver(ack_timeout=timedelta(hours=1)))
    story.receive(make_alert())
    story.acknowledge()
    story.wait(1800)
    story.acknowledge()
    assert story.incident.acknowledged_until == at(5400)


def test_an_acknowledgement_of_what_has_ended_times_out_for_nobody() -> None:
    story = Story(receiver(ack_timeout=timedelta(hours=1)))
    story.receive(make_alert())
    story.acknowledge()
    story.receive(make_alert(firing=False))
    story.wait(7200)
    assert story.rings == [FIRST]


# --- giving back, handing on, silence, notes --------------------------------------------------


def test_what_is_given_back_rings_again_from_the_first_step() -> None:
    story = Story(receiver(step("platform"), step("second")))
    story.receive(make_alert())
    story.wait(300)
    story.acknowledge("bob")
    story.act(people.unacknowledge("bob"))
    assert story.rings[-1] == (300, "alice-iphone", 1, 1)
    assert story.incident.acknowledged_by is None
    assert story.act(people.unacknowledge("bob")).events == ()


@pytest.mark.parametrize("acknowledged", [False, True])
def test_what_is_handed_on_rings_the_next_step_at_once(acknowledged: bool) -> None:
    story = Story(receiver(step("platform"), step("second")))
    story.receive(make_alert())
    story.wait(5)
    if acknowledged:
        story.acknowledge()
    story.act(people.hand_on("alice"))
    assert story.rings[-1] == (5, "bob-iphone", 2, 1)
    assert story.withdrawn[-1] == "handed on"
    assert story.incident.state is State.TRIGGERED


def test_the_last_step_hands_on_to_the_first() -> None:
    story = Story()
    story.receive(make_alert())
    story.wait(400)
    assert story.incident.unanswered_at is not None
    story.act(people.hand_on("alice"))
    assert story.rings[-1] == (400, "alice-iphone", 1, 1)


@pytest.mark.parametrize("acknowledged", [False, True])
def test_what_is_silenced_rings_for_nothing_until_then_and_then_from_the_start(acknowledged: bool) -> None:
    story = Story()
    story.receive(make_alert())
    story.wait(50)
    if acknowledged:
        story.acknowledge()
    rung = len(story.rings)
    story.act(people.silence(at(3600), "alice"))
    story.receive(make_alert("NodeDown"))
    story.wait(3549)
    assert len(story.rings) == rung
    story.wait(1)
    assert story.rings[rung:] == [(3600, "alice-iphone", 1, 1)]


def test_news_after_a_silence_rings_at_once() -> None:
    story = Story()
    story.receive(make_alert())
    story.act(people.silence(at(100), "alice"))
    story.wait(100)
    story.acknowledge()
    story.receive(make_alert("NodeDown"))
    assert [when for when, *_ in story.rings] == [0, 100, 100]


def test_news_of_an_acknowledged_incident_waits_for_the_end_of_its_silence() -> None:
    story = Story()
    story.receive(make_alert())
    story.act(people.silence(at(100), "alice"))
    story.acknowledge()
    story.receive(make_alert("NodeDown"))
    assert (story.incident.state, story.incident.due_at) == (State.TRIGGERED, at(100))
    assert story.rings == [FIRST]


def test_an_acknowledgement_that_times_out_within_a_silence_waits_for_its_end() -> None:
    story = Story(receiver(ack_timeout=timedelta(seconds=30)))
    story.receive(make_alert())
    story.act(people.silence(at(100), "alice"))
    story.acknowledge()
    story.wait(99)
    assert story.rings == [(0, "alice-iphone", 1, 1)]
    assert (story.incident.state, story.incident.due_at) == (State.TRIGGERED, at(100))
    story.wait(1)
    assert story.rings[-1] == (100, "alice-iphone", 1, 1)


def test_giving_back_and_handing_on_end_a_silence() -> None:
    story = Story(receiver(step("platform"), step("second")))
    story.receive(make_alert())
    story.act(people.silence(at(3600), "alice"))
    story.act(people.hand_on("alice"))
    assert (story.rings[-1], story.incident.silenced_until) == ((0, "bob-iphone", 2, 1), None)


def test_a_silence_that_would_be_over_already_is_none() -> None:
    story = Story()
    story.receive(make_alert())
    before = story.incident
    assert story.act(people.silence(story.now, "alice")).incident == before


def test_a_silence_ends_with_its_incident() -> None:
    story = Story()
    story.receive(make_alert())
    story.act(people.silence(at(3600), "alice"))
    story.receive(make_alert(firing=False))
    story.wait(600)
    story.receive(make_alert(starts_at=at(600)))
    assert story.rings[-1] == (600, "alice-iphone", 1, 1)


# --- silences in Alertmanager -----------------------------------------------------------------

SILENCING = receiver(step("platform"), step("second"), ack_creates_silence=timedelta(hours=2))


def silencing() -> Story:
    """An alert fires, and whoever acknowledges it silences it for two hours."""
    story = Story(SILENCING)
    story.receive(make_alert())
    return story


def test_an_acknowledgement_wishes_a_silence_where_the_receiver_says_so() -> None:
    story = silencing()
    assert story.acknowledge().incident.silence == Silence(at(7200), "alice")
    assert story.events.count("acknowledged") == 1
    plain = Story()
    plain.receive(make_alert())
    assert plain.acknowledge().incident.silence is None


def test_who_acknowledges_too_prolongs_the_silence() -> None:
    story = silencing()
    story.acknowledge()
    story.wait(60)
    assert story.acknowledge("bob").incident.silence == Silence(at(7260), "alice")


def test_what_is_answered_too_late_wishes_no_silence() -> None:
    story = silencing()
    story.receive(make_alert("NodeDown"))
    assert story.acknowledge("alice", revision=1).incident.silence is None


@pytest.mark.parametrize(
    "end",
    [
        lambda story: story.act(people.unacknowledge("alice")),
        lambda story: story.act(people.hand_on("alice")),
        lambda story: story.receive(make_alert("NodeDown")),
        lambda story: story.receive(make_alert(firing=False)),
        lambda story: story.wait(26 * 3600),
    ],
    ids=["given back", "handed on", "news", "resolved", "expired"],
)
def test_the_silence_ends_with_the_acknowledgement(end: Callable[[Story], object]) -> None:
    story = silencing()
    story.acknowledge()
    end(story)
    assert story.incident.silence is None


def test_the_silence_ends_when_the_acknowledgement_times_out() -> None:
    story = Story(replace(SILENCING, ack_timeout=timedelta(hours=1)))
    story.receive(make_alert())
    story.acknowledge()
    story.wait(3599)
    assert story.incident.silence is not None
    story.wait(1)
    assert story.incident.silence is None


def test_a_phones_silence_replaces_the_one_of_the_acknowledgement_longer_or_shorter() -> None:
    for seconds in (60, 9000):
        story = silencing()
        story.acknowledge()
        assert story.act(people.silence(at(seconds), "bob")).incident.silence == Silence(at(seconds), "bob")


def test_an_acknowledgement_within_a_phones_silence_shortens_nothing() -> None:
    story = silencing()
    story.act(people.silence(at(9000), "bob"))
    assert story.acknowledge().incident.silence == Silence(at(9000), "bob")
    story.receive(make_alert("NodeDown"))
    assert story.incident.silence == Silence(at(9000), "bob"), "news is silenced too, as was asked for"


def test_giving_back_ends_a_phones_silence_too() -> None:
    story = silencing()
    story.act(people.silence(at(9000), "bob"))
    story.acknowledge()
    story.act(people.unacknowledge("alice"))
    assert story.incident.silence is None


def test_a_note_is_kept_and_changes_nothing() -> None:
    story = Story()
    story.receive(make_alert())
    before = story.incident
    change = story.act(people.note("restarting db-1", "alice"))
    assert (change.incident, change.events[0].text) == (before, "alice: restarting db-1")


@pytest.mark.parametrize(
    "verb",
    [people.unacknowledge("a"), people.hand_on("a"), people.silence(at(9999), "a")],
    ids=["given back", "handed on", "silenced"],
)
def test_nothing_can_be_done_with_an_incident_that_is_over(verb: people.Verb) -> None:
    story = Story()
    story.receive(make_alert())
    story.receive(make_alert(firing=False))
    before = story.incident
    assert story.act(verb).incident == before
