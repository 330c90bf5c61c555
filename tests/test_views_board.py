"""The first page says what is so: what rings, how long, how the bridge is."""

from datetime import timedelta
from typing import Any

import pytest
from builders import NOW, at, phone, receiver, step

from bridge.incidents import Episode, Incident, Slot, State
from bridge.oncall import DeviceGroup, OnCall
from bridge.views import board
from bridge.views.board import Counts, Listed
from bridge.views.times import exact, maybe, rough, when
from bridge.watchdogs import Watch

ON_CALL = OnCall({"platform": DeviceGroup("platform", ("alice",))}, (phone(),))


def row(**fields: Any) -> board.Row:
    labels = {"alertname": "DiskFull", "severity": "critical"}
    episode = Episode("f", labels, {"summary": "Disk full on db-1"}, "", NOW, at(9000))
    known = {"due_at": NOW, "alerts": {"f": episode}} | fields
    incident = Incident("i", Slot("default", "platform"), at(-90), **known)
    return board.row(Listed(incident, firing=7, alerts=9), receiver(step("platform")), ON_CALL, NOW)


def test_a_row_speaks_by_its_worst_alert_and_counts_all_that_fire() -> None:
    found = row()
    assert (found.title, found.summary, found.severity) == ("DiskFull", "Disk full on db-1", "critical")
    assert (found.alerts, found.opened.far, found.closed) == ("7 alerts", "1 min ago", None)
    assert found.lasted == "1 min 30 s"


def test_a_row_of_an_incident_that_is_over_says_how_long_it_lasted_and_counts_all() -> None:
    found = row(state=State.RESOLVED, resolved_at=at(-30))
    assert (found.alerts, found.lasted) == ("9 alerts", "1 min")
    assert found.closed is not None


@pytest.mark.parametrize(
    ("counts", "text", "more", "tone"),
    [
        (Counts(), "Nothing is ringing", "No incident is open.", "good"),
        (Counts(acknowledged=2), "Nothing is ringing", "2 incidents acknowledged.", "info"),
        (Counts(triggered=1), "1 incident ringing", "Nobody has it yet.", "bad"),
        (Counts(2, 1), "2 incidents ringing", "1 incident acknowledged", "bad"),
        (Counts(1, 0, 1), "1 incident unanswered", "Nobody is rung for it any more.", "bad"),
        (Counts(3, 1, 1), "1 incident unanswered", "2 incidents ringing, 1 incident acknowledged", "bad"),
    ],
)
def test_the_headline_says_the_worst_first(counts: Counts, text: str, more: str, tone: str) -> None:
    found = board.headline(counts)
    assert (found.text, found.more, found.tone) == (text, more, tone)
    assert counts.open == counts.triggered + counts.acknowledged


def test_news_names_the_newest_that_rings() -> None:
    assert board.news([row()], Counts(1)) == (
        "1 incident ringing. Newest: critical DiskFull, receiver platform."
    )
    held = row(state=State.ACKNOWLEDGED, due_at=None)
    assert board.news([held], Counts(0, 1)) == "Nothing is ringing"


def test_the_sign_of_apple_says_why_no_push_passes() -> None:
    assert board.apple(usable=True, misconfigured=None, error=None).tone == "good"
    assert board.apple(usable=True, misconfigured="403 InvalidProviderToken", error=None).detail == (
        "403 InvalidProviderToken"
    )
    assert board.apple(usable=False, misconfigured=None, error="refused").detail == "refused"
    assert board.apple(usable=False, misconfigured=None, error=None).detail == "there is no connection"


def test_the_sign_of_the_ledger_says_what_does_not_work() -> None:
    assert board.ledger([], 0).tone == "good"
    assert board.ledger([], 2).text == "2 pages overdue"
    assert board.ledger(["the store does not commit"], 2).detail == "the store does not commit"


def test_the_sign_of_the_phones_counts_those_that_would_ring() -> None:
    assert board.phones(0, 0, 0).text == "there are none"
    assert (board.phones(3, 0, 0).tone, board.phones(3, 0, 0).text) == ("good", "3 of 3 would ring")
    assert board.phones(2, 1, 1).detail == "1 doubtful, 1 cannot ring"
    assert (board.phones(2, 0, 0, 1).tone, board.phones(2, 0, 0, 1).detail) == ("warn", "1 without a key")
    assert (board.phones(2, 1, 0).tone, board.phones(0, 0, 1).tone) == ("warn", "bad")


def test_the_sign_of_the_heartbeats_names_the_missing() -> None:
    seen, missing = Watch("eu", NOW, NOW, seen_at=at(-30)), Watch("us", NOW, NOW, missing_since=NOW)
    assert board.heartbeats({}, NOW).tone == "quiet"
    assert board.heartbeats({"eu": seen, "us": missing}, NOW).detail == "us"
    assert board.heartbeats({"eu": seen, "us": None}, NOW).text == "not all have come yet"
    assert board.heartbeats({"eu": seen}, NOW).detail == "the last 30 s ago"


def test_the_sign_of_the_calendars_is_there_where_calendars_are() -> None:
    assert board.calendars({}) == ()
    assert board.calendars({"primary": None})[0].tone == "good"
    (stale,) = board.calendars({"primary": None, "second": "it answered 500"})
    assert (stale.text, stale.detail) == ("1 of 2 stale", "second: it answered 500")


def test_a_time_of_another_day_comes_with_its_date() -> None:
    assert when(NOW, at(5)).text == "02:00:00 UTC"
    assert when(NOW, at(90_000)).text == "2026-11-25 02:00 UTC"
    assert when(at(60), NOW).far == "in 1 min"
    assert maybe(None, NOW) is None
    assert maybe(NOW, NOW) == when(NOW, NOW)


@pytest.mark.parametrize(
    ("seconds", "about", "exactly"),
    [
        (-3, "0 s", "0 ms"),
        (0.14, "0 s", "140 ms"),
        (11.24, "11 s", "11.2 s"),
        (200, "3 min", "3 min 20 s"),
        (240, "4 min", "4 min"),
        (7500, "2 h", "2 h 5 min"),
        (7200, "2 h", "2 h"),
        (90_000, "25 h", "25 h"),
        (200_000, "2 days", "55 h 33 min"),
    ],
)
def test_a_span_is_told_roughly_or_exactly(seconds: float, about: str, exactly: str) -> None:
    span = timedelta(seconds=seconds)
    assert (rough(span), exact(span)) == (about, exactly)


def test_the_sign_of_the_alertmanagers_says_which_is_silent_and_since_when() -> None:
    assert board.alertmanagers({}, NOW) == ()
    assert board.alertmanagers({"eu": None}, NOW)[0].text == "answers"
    (sign,) = board.alertmanagers({"eu": None, "us": at(-120)}, NOW)
    assert (sign.tone, sign.text, sign.detail) == ("bad", "1 of 2 silent", "us since 2 min")
