"""Who carries the phone: rotations, layers, overrides, gaps, across changes of summer time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from bridge.schedules import Duty, Layer, Override, Schedule, Shift, gaps, instant, with_overrides
from bridge.timeintervals import parse_time_interval

BERLIN = ZoneInfo("Europe/Berlin")
DAY, WEEK = timedelta(days=1), timedelta(weeks=1)


def wall(text: str) -> datetime:
    """What a clock on a wall shows, anywhere."""
    return datetime.fromisoformat(text)


MONDAY = wall("2026-01-05T09:00")
WEEKLY = Layer(("alice", "bob", "carol"), MONDAY, WEEK)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def berlin(text: str, *, end: bool = False) -> datetime:
    return instant(datetime.fromisoformat(text), BERLIN, end=end)


def schedule(*layers: Layer, overrides: Sequence[Override] = ()) -> Schedule:
    return Schedule("primary", BERLIN, layers, tuple(overrides))


def override(person: str, start: str, end: str, by: str = "") -> Override:
    return Override(person, berlin(start), berlin(end, end=True), by)


class Agenda:
    """A calendar that names dave in an hour, and nobody else ever."""

    start, end = utc("2026-01-07T00:00"), utc("2026-01-07T01:00")

    def who(self, now: datetime) -> tuple[str, ...]:
        return ("dave",) if self.start <= now < self.end else ()

    def next_change(self, now: datetime, limit: datetime) -> datetime:
        return min([limit, *(edge for edge in (self.start, self.end) if edge > now)])


# -- rotations --


@pytest.mark.parametrize(
    ("at", "who"),
    [
        ("2026-01-05T08:59:59", ()),
        ("2026-01-05T09:00:00", ("alice",)),
        ("2026-01-12T08:59:59", ("alice",)),
        ("2026-01-12T09:00:00", ("bob",)),
        ("2026-01-26T09:00:00", ("alice",)),
        # Summer time begins on 29 March and ends on 25 October: the hand-over stays at nine.
        ("2026-03-30T08:59:59", ("carol",)),
        ("2026-03-30T09:00:00", ("alice",)),
        ("2026-10-26T08:59:59", ("carol",)),
        ("2026-10-26T09:00:00", ("alice",)),
    ],
)
def test_members_take_turns_from_the_start_on(at: str, who: tuple[str, ...]) -> None:
    assert schedule(WEEKLY).who(berlin(at)) == who


def test_a_turn_that_the_clocks_skip_begins_when_they_are_changed() -> None:
    nightly = schedule(Layer(("alice", "bob"), wall("2026-03-28T02:30"), DAY))
    change = utc("2026-03-29T01:00")
    assert nightly.who(change - timedelta(seconds=1)) == ("alice",)
    assert nightly.who(change) == ("bob",)


def test_a_turn_that_the_clocks_show_twice_begins_once_and_the_first_time() -> None:
    nightly = schedule(Layer(("alice", "bob"), wall("2026-10-24T02:30"), DAY))
    first, second = utc("2026-10-25T00:30"), utc("2026-10-25T01:30")
    assert nightly.who(first - timedelta(seconds=1)) == ("alice",)
    assert (
        nightly.who(first) == nightly.who(second - timedelta(minutes=15)) == nightly.who(second) == ("bob",)
    )
    shift = next(nightly.shifts(first, first + 2 * DAY))
    assert shift == Shift(("bob",), first, utc("2026-10-26T01:30")), "25 hours"


def test_a_rotation_that_starts_in_the_hour_that_comes_twice_does_not_stop_in_it() -> None:
    hourly = schedule(Layer(("alice", "bob"), wall("2026-10-25T02:30"), timedelta(hours=1)))
    assert hourly.who(utc("2026-10-25T00:29:59")) == ()
    assert hourly.who(utc("2026-10-25T01:10")) == ("alice",)
    assert hourly.who(utc("2026-10-25T02:30")) == ("bob",)


# -- against an independent computation, over ten years in five time zones --

ZONES = ["Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Pacific/Apia"]
TEN_YEARS = wall("2010-01-04T00:00"), wall("2020-01-06T00:00")
"""With the year in which Samoa had no 30 December, and with Brazil's changes at midnight."""
KINDS = [
    (timedelta(weeks=1), "09:00"),
    (timedelta(weeks=1), "00:00"),
    (timedelta(days=1), "02:30"),
]


def first_shown(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first instant at which the zone's clocks show this time or a later one, by looking at them.

    They are looked at each half an hour: no zone here changes its clocks at another minute.
    """
    at = wall.replace(tzinfo=UTC) - timedelta(hours=15)
    while at.astimezone(zone).replace(tzinfo=None) < wall:
        at += timedelta(minutes=30)
    return at


@pytest.mark.parametrize(("every", "handover"), KINDS, ids=lambda value: str(value).replace(":", ""))
@pytest.mark.parametrize("name", ZONES)
def test_rotations_change_when_the_wall_clock_says_so(name: str, every: timedelta, handover: str) -> None:
    zone, members = ZoneInfo(name), ("alice", "bob", "carol", "dave", "erin")
    hour, minute = map(int, handover.split(":"))
    start = TEN_YEARS[0].replace(hour=hour, minute=minute)
    walls = [start]
    while walls[-1] < TEN_YEARS[1]:
        walls.append(walls[-1] + every)
    edges = [first_shown(wall, zone) for wall in walls]
    layer = Layer(members, start, every)
    for edge, after in pairwise(edges):
        for at in (edge - timedelta(seconds=1), edge):
            turn = bisect_right(edges, at) - 1
            assert layer.who(zone, at) == (members[turn % 5] if turn >= 0 else None), at
        if after > edge:
            assert layer.next_change(zone, edge, edge + timedelta(days=400)) == after


# -- layers --


def test_the_last_layer_that_has_somebody_counts() -> None:
    nights = parse_time_interval(
        {
            "times": [
                {"start_time": "22:00", "end_time": "24:00"},
                {"start_time": "00:00", "end_time": "06:00"},
            ],
            "location": "Europe/Berlin",
        }
    )
    both = schedule(WEEKLY, Layer(("nina",), wall("2026-01-06T00:00"), DAY, (nights,)))
    assert list(both.shifts(berlin("2026-01-05T09:00"), berlin("2026-01-07T12:00"))) == [
        Shift(("alice",), berlin("2026-01-05T09:00"), berlin("2026-01-06T00:00")),
        Shift(("nina",), berlin("2026-01-06T00:00"), berlin("2026-01-06T06:00")),
        Shift(("alice",), berlin("2026-01-06T06:00"), berlin("2026-01-06T22:00")),
        Shift(("nina",), berlin("2026-01-06T22:00"), berlin("2026-01-07T06:00")),
        Shift(("alice",), berlin("2026-01-07T06:00"), berlin("2026-01-07T12:00")),
    ]
    assert both.duty(berlin("2026-01-06T23:00")) == Duty(("nina",), "layer 2")
    assert both.duty(berlin("2026-01-06T21:00")) == Duty(("alice",), "layer 1")


def test_outside_of_all_its_intervals_a_layer_has_nobody() -> None:
    days = [parse_time_interval({"weekdays": [day]}) for day in ("monday", "wednesday")]
    some = Schedule("some", UTC, (Layer(("alice",), wall("2026-01-05T00:00"), WEEK, tuple(days)),))
    start, end = utc("2026-01-05T00:00"), utc("2026-01-08T00:00")
    assert list(gaps(some, start, end)) == [Shift((), utc("2026-01-06T00:00"), utc("2026-01-07T00:00"))]


# -- gaps --


def test_before_the_start_there_is_a_gap_and_it_is_told_with_its_ends() -> None:
    start, end = berlin("2026-01-01T00:00"), berlin("2026-02-01T00:00")
    assert list(gaps(schedule(WEEKLY), start, end)) == [Shift((), start, berlin("2026-01-05T09:00"))]
    assert schedule(WEEKLY).duty(start) == Duty((), "a gap")


def test_a_schedule_of_nothing_is_one_gap() -> None:
    start, end = utc("2026-01-01T00:00"), utc("2026-02-01T00:00")
    assert list(gaps(schedule(), start, end)) == [Shift((), start, end)]
    assert list(gaps(schedule(), end, start)) == []


# -- what comes next --


def test_the_next_shift_is_the_one_with_other_people() -> None:
    now = berlin("2026-01-07T12:00")
    coming = schedule(WEEKLY).coming(now)
    assert coming == Shift(("bob",), berlin("2026-01-12T09:00"), berlin("2026-01-19T09:00"))


def test_who_is_alone_in_a_rotation_is_followed_by_nobody() -> None:
    alone = schedule(Layer(("alice",), MONDAY, WEEK))
    assert alone.coming(berlin("2026-01-07T12:00")) is None
    assert alone.coming(berlin("2026-01-01T12:00")) is not None


# -- overrides --


def test_an_override_beats_the_layers_from_its_start_to_before_its_end() -> None:
    mine = schedule(WEEKLY, overrides=[override("erin", "2026-01-07T18:00", "2026-01-08T08:00")])
    assert [shift.people for shift in mine.shifts(berlin("2026-01-07T17:00"), berlin("2026-01-08T09:00"))] == [
        ("alice",), ("erin",), ("alice",),
    ]  # fmt: skip
    assert mine.who(berlin("2026-01-07T18:00")) == ("erin",)
    assert mine.who(berlin("2026-01-08T08:00")) == ("alice",)


def test_of_two_overrides_the_last_one_written_counts() -> None:
    first = override("erin", "2026-01-07T00:00", "2026-01-09T00:00")
    mine = schedule(WEEKLY, overrides=[first])
    assert mine.duty(berlin("2026-01-08T12:00")) == Duty(("erin",), "an override by the configuration")
    later = with_overrides(mine, [override("dave", "2026-01-08T00:00", "2026-01-10T00:00", "bob")])
    assert later.duty(berlin("2026-01-08T12:00")) == Duty(("dave",), "an override by bob")
    assert later.who(berlin("2026-01-07T12:00")) == ("erin",)
    assert mine.overrides == (first,)


@pytest.mark.parametrize(
    ("start", "end", "begins", "ends"),
    [
        # Spring, 29 March: 02:00 to 03:00 is not there.
        ("2026-03-29T02:30", "2026-03-29T06:00", "2026-03-29T01:00", "2026-03-29T04:00"),
        ("2026-03-28T22:00", "2026-03-29T02:30", "2026-03-28T21:00", "2026-03-29T01:00"),
        # Autumn, 25 October: 02:00 to 03:00 comes twice.
        ("2026-10-25T02:30", "2026-10-25T06:00", "2026-10-25T00:30", "2026-10-25T05:00"),
        ("2026-10-24T22:00", "2026-10-25T02:30", "2026-10-24T20:00", "2026-10-25T01:30"),
        ("2026-10-25T02:30", "2026-10-25T02:30", "2026-10-25T00:30", "2026-10-25T01:30"),
    ],
)
def test_an_override_at_half_past_two_in_the_night_of_the_change_is_never_shorter_than_it_looks(
    start: str, end: str, begins: str, ends: str
) -> None:
    mine = schedule(WEEKLY, overrides=[override("erin", start, end)])
    day = utc(begins) - timedelta(hours=12)
    (shift,) = (one for one in mine.shifts(day, day + timedelta(days=2)) if one.people == ("erin",))
    assert shift == Shift(("erin",), utc(begins), utc(ends))


# -- calendars --


def test_a_calendar_stands_in_the_place_of_the_layers() -> None:
    now = utc("2026-01-07T00:30")
    mine = Schedule("primary", BERLIN, calendar=Agenda())
    assert mine.duty(now) == Duty(("dave",), "its calendar")
    assert mine.duty(now + DAY) == Duty((), "a gap in its calendar")
    assert list(mine.shifts(now - DAY, now + DAY))[1] == Shift(("dave",), Agenda.start, Agenda.end)
    written = with_overrides(mine, [Override("erin", now, now + timedelta(minutes=5), "bob")])
    assert [shift.people for shift in written.shifts(now, now + DAY)] == [("erin",), ("dave",), ()]


# -- everyone --


def test_everyone_who_may_carry_the_phone_is_named() -> None:
    now = utc("2026-01-07T00:30")
    mine = schedule(WEEKLY, overrides=[override("erin", "2026-06-07T18:00", "2026-06-08T08:00")])
    assert mine.people(now) == {"alice", "bob", "carol", "erin"}
    by_calendar = Schedule("primary", BERLIN, calendar=Agenda())
    assert by_calendar.people(now) == {"dave"}
    assert by_calendar.people(now + timedelta(days=60)) == set()


def test_a_schedule_may_follow_this_machines_own_clocks() -> None:
    mine = Schedule("primary", None, (WEEKLY,))
    start = MONDAY.astimezone()
    assert mine.who(start - timedelta(seconds=1)) == ()
    assert mine.who(start) == ("alice",)
    assert instant(MONDAY, None) == start


def test_a_time_with_an_offset_is_the_same_instant_in_each_zone() -> None:
    assert berlin("2026-01-05T09:00-05:00") == utc("2026-01-05T14:00")
