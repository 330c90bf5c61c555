"""The dead man's switch, by itself: what is a heartbeat, and when it is missing."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from builders import NOW, at, make_alert, notification
from msgspec.structs import replace

from bridge import alerts, watchdogs
from bridge.alerts import Notification
from bridge.incidents import Slot
from bridge.matchers import parse_matchers
from bridge.watchdogs import Heartbeat, Watch

MINUTE = 60
EVERY, GRACE = 5 * MINUTE, MINUTE


def heartbeat(name: str = "prometheus", matchers: str = 'alertname="Watchdog"', **fields: Any) -> Heartbeat:
    """Comes every five minutes, and is missing a minute later."""
    times = {"every": timedelta(seconds=EVERY), "grace": timedelta(seconds=GRACE)}
    return Heartbeat(
        **({"name": name, "matchers": parse_matchers(matchers), "receiver": "ops"} | times | fields)
    )


def watch(**fields: Any) -> Watch:
    """Known, and seen, at NOW; looked at a moment before whatever the test does."""
    return Watch(**({"name": "prometheus", "known_at": NOW, "looked_at": NOW, "seen_at": NOW} | fields))


def looked(until: float, found: Watch | None = None, begin: float = 0, **fields: Any) -> Watch:
    """Let somebody look every half minute, up to and including the last instant."""
    one = heartbeat(**fields)
    seconds = begin
    while seconds < until:
        found = watchdogs.look(one, found, at(seconds))
        seconds += watchdogs.LOOK.total_seconds()
    return watchdogs.look(one, found, at(until))


# --- what is a heartbeat ----------------------------------------------------------------------


def taken(told: Notification, *heartbeats: Heartbeat) -> tuple[list[bool], tuple[str, ...]]:
    """Which alerts of a notification still fire, and which heartbeats came."""
    rest, names = watchdogs.take_out(heartbeats or (heartbeat(),), told, at(10))
    return [alert.firing for alert in rest.alerts], names


def test_a_firing_alert_that_matches_is_taken_out_and_the_others_are_left() -> None:
    told = notification(make_alert("Watchdog"), make_alert("DiskFull"), group_key="g")
    rest, names = watchdogs.take_out([heartbeat()], told, at(10))
    assert names == ("prometheus",)
    assert rest.alerts[1] is told.alerts[1]
    assert (rest.group_key, rest.source) == ("g", "default")
    assert [alert.firing for alert in rest.alerts] == [False, True]


def test_a_resolved_one_is_no_sign_of_life_and_is_left_as_it_is() -> None:
    told = notification(make_alert("Watchdog", firing=False))
    assert watchdogs.take_out([heartbeat()], told, at(10)) == (told, ())


def test_every_matcher_must_match() -> None:
    both = heartbeat(matchers='alertname="Watchdog", cluster="eu"')
    assert taken(notification(make_alert("Watchdog")), both) == ([True], ())
    labels = {"alertname": "Watchdog", "cluster": "eu"}
    assert taken(notification(make_alert(labels=labels)), both) == ([False], ("prometheus",))


def test_one_alert_may_be_several_heartbeats_each_is_named_once() -> None:
    told = notification(make_alert("Watchdog"), make_alert(labels={"alertname": "Watchdog", "n": "2"}))
    assert taken(told, heartbeat("one"), heartbeat("other"), heartbeat("third", "alertname=Nothing")) == (
        [False, False],
        ("one", "other"),
    )


@pytest.mark.parametrize(
    ("source", "names"), [(None, ("prometheus",)), ("eu", ()), ("default", ("prometheus",))]
)
def test_a_heartbeat_may_be_of_one_source_alone(source: str | None, names: tuple[str, ...]) -> None:
    assert taken(notification(make_alert("Watchdog")), heartbeat(source=source))[1] == names


def test_an_alert_that_was_open_before_it_was_a_heartbeat_ends_now_and_never_before_it_began() -> None:
    """As stale as that, its end would be ignored (rule 2)."""
    told = notification(make_alert("Watchdog"), make_alert("Watchdog", starts_at=at(99)))
    rest, _ = watchdogs.take_out([heartbeat()], told, at(10))
    assert [alert.ends_at for alert in rest.alerts] == [at(10), at(99)]


# --- when it is missing -----------------------------------------------------------------------


def test_it_is_missing_every_and_grace_after_it_last_came_and_not_a_moment_before() -> None:
    assert looked(359, watch()).missing_since is None
    assert looked(360, watch()).missing_since == at(360)
    assert watchdogs.due_at(heartbeat(), watch()) == at(360)


def test_one_that_never_came_is_missing_as_long_after_the_bridge_first_knew_of_it() -> None:
    assert looked(359).missing_since is None
    found = looked(360)
    assert (found.missing_since, found.known_at, found.seen_at) == (at(360), NOW, None)


def test_it_stays_missing_since_then_until_it_comes() -> None:
    found = looked(10_000, watch())
    assert found.missing_since == at(360)
    again = watchdogs.seen(found, "prometheus", at(10_001))
    assert (again.missing_since, again.seen_at, again.known_at) == (None, at(10_001), NOW)
    assert looked(10_001 + 360, again, 10_002).missing_since == at(10_361)


def test_one_that_comes_before_anybody_has_looked_is_known_from_then_on() -> None:
    assert watchdogs.seen(None, "new", at(5)) == Watch("new", at(5), at(5), at(5))


def test_other_times_count_from_the_next_look_on() -> None:
    found = looked(300, watch())
    sooner = heartbeat(every=timedelta(minutes=3))
    assert watchdogs.look(sooner, found, at(301)).missing_since == at(301)


# --- while nobody looked ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("down", "up", "due"),
    [
        (60, 110, 360),  # a short restart: nothing changes
        (60, 200, 400),  # 200 + 140 + 60: as long again as nobody looked, and the grace
        (60, 150, 360),  # 150 + 90 + 60 is before its time
        (350, 365, 365),  # its time came while the bridge was restarted; 30 s are no time to miss it in
        (330, 400, 530),
        (60, 7200, 7200 + 360),  # hours: a whole interval
    ],
)
def test_a_bridge_that_was_down_gives_it_a_fair_chance(down: float, up: float, due: float) -> None:
    """What came meanwhile was refused, and comes again when Alertmanager next tries."""
    found = looked(down, watch())
    assert found.looked_at == at(down)
    found = watchdogs.look(heartbeat(), found, at(up))
    if due > up:
        assert found.missing_since is None
        assert watchdogs.due_at(heartbeat(), found) == at(due)
        assert looked(due - 1, found, up).missing_since is None
    assert looked(due, found, up).missing_since == at(due)


def test_restarts_again_and_again_do_not_put_it_off_for_ever() -> None:
    """Down for ten seconds of every two minutes: that is no excuse."""
    found: Watch = watch()
    for begin in range(0, 600, 120):
        found = looked(begin + 110, found, begin)
    assert found.missing_since == at(360)


def test_a_second_outage_takes_back_nothing_of_what_the_first_one_gave() -> None:
    found = watchdogs.look(heartbeat(), watch(), at(7200))
    assert watchdogs.due_at(heartbeat(), watchdogs.look(heartbeat(), found, at(7270))) == at(7560)
    assert watchdogs.due_at(heartbeat(), watchdogs.look(heartbeat(), found, at(7500))) == at(7860)


def test_what_an_outage_gave_is_over_when_it_comes() -> None:
    found = watchdogs.look(heartbeat(), watch(), at(7200))
    assert watchdogs.seen(found, "prometheus", at(7201)).excused_until is None


def test_what_is_missing_stays_so_over_an_outage() -> None:
    found = looked(360, watch())
    assert watchdogs.look(heartbeat(), found, at(7200)).missing_since == at(360)


# --- rule 10 ----------------------------------------------------------------------------------


def test_a_wall_clock_that_was_set_back_over_a_restart_puts_it_off_by_no_more_than_its_time() -> None:
    """Rule 10: what lies ahead is taken for now. Ten hours ahead would be ten hours too late."""
    hours = timedelta(hours=10)
    ahead = watch(known_at=NOW + hours, looked_at=NOW + hours, seen_at=NOW + hours, excused_until=NOW + hours)
    found = watchdogs.look(heartbeat(), ahead, NOW)
    assert found == replace(watch(), excused_until=at(360))
    assert looked(360, found).missing_since == at(360)
    never = watchdogs.look(heartbeat(), replace(ahead, seen_at=None, excused_until=None), NOW)
    assert (never.since, watchdogs.due_at(heartbeat(), never)) == (NOW, at(360))


def test_a_wall_clock_that_was_set_ahead_over_a_restart_is_like_an_outage() -> None:
    """Rule 10: a day ahead, and it still has its time."""
    tomorrow = NOW + timedelta(days=1)
    found = watchdogs.look(heartbeat(), watch(), tomorrow)
    assert watchdogs.due_at(heartbeat(), found) == tomorrow + timedelta(seconds=360)


# --- what is said -----------------------------------------------------------------------------


def told(found: Watch, now: datetime = NOW) -> str:
    (alert,) = watchdogs.missing(found, now).alerts
    return alert.annotations["summary"]


def test_the_alert_says_since_when_it_stays_away() -> None:
    assert told(watch()) == (
        "No heartbeat prometheus since 2026-11-25 02:00:00 UTC: what sends it may be down, and its alerts with it"
    )
    assert told(watch(seen_at=None)) == (
        "The heartbeat prometheus has never come, and was waited for since 2026-11-25 02:00:00 UTC"
    )


def test_its_end_is_the_end_of_the_same_alert_whatever_the_configuration_says_by_then() -> None:
    (begun,), (ended,) = (
        watchdogs.missing(watch(seen_at=None), NOW).alerts,
        watchdogs.over("prometheus", at(60)).alerts,
    )
    assert begun.fingerprint == ended.fingerprint
    assert (begun.firing, ended.firing, ended.ends_at) == (True, False, at(60))
    assert begun.labels == {
        "alertname": "PushkitBridgeHeartbeatMissing",
        "severity": "critical",
        "heartbeat": "prometheus",
    }


def test_each_heartbeat_has_an_incident_of_its_own() -> None:
    group = (("alertname", "PushkitBridgeHeartbeatMissing"), ("heartbeat", "prometheus"))
    assert watchdogs.slot_of("prometheus", "ops") == Slot(alerts.INTERNAL_SOURCE, "ops", group)
    assert watchdogs.slot_of("other", "ops") != watchdogs.slot_of("prometheus", "ops")


# --- whose it is ------------------------------------------------------------------------------


def test_where_nothing_is_waited_for_a_notification_is_left_as_it_is() -> None:
    told = notification(make_alert("Watchdog"))
    rest, names = watchdogs.take_out([], told, at(10))
    assert rest is told
    assert names == ()


def test_a_heartbeat_that_nobody_has_looked_at_for_ten_minutes_is_abandoned() -> None:
    """Until then another bridge may have it in its configuration."""
    assert not watchdogs.abandoned(watch(), at(10 * MINUTE))
    assert watchdogs.abandoned(watch(), at(10 * MINUTE + 1))
