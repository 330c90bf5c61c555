"""Who is on call by an iCalendar: recurrence, time zones, names, and what is odd.

The cases are those of recurring-ical-events' own suite, by what each is about, written anew for shifts.
"""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from icalendars import BERLIN, MASTER, NAMES, NIGHT, agenda, at, days, doubts, event, ical, shift, shifts

from bridge.calendars import MAX_EVENTS, CalendarError, read
from bridge.schedules import Schedule

EVERY_OTHER = "RRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=2"


# -- single events --


def test_an_event_names_its_person_from_its_start_to_before_its_end() -> None:
    mine = agenda(shift("alice", *NIGHT))
    start, end = at("2026-01-05T22:00"), at("2026-01-06T06:00")
    assert mine.who(start - timedelta(seconds=1)) == ()
    assert mine.who(start) == mine.who(end - timedelta(seconds=1)) == ("alice",)
    assert mine.who(end) == ()
    assert mine.next_change(start, start + timedelta(days=9)) == end
    assert mine.next_change(start, start + timedelta(hours=1)) == start + timedelta(hours=1)


def test_of_events_that_overlap_all_are_on_call_the_first_that_began_first() -> None:
    mine = agenda(
        shift("bob", "20260105T230000", "20260106T080000", uid="b"),
        shift("alice", *NIGHT, uid="a"),
        shift("alice", "20260105T233000", "20260106T000000", uid="c"),
    )
    assert shifts(mine, "2026-01-05", "2026-01-07") == [
        "alice 01-05 22:00 - 01-05 23:00",
        "alice+bob 01-05 23:00 - 01-06 06:00",
        "bob 01-06 06:00 - 01-06 08:00",
    ]


def test_an_event_may_be_longer_than_what_is_asked_for() -> None:
    mine = agenda(shift("alice", "20250101T000000", "20271231T000000"))
    assert shifts(mine, "2026-01-05", "2026-06-07") == ["alice 01-05 00:00 - 06-07 00:00"]


def test_a_duration_stands_for_an_end() -> None:
    mine = agenda(event("SUMMARY:alice", "DTSTART:20260105T210000Z", "DURATION:PT8H30M"))
    assert shifts(mine, "2026-01-05", "2026-01-07") == ["alice 01-05 22:00 - 01-06 06:30"]


def test_an_end_before_its_start_is_taken_for_the_start() -> None:
    mine = agenda(shift("alice", NIGHT[1], NIGHT[0]))
    assert shifts(mine, "2026-01-05", "2026-01-07") == ["alice 01-05 22:00 - 01-06 06:00"]


@pytest.mark.parametrize("end", ["DTEND:20260105T210000Z", "DURATION:PT0S", "STATUS:CONFIRMED"])
def test_an_event_without_length_puts_nobody_on_call(end: str) -> None:
    mine = agenda(event("SUMMARY:alice", "DTSTART:20260105T210000Z", end))
    assert shifts(mine, "2026-01-05", "2026-01-07") == []


def test_a_cancelled_event_puts_nobody_on_call_a_tentative_one_does() -> None:
    for status, count in (("CANCELLED", 0), ("TENTATIVE", 1)):
        mine = agenda(shift("alice", *NIGHT, f"STATUS:{status}"))
        assert len(shifts(mine, "2026-01-05", "2026-01-07")) == count
        assert doubts(mine) == ()


def test_an_event_without_uid_is_not_one_whose_uid_is_a_number() -> None:
    mine = agenda(shift("alice", *NIGHT, uid="1"), shift("bob", "20260106T060000", "20260106T220000", uid=""))
    assert len(shifts(mine, "2026-01-05", "2026-01-07")) == 2


def test_events_without_uid_are_events_of_their_own() -> None:
    mine = agenda(shift("alice", *NIGHT, uid=""), shift("bob", "20260106T060000", "20260106T220000", uid=""))
    assert len(shifts(mine, "2026-01-05", "2026-01-07")) == 2


# -- all day --


def test_an_all_day_event_lasts_from_local_midnight_to_local_midnight() -> None:
    mine = agenda(event("SUMMARY:alice", "DTSTART;VALUE=DATE:20260105", "DTEND;VALUE=DATE:20260107"))
    assert shifts(mine, "2026-01-01", "2026-01-31") == ["alice 01-05 00:00 - 01-07 00:00"]
    auckland = ZoneInfo("Pacific/Auckland")
    there = agenda(event("SUMMARY:alice", "DTSTART;VALUE=DATE:20260105"), zone=auckland)
    assert shifts(there, "2026-01-01", "2026-01-31", auckland) == ["alice 01-05 00:00 - 01-06 00:00"]


def test_a_day_is_as_long_as_its_clocks_make_it() -> None:
    mine = agenda(
        event("SUMMARY:alice", "DTSTART;VALUE=DATE:20260329", uid="spring"),
        event("SUMMARY:alice", "DTSTART;VALUE=DATE:20261025", uid="autumn"),
    )
    found = Schedule("primary", BERLIN, calendar=mine).shifts(at("2026-01-01"), at("2027-01-01"))
    assert [one.end - one.start for one in found if one.people] == [timedelta(hours=23), timedelta(hours=25)]


def test_all_day_events_recur() -> None:
    mine = agenda(
        event("SUMMARY:alice", "DTSTART;VALUE=DATE:20260105", "RRULE:FREQ=WEEKLY;INTERVAL=2;UNTIL=20260119"),
        event("SUMMARY:bob", "DTSTART;VALUE=DATE:20260106", "RRULE:FREQ=DAILY;COUNT=2", uid="two"),
    )
    assert shifts(mine, "2026-01-01", "2026-02-28") == [
        "alice 01-05 00:00 - 01-06 00:00",
        "bob 01-06 00:00 - 01-08 00:00",
        "alice 01-19 00:00 - 01-20 00:00",
    ]


# -- recurrence --


@pytest.mark.parametrize(
    ("rule", "days"),
    [
        ("FREQ=DAILY;COUNT=3", "05 06 07"),
        ("FREQ=DAILY;INTERVAL=10", "05 15 25"),
        ("FREQ=WEEKLY", "05 12 19 26"),
        ("FREQ=WEEKLY;BYDAY=MO,TH", "05 08 12 15 19 22 26 29"),
        ("FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=SU,MO", "05 18 19"),
        ("FREQ=MONTHLY;BYDAY=-1FR", "05 30"),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", "05 30"),
        ("FREQ=MONTHLY;BYMONTHDAY=31", "05 31"),
        ("FREQ=YEARLY;BYWEEKNO=3;BYDAY=MO", "05 12"),
        ("FREQ=DAILY;UNTIL=20260107T210000Z", "05 06 07"),  # the last start itself
        ("FREQ=DAILY;UNTIL=20260107T205959Z", "05 06"),
        ("FREQ=DAILY;UNTIL=20260107T220000", "05 06 07"),  # not in UTC, as it should be
        ("FREQ=DAILY;UNTIL=20260108", "05 06 07"),
        ("FREQ=DAILY;UNTIL=20260101", ""),  # before it starts
    ],
)  # fmt: skip
def test_events_recur_by_their_rule(rule: str, days: str) -> None:
    # The start counts as the first, whether or not the rule would give it.
    mine = agenda(shift("alice", NIGHT[0], "20260105T230000", f"RRULE:{rule}"))
    assert [one[9:11] for one in shifts(mine, "2026-01-01", "2026-02-01")] == days.split()


def test_a_rule_that_began_long_ago_still_gives_its_events() -> None:
    mine = agenda(shift("alice", "19990104T220000", "19990105T060000", "RRULE:FREQ=WEEKLY;BYDAY=MO"))
    assert shifts(mine, "2026-01-05", "2026-01-09") == ["alice 01-05 22:00 - 01-06 06:00"]


def test_a_leap_day_recurs_in_leap_years() -> None:
    mine = agenda(event("SUMMARY:alice", "DTSTART;VALUE=DATE:20240229", "RRULE:FREQ=YEARLY"))
    found = Schedule("primary", BERLIN, calendar=mine).shifts(at("2024-03-02"), at("2032-03-01"))
    assert [one.start.astimezone(BERLIN).date().isoformat() for one in found if one.people] == [
        "2028-02-29",
        "2032-02-29",
    ]


def test_dates_are_added_and_one_may_have_another_length() -> None:
    mine = agenda(
        shift(
            "alice",
            *NIGHT,
            "RDATE;TZID=Europe/Berlin:20260110T100000,20260112T100000",
            "RDATE;VALUE=PERIOD;TZID=Europe/Berlin:20260115T100000/PT1H,20260116T100000/20260116T120000",
        )
    )
    assert shifts(mine, "2026-01-01", "2026-02-01") == [
        "alice 01-05 22:00 - 01-06 06:00",
        "alice 01-10 10:00 - 01-10 18:00",
        "alice 01-12 10:00 - 01-12 18:00",
        "alice 01-15 10:00 - 01-15 11:00",
        "alice 01-16 10:00 - 01-16 12:00",
    ]


def test_of_several_rules_each_counts() -> None:
    rules = ("RRULE:FREQ=WEEKLY;BYDAY=MO;COUNT=2", "RRULE:FREQ=MONTHLY;BYMONTHDAY=20;COUNT=1")
    mine = agenda(shift("alice", NIGHT[0], "20260105T230000", *rules))
    assert days(mine) == ["05", "12", "20"]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["RRULE:FREQ=DAILY;COUNT=3", "RDATE;TZID=Europe/Berlin:20260106T220000"], "05 06 07"),
        (["RRULE:FREQ=DAILY;UNTIL=20260106T210000Z", "RDATE;TZID=Europe/Berlin:20260106T220000"], "05 06"),
        (["RRULE:FREQ=DAILY;UNTIL=20260106T210000Z", "RDATE:20260109T210000Z"], "05 06 09"),
        (["RDATE:20260107T210000Z,20260108T210000Z", "EXDATE;TZID=Europe/Berlin:20260107T220000"], "05 08"),
    ],
    ids=["one that is there already", "the rule's end", "after the rule's end", "and left out again"],
)
def test_an_added_date_is_added_once(lines: list[str], expected: str) -> None:
    assert days(agenda(shift("alice", NIGHT[0], "20260105T230000", *lines))) == expected.split()


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (";VALUE=DATE:20260105", ";TZID=Europe/Berlin:20260106T120000", "01-05 00:00 - 01-06 12:00"),
        (";TZID=Europe/Berlin:20260105T120000", ";VALUE=DATE:20260106", "01-05 12:00 - 01-06 00:00"),
    ],
)
def test_an_event_may_begin_with_a_day_and_end_at_a_time_and_the_reverse(
    start: str, end: str, expected: str
) -> None:
    mine = agenda(event("SUMMARY:alice", f"DTSTART{start}", f"DTEND{end}", "RRULE:FREQ=WEEKLY;COUNT=2"))
    first, second = shifts(mine, "2026-01-01", "2026-02-01")
    assert (first, second[:11]) == (f"alice {expected}", "alice 01-12")


def test_a_week_of_days_recurs_every_other_week() -> None:
    mine = agenda(
        event("SUMMARY:alice", "DTSTART;VALUE=DATE:20260105", "DTEND;VALUE=DATE:20260112", EVERY_OTHER),
        event(
            "SUMMARY:bob", "DTSTART;VALUE=DATE:20260112", "DTEND;VALUE=DATE:20260119", EVERY_OTHER, uid="b"
        ),
    )
    assert shifts(mine, "2026-01-01", "2026-02-28") == [
        "alice 01-05 00:00 - 01-12 00:00",
        "bob 01-12 00:00 - 01-19 00:00",
        "alice 01-19 00:00 - 01-26 00:00",
        "bob 01-26 00:00 - 02-02 00:00",
    ]


# -- time zones --


def test_a_nightly_shift_keeps_its_hours_when_the_clocks_are_changed() -> None:
    mine = agenda(shift("alice", "20261023T220000", "20261024T060000", "RRULE:FREQ=DAILY;COUNT=3"))
    found = [
        one
        for one in Schedule("primary", BERLIN, calendar=mine).shifts(at("2026-10-01"), at("2026-11-01"))
        if one.people
    ]
    assert [(one.end - one.start).total_seconds() / 3600 for one in found] == [8, 9, 8]
    assert {f"{one.start.astimezone(BERLIN):%H:%M}" for one in found} == {"22:00"}
    assert {f"{one.end.astimezone(BERLIN):%H:%M}" for one in found} == {"06:00"}


def test_times_without_a_zone_are_the_schedules_own() -> None:
    mine = agenda(shift("alice", *NIGHT, zone=""))
    assert shifts(mine, "2026-01-01", "2026-02-01") == ["alice 01-05 22:00 - 01-06 06:00"]
    assert doubts(mine) == ()
    far = ZoneInfo("Pacific/Kiritimati")
    there = agenda(shift("alice", *NIGHT, zone=""), zone=far)
    assert shifts(there, "2026-01-01", "2026-02-01", far) == ["alice 01-05 22:00 - 01-06 06:00"]


@pytest.mark.parametrize(("start", "hours"), [("20260328T220000", 3.5), ("20261024T220000", 5.5)])
def test_a_shift_without_a_zone_to_half_past_two_in_the_night_of_the_change(start: str, hours: float) -> None:
    end = f"{int(start[:8]) + 1}T023000"
    if start.startswith("20260328"):
        hours = 4.0  # to the moment of the change
    mine = agenda(shift("alice", start, end, zone=""))
    (one,) = [
        one
        for one in Schedule("primary", BERLIN, calendar=mine).shifts(at("2026-01-01"), at("2027-01-01"))
        if one.people
    ]
    assert (one.end - one.start).total_seconds() / 3600 == hours


def test_a_calendar_may_say_its_zone_once_for_all() -> None:
    mine = agenda(shift("alice", *NIGHT, zone=""), head=["X-WR-TIMEZONE:America/New_York"])
    assert shifts(mine, "2026-01-01", "2026-02-01") == ["alice 01-06 04:00 - 01-06 12:00"]


def test_zones_are_known_by_outlooks_names_too() -> None:
    mine = agenda(shift("alice", *NIGHT, zone="Eastern Standard Time"))
    assert shifts(mine, "2026-01-01", "2026-02-01") == ["alice 01-06 04:00 - 01-06 12:00"]


def test_zones_are_known_by_evolutions_names_too() -> None:
    mine = agenda(shift("alice", *NIGHT, zone="/freeassociation.sourceforge.net/America/New_York"))
    assert shifts(mine, "2026-01-01", "2026-02-01") == ["alice 01-06 04:00 - 01-06 12:00"]


def own_zone(offset: str) -> list[str]:
    standard = ["DTSTART:19700101T000000", f"TZOFFSETFROM:{offset}", f"TZOFFSETTO:{offset}"]
    return ["BEGIN:VTIMEZONE", "TZID:Ours", "BEGIN:STANDARD", *standard, "END:STANDARD", "END:VTIMEZONE"]


def test_a_zone_that_a_calendar_brings_along_is_that_calendars_alone() -> None:
    first = agenda(shift("alice", *NIGHT, zone="Ours"), head=own_zone("+0300"))
    second = agenda(shift("alice", *NIGHT, zone="Ours"), head=own_zone("-0500"))
    assert shifts(first, "2026-01-01", "2026-02-01") == ["alice 01-05 20:00 - 01-06 04:00"]
    assert shifts(second, "2026-01-01", "2026-02-01") == ["alice 01-06 04:00 - 01-06 12:00"]


def test_a_zone_that_nobody_knows_is_reported_and_taken_as_local() -> None:
    mine = agenda(shift("alice", *NIGHT, zone="Mars/Olympus"))
    assert shifts(mine, "2026-01-01", "2026-02-01") == ["alice 01-05 22:00 - 01-06 06:00"]
    assert doubts(mine) == (
        'the event "alice" is not understood: its time zone "Mars/Olympus" is not known, so it is taken as local',
    )


# -- names --


@pytest.mark.parametrize(
    ("lines", "people"),
    [
        (["SUMMARY:alice"], ("alice",)),
        (["SUMMARY:  ALICE   smith "], ("alice",)),
        (["SUMMARY:Alice@Example.com"], ("alice",)),
        (["SUMMARY:bob\\, alice\\, bob"], ("bob", "alice")),
        (["SUMMARY:C. O'Call,alice"], ("carol", "alice")),
        (["SUMMARY:bob", "ATTENDEE:mailto:alice@example.com"], ("bob",)),
        (["SUMMARY:Night shift", "ATTENDEE:MAILTO:alice@example.com"], ("alice",)),
        (["SUMMARY:Night shift", 'ATTENDEE;CN="Alice Smith":mailto:a@b.example'], ("alice",)),
        (["ATTENDEE;CN=bob:mailto:b@b.example", "ATTENDEE;CN=carol:mailto:c@b.example"], ("bob", "carol")),
        (["ATTENDEE;PARTSTAT=DECLINED;CN=bob:mailto:b@b.example", "ATTENDEE;CN=carol:invalid:x"], ("carol",)),
    ],
)
def test_people_are_found_by_the_title_or_else_by_the_attendees(
    lines: list[str], people: tuple[str, ...]
) -> None:
    mine = agenda(event(*lines, "DTSTART:20260105T210000Z", "DTEND:20260106T050000Z"))
    assert mine.who(at("2026-01-06T00:00")) == people
    assert doubts(mine) == ()


@pytest.mark.parametrize(
    ("lines", "people", "unknown"),
    [
        (["SUMMARY:dave"], (), "dave"),
        (["SUMMARY:dave\\, bob\\, erin"], ("bob",), "dave, erin"),
        (["SUMMARY:alice-the-other"], (), "alice-the-other"),
        (["SUMMARY:dave", "ATTENDEE:mailto:alice@elsewhere.example"], (), "dave"),
        (["SUMMARY:dave", "ATTENDEE;PARTSTAT=DECLINED:mailto:alice@example.com"], (), "dave"),
        ([], (), "(no title)"),
        (["SUMMARY:\\, "], (), "(no title)"),
    ],
)
def test_who_is_nobody_known_is_reported(lines: list[str], people: tuple[str, ...], unknown: str) -> None:
    mine = agenda(event(*lines, "DTSTART:20260105T210000Z", "DTEND:20260106T050000Z"))
    assert mine.who(at("2026-01-06T00:00")) == people
    assert doubts(mine) == (f'"{unknown}" is nobody under people: (from Mon 2026-01-05 22:00 CET)',)
    assert mine.doubts(at("2026-01-07"), at("2026-02-28")) == (), "what is over troubles nobody"


# -- what is odd --


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["RRULE:FREQ=NEVER"], "RRULE: Expected frequency, got: NEVER"),
        (["RRULE:FREQ=DAILY;BYDAY=XX"], "RRULE: Expected weekday abbreviation, got: XX"),
        (["RRULE:FREQ=DAILY;UNTIL=soon"], "RRULE: "),
        (["RRULE:FREQ=DAILY", "EXDATE:2026"], "EXDATE: Expected datetime, date, or time."),
        (["RRULE:FREQ=SECONDLY"], "it repeats more than 24 times a day"),
        (["RRULE:FREQ=MINUTELY;COUNT=3"], "it repeats more than 24 times a day"),
        (
            ["RRULE:FREQ=DAILY;BYHOUR=1,2,3;BYMINUTE=0,5,10,15,20,25,30,35,40"],
            "it repeats more than 24 times",
        ),
        (
            ["RRULE:FREQ=DAILY;INTERVAL=0"],
            "it repeats more than 24 times a day, or its INTERVAL is not 1 or more",
        ),
        (["RRULE:FREQ=WEEKLY;INTERVAL=-1"], "it repeats more than 24 times a day, or its INTERVAL is not 1"),
        (["RDATE:garbage"], "RDATE: "),
        (["RRULE:FREQ=DAILY;COUNT=2", "RRULE:FREQ=NEVER"], "RRULE: Expected frequency, got: NEVER"),
    ],
)
def test_an_event_that_is_not_understood_costs_itself_alone_and_is_reported(
    lines: list[str], words: str
) -> None:
    good = shift("bob", *NIGHT, uid="good")
    mine = agenda(shift("alice", *NIGHT, *lines, uid="bad"), good)
    assert mine.who(at("2026-01-06T00:00")) == ("bob",)
    (doubt,) = doubts(mine)
    assert doubt.startswith(f'the event "alice" is not understood: {words}')


def test_a_rule_of_exceptions_is_of_no_effect_and_reported() -> None:
    """RFC 2445's, which RFC 5545 took away: nobody must rely on it without a word."""
    mine = agenda(MASTER.replace("COUNT=3", "COUNT=3\r\nEXRULE:FREQ=DAILY;INTERVAL=2"))
    assert days(mine) == ["05", "06", "07"]
    (doubt,) = doubts(mine)
    assert "its EXRULE is passed over" in doubt


def test_an_event_without_a_start_is_reported() -> None:
    mine = agenda(event("SUMMARY:alice"), shift("bob", *NIGHT, uid="good"))
    assert doubts(mine) == ("the event \"alice\" is not understood: KeyError 'DTSTART'",)


def test_what_is_found_to_be_odd_only_when_it_is_expanded_is_reported_too() -> None:
    mine = agenda(MASTER, event("SUMMARY:bob", "RECURRENCE-ID:20260106T210000Z"))
    assert mine.problems == ()
    assert shifts(mine, "2026-01-01", "2026-02-01") == []
    assert doubts(mine) == ("the event \"alice\" is not understood: KeyError 'DTSTART'",)


def test_two_hours_a_day_are_not_too_often() -> None:
    mine = agenda(shift("alice", NIGHT[0], "20260105T223000", "RRULE:FREQ=DAILY;BYHOUR=10,22;COUNT=3"))
    assert len(shifts(mine, "2026-01-01", "2026-02-01")) == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is not an iCalendar: it does not begin with BEGIN:VCALENDAR"),
        ("<html><body>Sign in</body></html>", "is not an iCalendar: it does not begin with BEGIN:VCALENDAR"),
        ("BEGIN:VEVENT\r\nEND:VEVENT\r\n", "is not an iCalendar: it does not begin with BEGIN:VCALENDAR"),
        (ical(shift("alice", *NIGHT))[:-40], "is not an iCalendar: it does not end with END:VCALENDAR"),
        (ical("hunter2\r\n"), "is not an iCalendar: a line of it is in another format, or missing"),
        (ical("END:VEVENT\r\n"), "is not an iCalendar: a line of it is in another format, or missing"),
        (
            ical(shift("alice", *NIGHT), head=["X-WR-TIMEZONE:Mars/Olympus"]),
            "none of its events is understood; ",
        ),
        (ical(shift("alice", *NIGHT), head=["CALSCALE:JULIAN"]), "none of its events is understood; "),
        (
            ical(event("DTSTART;VALUE=DATE,DATE:20260101")),
            "is not an iCalendar: a line of it is in another format, or missing",
        ),
        (ical() + ical(), "is not an iCalendar: a line of it is in another format, or missing"),
    ],
)
def test_what_is_no_calendar_is_refused_as_a_whole(text: str, words: str) -> None:
    with pytest.raises(CalendarError) as caught:
        read(text, BERLIN, NAMES)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_and_bare_newlines_are_no_hindrance() -> None:
    mine = read("\ufeff" + ical(shift("alice", *NIGHT)).replace("\r\n", "\n"), BERLIN, NAMES)
    assert mine.who(at("2026-01-06T00:00")) == ("alice",)


def test_a_calendar_of_too_many_events_is_refused() -> None:
    todo = "BEGIN:VEVENT\r\nEND:VEVENT\r\n"
    with pytest.raises(
        CalendarError, match="holds more than 5000 events; give a calendar of the shifts alone"
    ):
        read(ical(*[todo] * (MAX_EVENTS + 1)), BERLIN, NAMES)


def test_an_empty_calendar_is_one_long_gap() -> None:
    mine = agenda()
    now = at("2026-01-05")
    assert mine.who(now) == ()
    assert now < mine.next_change(now, now + timedelta(days=90)) <= now + timedelta(days=28)
    assert doubts(mine) == ()


def test_what_is_remembered_has_an_end() -> None:
    mine = agenda(shift("alice", *NIGHT, "RRULE:FREQ=WEEKLY"))
    for year in range(2026, 2036):
        shifts(mine, f"{year}-01-01", f"{year + 1}-01-01")
    assert len(mine._windows) <= 64
