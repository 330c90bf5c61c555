"""Who is on call by an iCalendar whose series have exceptions: left out, changed, cancelled, replaced."""

from __future__ import annotations

import pytest
from icalendars import MASTER, NIGHT, agenda, days, doubts, event, shift, shifts


@pytest.mark.parametrize(
    "exdate",
    ["EXDATE;VALUE=DATE:20260106", "EXDATE;TZID=Europe/Berlin:20260106T000000", "EXDATE:20260106T000000Z"],
)
def test_a_day_of_a_series_of_days_is_left_out(exdate: str) -> None:
    mine = agenda(event("SUMMARY:alice", "DTSTART;VALUE=DATE:20260105", "RRULE:FREQ=DAILY;COUNT=3", exdate))
    assert days(mine) == ["05", "07"]


def test_an_occurrence_that_was_changed_and_then_left_out_is_left_out() -> None:
    changed = shift("bob", "20260106T100000", "20260106T110000", "RECURRENCE-ID:20260106T210000Z")
    left_out = MASTER.replace("COUNT=3", "COUNT=3\r\nEXDATE;TZID=Europe/Berlin:20260106T220000")
    assert days(agenda(left_out, changed)) == ["05", "07"]


@pytest.mark.parametrize(
    "exdate",
    [
        "EXDATE;TZID=Europe/Berlin:20260106T220000",
        "EXDATE:20260106T210000Z",
        "EXDATE;TZID=America/New_York:20260106T160000",
        "EXDATE;VALUE=DATE:20260106",
        "EXDATE;TZID=Europe/Berlin:20250101T220000,20260106T220000",
    ],
)
def test_an_excluded_date_is_left_out_and_still_counts(exdate: str) -> None:
    mine = agenda(shift("alice", NIGHT[0], "20260105T230000", "RRULE:FREQ=DAILY;COUNT=3", exdate))
    assert [one[9:11] for one in shifts(mine, "2026-01-01", "2026-02-01")] == ["05", "07"]


def test_several_lines_of_excluded_dates_all_count() -> None:
    more = [f"EXDATE;TZID=Europe/Berlin:202601{day}T220000" for day in ("06", "08")]
    mine = agenda(shift("alice", NIGHT[0], "20260105T230000", "RRULE:FREQ=DAILY;COUNT=5", *more))
    assert [one[9:11] for one in shifts(mine, "2026-01-01", "2026-02-01")] == ["05", "07", "09"]


def test_one_occurrence_may_be_somebody_elses_and_at_another_time() -> None:
    moved = shift(
        "bob", "20260120T100000", "20260120T120000", "RECURRENCE-ID;TZID=Europe/Berlin:20260106T220000"
    )
    for events in ([MASTER, moved], [moved, MASTER]):
        assert shifts(agenda(*events), "2026-01-01", "2026-02-01") == [
            "alice 01-05 22:00 - 01-05 23:00",
            "alice 01-07 22:00 - 01-07 23:00",
            "bob 01-20 10:00 - 01-20 12:00",
        ]


def test_an_occurrence_that_was_moved_by_months_is_found_where_it_went() -> None:
    moved = shift("bob", "20260620T100000", "20260620T120000", "RECURRENCE-ID:20260106T210000Z")
    mine = agenda(MASTER, moved)
    assert shifts(mine, "2026-06-01", "2026-07-01") == ["bob 06-20 10:00 - 06-20 12:00"]
    assert len(shifts(mine, "2026-01-01", "2026-02-01")) == 2


def test_a_cancelled_occurrence_is_left_out() -> None:
    gone = shift(
        "alice", "20260106T220000", "20260106T230000", "RECURRENCE-ID:20260106T210000Z", "STATUS:CANCELLED"
    )
    assert [one[9:11] for one in shifts(agenda(MASTER, gone), "2026-01-01", "2026-02-01")] == ["05", "07"]


def test_of_two_changes_of_one_occurrence_the_higher_sequence_counts() -> None:
    changes = [
        shift(
            who, "20260106T220000", "20260106T230000", "RECURRENCE-ID:20260106T210000Z", f"SEQUENCE:{number}"
        )
        for who, number in (("carol", 3), ("bob", 2))
    ]
    assert shifts(agenda(MASTER, *changes), "2026-01-06", "2026-01-07") == ["carol 01-06 22:00 - 01-06 23:00"]


def test_a_change_of_this_and_all_later_ones() -> None:
    later = shift(
        "bob", "20260106T200000", "20260106T210000", "RECURRENCE-ID;RANGE=THISANDFUTURE:20260106T210000Z"
    )
    assert shifts(agenda(MASTER, later), "2026-01-01", "2026-02-01") == [
        "alice 01-05 22:00 - 01-05 23:00",
        "bob 01-06 20:00 - 01-06 21:00",
        "bob 01-07 20:00 - 01-07 21:00",
    ]


def future(who: str, day: str, hours: str, *more: str) -> str:
    """From this day of January on it is somebody else's, at other hours."""
    start, end = hours.split("-")
    named = f"RECURRENCE-ID;RANGE=THISANDFUTURE:202601{day}T210000Z"
    return shift(who, f"202601{day}T{start}", f"202601{day}T{end}", named, *more)


@pytest.mark.parametrize("step", [1, -1])
def test_several_changes_of_all_later_ones_each_count_until_the_next_and_one_of_a_day_stands_out(
    step: int,
) -> None:
    changes = [
        future("bob", "06", "200000-210000"),
        shift("alice", "20260107T100000", "20260107T110000", "RECURRENCE-ID:20260107T210000Z"),
        future("carol", "08", "180000-183000"),
    ]
    mine = agenda(MASTER.replace("COUNT=3", "COUNT=5"), *changes[::step])
    assert shifts(mine, "2026-01-01", "2026-02-01") == [
        "alice 01-05 22:00 - 01-05 23:00",
        "bob 01-06 20:00 - 01-06 21:00",
        "alice 01-07 10:00 - 01-07 11:00",
        "carol 01-08 18:00 - 01-08 18:30",
        "carol 01-09 18:00 - 01-09 18:30",
    ]


def test_all_later_ones_may_be_cancelled() -> None:
    assert days(agenda(MASTER, future("alice", "06", "220000-230000", "STATUS:CANCELLED"))) == ["05"]


def test_all_later_days_of_a_series_of_days_may_be_somebody_elses() -> None:
    named = "RECURRENCE-ID;VALUE=DATE;RANGE=THISANDFUTURE:20260107"
    mine = agenda(
        event("SUMMARY:alice", "DTSTART;VALUE=DATE:20260105", "RRULE:FREQ=DAILY;COUNT=4"),
        event("SUMMARY:bob", "DTSTART;VALUE=DATE:20260107", named),
    )
    assert shifts(mine, "2026-01-01", "2026-02-01") == [
        "alice 01-05 00:00 - 01-07 00:00",
        "bob 01-07 00:00 - 01-09 00:00",
    ]


@pytest.mark.parametrize(
    ("begins", "named"),
    [
        (";TZID=Europe/Berlin:20260105T220000", ";TZID=America/New_York:20260106T160000"),
        (";TZID=Europe/Berlin:20260105T220000", ":20260106T220000"),
        (";TZID=Europe/Berlin:20260105T220000", ";VALUE=DATE:20260106"),
        (":20260105T210000Z", ";VALUE=DATE:20260106"),
        (":20260105T220000", ";VALUE=DATE:20260106"),
        (";VALUE=DATE:20260105", ";TZID=Europe/Berlin:20260106T000000"),
        (";VALUE=DATE:20260105", ":20260106T000000Z"),
    ],
)
def test_a_change_may_name_its_occurrence_in_another_way_than_the_series_does(
    begins: str, named: str
) -> None:
    """Else both would be on call: as it was, and as it was changed."""
    changed = shift("bob", "20260120T200000", "20260120T210000", f"RECURRENCE-ID{named}")
    mine = agenda(
        event("SUMMARY:alice", f"DTSTART{begins}", "DURATION:P1D", "RRULE:FREQ=DAILY;COUNT=5"), changed
    )
    found = shifts(mine, "2026-01-01", "2026-02-01")
    assert [one.split()[0] for one in found] == ["alice", "alice", "bob"]
    assert not any(one.startswith("alice 01-06") for one in found)
    assert doubts(mine) == ()


def test_a_day_may_name_from_when_on_a_series_of_times_is_somebody_elses() -> None:
    later = future("bob", "06", "200000-210000").replace(
        "FUTURE:20260106T210000Z", "FUTURE;VALUE=DATE:20260106"
    )
    assert shifts(agenda(MASTER, later), "2026-01-01", "2026-02-01") == [
        "alice 01-05 22:00 - 01-05 23:00",
        "bob 01-06 20:00 - 01-06 21:00",
        "bob 01-07 20:00 - 01-07 21:00",
    ]


def test_an_added_occurrence_may_be_changed_too() -> None:
    changed = shift("bob", "20260107T100000", "20260107T110000", "RECURRENCE-ID:20260106T210000Z")
    mine = agenda(shift("alice", NIGHT[0], "20260105T230000", "RDATE:20260106T210000Z"), changed)
    assert shifts(mine, "2026-01-01", "2026-02-01") == [
        "alice 01-05 22:00 - 01-05 23:00",
        "bob 01-07 10:00 - 01-07 11:00",
    ]


@pytest.mark.parametrize("step", [1, -1])
def test_of_two_versions_of_a_series_the_higher_sequence_counts(step: int) -> None:
    versions = [
        shift("bob", "20260105T100000", "20260105T110000", "RRULE:FREQ=DAILY;COUNT=2", "SEQUENCE:10"),
        shift("alice", NIGHT[0], "20260105T230000", "RRULE:FREQ=DAILY;COUNT=3", "SEQUENCE:9"),
    ]
    assert shifts(agenda(*versions[::step]), "2026-01-01", "2026-02-01") == [
        "bob 01-05 10:00 - 01-05 11:00",
        "bob 01-06 10:00 - 01-06 11:00",
    ]


def test_a_series_that_is_there_twice_counts_once() -> None:
    assert days(agenda(MASTER, MASTER)) == ["05", "06", "07"]


def test_a_changed_occurrence_alone_is_an_event() -> None:
    lone = shift("bob", "20260106T220000", "20260106T230000", "RECURRENCE-ID:20260106T210000Z")
    assert shifts(agenda(lone), "2026-01-01", "2026-02-01") == ["bob 01-06 22:00 - 01-06 23:00"]
