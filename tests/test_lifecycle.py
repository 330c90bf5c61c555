"""What alerts do to incidents: rules 1 and 2, and every way in which an alert comes twice."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from builders import at, make_alert, receiver, step
from msgspec.structs import replace
from story import SLOT, Story

from bridge import lifecycle
from bridge.alerts import Alert, parse
from bridge.incidents import Change, Episode, Slot, State
from bridge.lifecycle import Times

PAYLOADS = Path(__file__).parent / "payloads"
FIRST = (0.0, "alice-iphone", 1, 1)
OTHER = Slot("default", "platform", (("cluster", "c1"),))
STORAGE = Slot("default", "storage", (("alertname", "DiskFull"),))


def body(name: str) -> tuple[Alert, ...]:
    (path,) = PAYLOADS.glob(f"{name}_*.json")
    return parse(path.read_bytes(), "default", at(0)).alerts


def resolved(alert: Alert, seconds: float) -> Alert:
    return replace(alert, firing=False, ends_at=at(seconds))


# --- rule 1: which incident -------------------------------------------------------------------


def test_rule_1_an_alert_joins_one_incident_for_each_distinct_receiver() -> None:
    story = Story()
    changes = story.receive(make_alert(), to=(SLOT, STORAGE))
    assert {change.incident.slot for change in changes} == {SLOT, STORAGE}
    assert len({change.incident.id for change in changes}) == 2
    assert len(story.rings) == 2


def test_rule_1_each_alert_is_routed_by_itself() -> None:
    story = Story()
    story.receive(make_alert("DiskFull"), to=(SLOT,))
    story.receive(make_alert("DiskFull"), make_alert("NodeDown"), to=(STORAGE,))
    assert {slot: len(i.firing) for slot, i in story.incidents.items()} == {SLOT: 1, STORAGE: 1}


def test_rule_1_the_receiver_stays_while_the_episode_is_open_also_across_a_reload() -> None:
    story = Story()
    story.receive(make_alert())
    story.receive(make_alert(), to=(STORAGE,))
    assert set(story.incidents) == {SLOT}
    story.receive(make_alert(firing=False), to=(STORAGE,))
    story.receive(make_alert(starts_at=at(60)), to=(STORAGE,))
    assert set(story.incidents) == {STORAGE}


# --- issue 2, point 2: exactly one ring episode -----------------------------------------------


@pytest.mark.parametrize("version", ["0", "1"])
def test_a_repeat_byte_for_byte_rings_once(version: str) -> None:
    story = Story()
    story.receive(*body(version + "2"))
    story.receive(*body(version + "3"))
    assert story.rings == [FIRST]
    assert story.incident.revision == 1


def test_a_retry_rings_once_and_moves_no_timer() -> None:
    story = Story()
    story.receive(make_alert())
    due_at = story.incident.due_at
    story.wait(0.5)
    story.receive(make_alert())
    assert story.rings == [FIRST]
    assert story.incident.due_at == due_at == at(45)


def test_two_ha_peers_with_starts_at_milliseconds_apart_ring_once() -> None:
    story = Story()
    story.receive(make_alert(starts_at=at(0.004)), external_url="http://am-0:9093")
    story.receive(make_alert(starts_at=at(0)), external_url="http://am-1:9093")
    assert story.rings == [FIRST]
    assert story.incident.external_url == "http://am-1:9093"
    assert story.incident.firing[0].starts_at == at(0)


def test_continue_under_two_group_keys_rings_once() -> None:
    story = Story()
    story.receive(make_alert(), group_key='{}/{a="b"}:{}')
    story.receive(make_alert(), group_key='{}/{c="d"}:{}')
    assert story.rings == [FIRST]
    assert story.incident.group_key == '{}/{c="d"}:{}'


def test_regrouping_after_a_reload_rings_once() -> None:
    story = Story()
    story.receive(make_alert(), make_alert(labels={"alertname": "DiskFull", "instance": "i2"}))
    story.receive(make_alert(), to=(OTHER,), group_key="{}:{cluster}")
    assert story.rings == [FIRST]
    assert set(story.incidents) == {SLOT}


def test_the_same_alert_twice_in_one_body_rings_once() -> None:
    story = Story()
    (change,) = story.receive(make_alert(), make_alert())
    assert story.rings == [FIRST]
    assert len(change.incident.firing) == 1


# --- rule 2: what is news ---------------------------------------------------------------------


def test_rule_2_a_new_alert_rings_a_triggered_incident_again_from_step_1_ring_1() -> None:
    story = Story(receiver(step("platform", then_after=60), step("second")))
    story.receive(make_alert())
    story.wait(70)
    assert story.rings[-1] == (60, "bob-iphone", 2, 1)
    story.receive(make_alert("NodeDown"))
    assert story.rings[-1] == (70, "alice-iphone", 1, 1)
    assert story.incident.revision == story.incident.series == 2
    assert story.withdrawn[-1] == "superseded by news"


def test_rule_2_a_new_alert_rings_an_acknowledged_incident_again() -> None:
    story = Story()
    story.receive(make_alert())
    story.acknowledge()
    story.wait(600)
    assert story.rings == [FIRST]
    story.receive(make_alert(), make_alert("NodeDown"))
    assert story.rings == [FIRST, (600, "alice-iphone", 1, 1)]
    incident = story.incident
    assert (incident.state, incident.acknowledged_by, incident.acknowledged_at) == (
        State.TRIGGERED,
        None,
        None,
    )
    assert {episode.revision for episode in incident.firing} == {1, 2}


def test_rule_2_a_new_alert_rings_an_unanswered_incident_again() -> None:
    story = Story()
    story.receive(make_alert())
    story.wait(301)
    assert story.incident.unanswered_at == at(300)
    story.receive(make_alert("NodeDown"))
    assert story.incident.unanswered_at is None
    assert story.rings[-1] == (301, "alice-iphone", 1, 1)


@pytest.mark.parametrize(("pause", "rings"), [(0, 1), (299, 1), (300, 2), (3000, 2)])
def test_rule_2_an_alert_that_fires_again_within_refire_quiet_joins_without_ringing(
    pause: float, rings: int
) -> None:
    story = Story()
    story.receive(make_alert(), make_alert("NodeDown"))
    story.acknowledge()
    story.wait(10)
    story.receive(make_alert(firing=False))
    story.wait(pause)
    # startsAt far from the end by the source's clock, so that ours alone decides.
    story.receive(make_alert(starts_at=at(9000)))
    assert len(story.rings) == rings
    assert len(story.incident.firing) == 2
    assert story.incident.revision == rings
    assert ("rejoined" in story.events) == (rings == 1)


@pytest.mark.parametrize(("starts", "rings"), [(9, 2), (10, 1), (309, 1), (310, 2)])
def test_rule_2_refire_quiet_counts_by_the_sources_clock_where_its_news_came_late(
    starts: float, rings: int
) -> None:
    story = Story()
    story.receive(make_alert(), make_alert("NodeDown"))
    story.acknowledge()
    story.receive(make_alert(firing=False))  # it ended at second 10
    story.wait(400)
    story.receive(make_alert(starts_at=at(starts)))
    assert len(story.rings) == rings


def test_rule_2_a_quiet_return_keeps_the_revision_that_was_answered() -> None:
    story = Story()
    story.receive(make_alert(), make_alert("NodeDown"))
    story.receive(make_alert(firing=False))
    story.receive(make_alert(starts_at=at(11)))
    assert [episode.revision for episode in story.incident.firing] == [1, 1]


def test_rule_2_after_the_incident_was_resolved_a_quick_return_rings() -> None:
    story = Story()
    story.receive(make_alert())
    story.wait(10)
    story.receive(make_alert(firing=False))
    first = story.incident.id
    story.receive(make_alert(starts_at=at(11)))
    assert story.incident.id != first
    assert story.rings == [FIRST, (10, "alice-iphone", 1, 1)]


def test_rule_2_resolving_goes_alert_by_alert() -> None:
    story = Story()
    for name in ("01", "02", "04"):
        story.receive(*body(name))
    assert story.incident.state is State.TRIGGERED
    assert [e.status for e in story.incident.alerts.values()] == ["resolved", "firing"]
    story.receive(*body("05"))
    assert (story.incident.state, story.incident.resolution) == (State.RESOLVED, "resolved")
    assert story.incident.wake_at is None


def test_rule_2_a_resolve_older_than_the_episode_is_stale() -> None:
    story = Story()
    story.receive(make_alert(starts_at=at(20)))
    story.receive(resolved(make_alert(starts_at=at(0)), 19.9))
    assert story.incident.state is State.TRIGGERED
    assert "stale" in story.events
    story.receive(resolved(make_alert(starts_at=at(20)), 20))
    assert story.incident.state is State.RESOLVED


def test_rule_2_a_peers_later_starts_at_makes_no_resolve_stale() -> None:
    story = Story()
    story.receive(make_alert(starts_at=at(0)))
    story.receive(make_alert(starts_at=at(30)))  # a restart moved it
    story.receive(resolved(make_alert(), 20))
    assert story.incident.state is State.RESOLVED


def test_a_resolve_without_an_end_counts_from_now() -> None:
    story = Story()
    story.receive(make_alert())
    story.wait(5)
    story.receive(replace(make_alert(firing=False), ends_at=None))
    assert [e.ended_at for e in story.incident.alerts.values()] == [at(5)]


def test_a_resolve_of_what_never_fired_here_changes_nothing() -> None:
    story = Story()
    assert story.receive(make_alert(firing=False)) == ()


def test_a_repeated_resolve_changes_nothing() -> None:
    story = Story()
    story.receive(make_alert(), make_alert("NodeDown"))
    story.receive(make_alert(firing=False))
    assert story.receive(make_alert(firing=False)) == ()


def test_an_alert_that_takes_over_from_another_keeps_the_incident_open() -> None:
    story = Story()
    story.receive(make_alert())
    story.receive(make_alert(firing=False), make_alert("NodeDown"))
    assert story.closed == []
    assert len(story.rings) == 2


def test_rule_2_the_time_to_live_counts_from_the_last_mention() -> None:
    story = Story(times=Times(alert_ttl=timedelta(hours=25)))
    story.receive(make_alert())
    story.wait(24 * 3600)
    story.receive(make_alert())
    story.wait(25 * 3600 - 1)
    assert story.incident.open
    story.wait(1)
    incident = story.incident
    assert (incident.state, incident.resolution, incident.resolved_at) == (
        State.RESOLVED,
        "expired",
        at(49 * 3600),
    )
    assert [episode.status for episode in incident.alerts.values()] == ["expired"]


def test_rule_2_a_mention_in_the_instant_of_expiry_keeps_the_episode() -> None:
    story = Story()
    story.receive(make_alert())
    story.now += story.times.alert_ttl
    story.receive(make_alert())
    assert story.incident.firing
    assert "alert expired" not in story.events


def test_truncated_alerts_are_kept_with_the_incident() -> None:
    story = Story()
    story.receive(make_alert(), truncated_alerts=3)
    assert story.incident.truncated_alerts == 3
    story.receive(make_alert(), truncated_alerts=0)
    assert story.incident.truncated_alerts == 0


def test_the_timeline_names_five_alerts_counts_the_rest_and_tells_of_repairs() -> None:
    story = Story()
    alerts = [make_alert(f"A{n}", repairs=("status",) if n == 6 else ()) for n in range(7)]
    (change,) = story.receive(*alerts)
    assert change.events[0].text == "A0, A1, A2, A3, A4 and 2 more (repaired: status)"
    (change,) = Story().receive(make_alert(labels={"a": "b"}))
    assert change.events[0].text == "an alert without a name"


def test_the_timeline_tells_what_joins_apart_from_what_fires_already() -> None:
    def said(**labels: str) -> str:
        (change,) = story.receive(make_alert(labels={"alertname": "B1", "job": "db"} | labels))
        return change.events[0].text

    story = Story()
    assert said(instance="a") == "B1"
    assert said(instance="b") == "B1 (instance=b)"
    assert said(instance="b", shard="1") == "B1 (instance=b, shard=1)", "not all others have that instance"
    assert said(alertname="B2") == "B2", "its name tells it apart"
    assert said(alertname="B3", a="1", b="2", c="3", d="4") == "B3 (a=1, b=2, c=3)"
    long = said(instance="x" * 9000)
    assert (long.startswith("B1 (instance=xxx"), long.endswith("x…)"), len(long.encode())) == (
        True,
        True,
        105,
    )


def test_what_comes_together_with_the_only_one_before_is_told_apart_from_that_one_alone() -> None:
    story = Story()
    story.receive(make_alert(labels={"alertname": "B1", "instance": "a"}))
    news = [make_alert(labels={"alertname": "B1", "instance": name}) for name in "bc"]
    (change,) = story.receive(*news)
    assert change.events[0].text == "B1 (instance=b), B1 (instance=c)"


# --- what Alertmanager has, and has no more ---------------------------------------------------


def lost(story: Story, *episodes: Episode) -> Change:
    """Learn that Alertmanager has these no more."""
    change = Change(story.incident)
    return story.apply(lifecycle.lose(change, episodes, story.policy, story.on_call, story.now))


def test_what_alertmanager_has_no_more_is_resolved_and_closes_its_incident() -> None:
    story = Story()
    story.receive(make_alert(), make_alert("NodeDown"))
    first, second = story.incident.firing
    story.wait(60)
    change = lost(story, first)
    assert (change.incident.state, [one.status for one in change.incident.alerts.values()]) == (
        State.TRIGGERED,
        ["resolved", "firing"],
    )
    assert [event.text for event in change.events] == ["DiskFull: Alertmanager has it no more"]
    change = lost(story, second)
    assert (change.incident.state, change.incident.resolution) == (State.RESOLVED, "resolved")
    assert change.incident.alerts[second.fingerprint].ended_here_at == at(60)


def test_what_was_mentioned_since_it_was_looked_at_is_not_lost() -> None:
    story = Story()
    story.receive(make_alert())
    (before,) = story.incident.firing
    story.wait(1)
    story.receive(make_alert())
    assert lost(story, before).events == ()
    assert story.incident.firing


def test_what_alertmanager_has_lives_on_and_is_no_news() -> None:
    story = Story()
    story.receive(make_alert(), make_alert("NodeDown"))
    story.receive(make_alert("NodeDown", firing=False))
    story.wait(20 * 3600)
    change = Change(story.incident)
    after = lifecycle.confirm(change, list(story.incident.alerts), story.times, story.now)
    seen, over = after.incident.alerts.values()
    assert (seen.seen, seen.expires_at) == (True, at(45 * 3600))
    assert not over.seen
    assert (after.incident.revision, after.events, after.pages) == (1, (), ())


def test_a_confirmation_shortens_no_life() -> None:
    story = Story()
    story.receive(make_alert())
    (before,) = story.incident.firing
    times = Times(alert_ttl=timedelta(hours=1))
    after = lifecycle.confirm(Change(story.incident), [before.fingerprint], times, story.now)
    assert after.incident.alerts[before.fingerprint].expires_at == before.expires_at


def test_an_alert_that_fires_anew_has_not_been_seen() -> None:
    story = Story()
    story.receive(make_alert(), make_alert("NodeDown"))
    names = list(story.incident.alerts)
    story.apply(lifecycle.confirm(Change(story.incident), names, story.times, story.now))
    story.receive(make_alert(firing=False))
    story.receive(make_alert(starts_at=at(3600)))
    assert [one.seen for one in story.incident.alerts.values()] == [False, True]


def test_an_incident_belongs_to_the_trace_of_the_webhook_that_brought_its_last_news() -> None:
    """A repeat brings none, and what is not traced takes none away."""
    story = Story()
    story.receive(make_alert(), traceparent="first")
    story.receive(make_alert(), traceparent="a repeat")
    assert story.incident.traceparent == "first"
    story.receive(make_alert("Another"), traceparent="second")
    story.receive(make_alert("A third"))
    assert story.incident.traceparent == "second"
