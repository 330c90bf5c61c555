"""Time intervals: what they contain, where they end across changed clocks, and how they are read."""

from __future__ import annotations

import calendar
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge import zones
from bridge.timeintervals import (
    HORIZON,
    MAX_STEPS,
    IntervalError,
    Span,
    TimeInterval,
    TimeRange,
    end_of,
    muted_until,
    parse_days_of_month,
    parse_location,
    parse_months,
    parse_time_interval,
    parse_time_range,
    parse_weekdays,
    parse_years,
)


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def times(*ranges: str) -> list[dict[str, str]]:
    return [dict(zip(("start_time", "end_time"), text.split("-"), strict=True)) for text in ranges]


NIGHT = times("22:00-24:00", "00:00-06:00")


# -- what is contained --


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ({}, ["2026-11-25T03:00:00"], []),
        ({"times": times("09:00-17:00")}, ["2026-01-01T09:00:00", "2026-01-01T16:59:59.999999"],
         ["2026-01-01T08:59:59.999999", "2026-01-01T17:00:00"]),
        ({"times": times("22:00-24:00")}, ["2026-01-01T23:59:59"], ["2026-01-02T00:00:00"]),
        ({"weekdays": ["monday:friday"]}, ["2026-11-23T00:00:00", "2026-11-27T23:59:00"],
         ["2026-11-28T00:00:00", "2026-11-22T12:00:00"]),
        ({"weekdays": ["sunday", "saturday"]}, ["2026-11-22T00:00:00", "2026-11-28T00:00:00"],
         ["2026-11-23T00:00:00"]),
        ({"days_of_month": ["1:5", "-3:-1"]},
         ["2026-02-01T00:00:00", "2026-02-05T00:00:00", "2026-02-26T00:00:00", "2026-02-28T00:00:00",
          "2028-02-29T00:00:00"],
         ["2026-02-06T00:00:00", "2026-02-25T00:00:00", "2028-02-26T00:00:00"]),
        ({"days_of_month": ["31"]}, ["2026-01-31T00:00:00"], ["2026-02-28T00:00:00"]),
        ({"days_of_month": ["-31:-30"]}, ["2026-01-01T00:00:00", "2026-04-01T00:00:00"],
         ["2026-02-01T00:00:00", "2026-04-02T00:00:00"]),
        ({"days_of_month": ["25:-1"]}, ["2026-02-25T00:00:00", "2026-02-28T00:00:00"],
         ["2026-02-24T00:00:00"]),
        ({"months": ["january:march", "12"]}, ["2026-03-31T23:00:00", "2026-12-01T00:00:00"],
         ["2026-04-01T00:00:00"]),
        ({"years": ["2026:2027", "2030"]}, ["2027-12-31T23:59:59", "2030-06-01T00:00:00"],
         ["2028-01-01T00:00:00", "2025-12-31T23:59:59"]),
        ({"times": NIGHT, "location": "Asia/Tokyo"}, ["2026-01-01T13:00:00"], ["2026-01-01T12:59:00"]),
        ({"weekdays": ["monday"], "months": ["november"], "times": times("10:00-11:00")},
         ["2026-11-23T10:30:00"], ["2026-11-24T10:30:00", "2026-10-26T10:30:00", "2026-11-23T11:30:00"]),
        ({"times": []}, [], ["2026-11-23T10:30:00"]),
        ({"weekdays": None, "years": []}, [], ["2026-11-23T10:30:00"]),
    ],
)  # fmt: skip
def test_an_interval_contains_what_fulfils_every_condition(
    interval: dict[str, object], inside: list[str], outside: list[str]
) -> None:
    parsed = parse_time_interval(interval)
    assert [text for text in inside + outside if parsed.contains(at(text))] == inside


def test_the_instant_counts_and_not_how_it_is_written() -> None:
    interval = parse_time_interval({"times": times("09:00-10:00"), "location": "Europe/Berlin"})
    assert interval.contains(at("2026-01-05T09:30", "Europe/Berlin"))
    assert interval.contains(at("2026-01-05T17:30", "Asia/Tokyo"))
    assert not interval.contains(at("2026-07-05T08:30"))


@pytest.mark.parametrize(
    "instant", [at("2026-01-01T00:00").replace(tzinfo=None), at("0001-06-01T00:00"), at("9999-12-31T23:00")]
)
def test_an_instant_without_zone_or_at_the_edge_of_time_is_refused(instant: datetime) -> None:
    with pytest.raises(ValueError, match=r"needs a time zone|the year must be from 2 to 9900"):
        TimeInterval().contains(instant)


# -- where it ends --


@pytest.mark.parametrize(
    ("interval", "start", "end"),
    [
        ({"times": NIGHT}, "2026-11-24T23:15:20", "2026-11-25T06:00:00"),
        ({"times": NIGHT}, "2026-11-24T12:00:00", None),
        ({"weekdays": ["saturday", "sunday"]}, "2026-11-28T10:00:00", "2026-11-30T00:00:00"),
        ({"months": ["may:august"]}, "2026-05-02T10:00:00", "2026-09-01T00:00:00"),
        ({"months": ["december", "january"]}, "2026-12-24T10:00:00", "2027-02-01T00:00:00"),
        ({"years": ["2026:2027"]}, "2026-05-02T10:00:00", "2028-01-01T00:00:00"),
        ({"days_of_month": ["-1", "1"]}, "2026-02-28T10:00:00", "2026-03-02T00:00:00"),
        ({"days_of_month": ["20:31"], "months": ["december"]}, "2026-12-24T10:00:00", "2027-01-01T00:00:00"),
        # Berlin's clocks: from 02:00 to 03:00 on 2026-03-29, from 03:00 to 02:00 on 2026-10-25.
        ({"times": times("01:30-02:30"), "location": "Europe/Berlin"}, "2026-03-29T00:45:00",
         "2026-03-29T01:00:00"),
        ({"times": times("02:30-04:00"), "location": "Europe/Berlin"}, "2026-03-29T01:10:00",
         "2026-03-29T02:00:00"),
        ({"times": times("02:30-04:00"), "location": "Europe/Berlin"}, "2026-10-25T00:40:00",
         "2026-10-25T01:00:00"),
        ({"times": times("02:30-04:00"), "location": "Europe/Berlin"}, "2026-10-25T01:40:00",
         "2026-10-25T03:00:00"),
        ({"times": times("00:00-06:00"), "location": "Europe/Berlin"}, "2026-10-24T22:00:00",
         "2026-10-25T05:00:00"),
        # Havana goes from 00:00 to 01:00: that Sunday begins at one.
        ({"weekdays": ["saturday"], "location": "America/Havana"}, "2026-03-07T20:00:00",
         "2026-03-08T05:00:00"),
        # Samoa had no 30 December 2011.
        ({"days_of_month": ["29"], "location": "Pacific/Apia"}, "2011-12-29T12:00:00",
         "2011-12-30T10:00:00"),
        # Newfoundland fell back from 00:01 to 23:01 of the day before, so November came twice.
        ({"months": ["november"], "location": "America/St_Johns"}, "2009-11-01T02:30:30",
         "2009-11-01T02:31:00"),
    ],
)  # fmt: skip
def test_rule_3_a_mute_ends_at_the_first_instant_outside(
    interval: dict[str, object], start: str, end: str | None
) -> None:
    if interval.get("location") == "America/St_Johns" and end:  # the change was on the first of November
        changes = zones._transitions(ZoneInfo("America/St_Johns"), 2009)
        assert [change.isoformat() for change in changes][1] == "2009-11-01T02:31:00+00:00"
    assert end_of([parse_time_interval(interval)], at(start)) == (end and at(end))


def test_rule_3_intervals_that_touch_make_one_mute() -> None:
    parts = [
        parse_time_interval({"times": times("20:00-22:00")}),
        parse_time_interval({"times": NIGHT}),
        parse_time_interval({"times": times("08:00-09:00"), "location": "Europe/Berlin"}),  # 07:00 UTC
        parse_time_interval({"times": times("05:30-07:00")}),
    ]
    assert end_of(parts, at("2026-11-24T20:30")) == at("2026-11-25T08:00")
    assert end_of([], at("2026-11-24T20:30")) is None


def test_rule_3_mute_and_active_intervals_are_looked_at_together() -> None:
    office = [parse_time_interval({"weekdays": ["monday:friday"], "times": times("08:00-18:00")})]
    lunch = [parse_time_interval({"times": times("07:00-09:00")})]
    friday_evening = at("2026-11-27T18:00")
    assert muted_until([], office, friday_evening) == at("2026-11-30T08:00")
    assert muted_until(lunch, office, friday_evening) == at("2026-11-30T09:00")
    assert muted_until(lunch, office, at("2026-11-27T12:00")) is None
    assert muted_until(lunch, None, at("2026-11-27T12:00")) is None


@pytest.mark.parametrize(
    "interval",
    [
        {},
        {"years": ["2000:2100"]},
        {"months": ["1:12"]},
        {"weekdays": ["sunday:saturday"], "location": "Europe/Berlin"},
    ],
)
def test_a_mute_without_end_in_sight_is_asked_again_at_the_horizon(interval: dict[str, object]) -> None:
    now = at("2026-11-25T03:00:07")
    assert end_of([parse_time_interval(interval)], now) == now + HORIZON


@pytest.mark.parametrize("active", [[], [{"years": ["2020"]}], [{"times": []}], [{"years": ["99999"]}]])
def test_a_route_that_is_never_active_is_asked_again_at_the_horizon(active: list[dict[str, object]]) -> None:
    now = at("2026-11-25T03:00:07")
    assert muted_until([], [parse_time_interval(part) for part in active], now) == now + HORIZON


def test_an_active_year_to_come_is_found_at_once() -> None:
    active = parse_time_interval({"years": ["2029:2030", "2028"], "months": ["6"]})
    assert muted_until([], [active], at("2026-11-25T03:00")) == at("2028-06-01T00:00")


def test_a_search_makes_a_bounded_number_of_steps() -> None:
    minutes = [TimeRange(n, n + 1) for n in range(24 * 60)]
    parts = [TimeInterval(times=tuple(minutes[::2])), TimeInterval(times=tuple(minutes[1::2]))]
    now = at("2026-11-25T03:00")
    assert end_of(parts, now) == now + timedelta(minutes=MAX_STEPS)
    assert end_of([TimeInterval(times=tuple(minutes))], now) == now + HORIZON


def test_times_may_overlap_and_stand_in_any_order() -> None:
    interval = parse_time_interval(
        {"times": times("12:00-13:00", "08:00-12:30", "09:00-10:00", "13:00-14:00")}
    )
    assert end_of([interval], at("2026-11-25T08:00")) == at("2026-11-25T14:00")


def _months() -> st.SearchStrategy[str]:
    return st.tuples(st.integers(1, 12), st.integers(0, 4)).map(lambda p: f"{p[0]}:{min(12, p[0] + p[1])}")


def _days() -> st.SearchStrategy[str]:
    return st.sampled_from(["1", "-1", "1:7", "-7:-1", "31", "27:-1", "10:20", "-31:-25", "1:-1", "2:28"])


def _weekdays() -> st.SearchStrategy[str]:
    return st.sampled_from(["sunday", "saturday", "monday:friday", "Tuesday:WEDNESDAY", "sunday:monday"])


def _times() -> st.SearchStrategy[dict[str, str]]:
    edge = st.integers(0, 48).map(lambda n: n * 30) | st.integers(0, 1440)
    return st.sets(edge, min_size=2, max_size=2).map(
        lambda pair: times("-".join(f"{n // 60:02}:{n % 60:02}" for n in sorted(pair)))[0]
    )


PLACES = [
    "UTC", "Europe/Berlin", "America/New_York", "America/Havana", "America/St_Johns", "Asia/Kathmandu",
    "Africa/Cairo", "Africa/Casablanca", "Australia/Lord_Howe", "Antarctica/Troll", "Pacific/Apia",
]  # fmt: skip
RAW = st.fixed_dictionaries(
    {},
    optional={
        "times": st.lists(_times(), max_size=3),
        "weekdays": st.lists(_weekdays(), min_size=1, max_size=2),
        "days_of_month": st.lists(_days(), min_size=1, max_size=2),
        "months": st.lists(_months(), min_size=1, max_size=2),
        "years": st.lists(st.sampled_from(["2009", "2010:2012", "2026"]), min_size=1, max_size=2),
        "location": st.sampled_from(PLACES),
    },
)


@st.composite
def instants(draw: st.DrawFn) -> datetime:
    """Draw an instant; often one close to where some zone's clocks change."""
    changes = zones._transitions(
        ZoneInfo(draw(st.sampled_from(PLACES))), draw(st.sampled_from([2009, 2011, 2026]))
    )
    if changes and draw(st.booleans()):
        return draw(st.sampled_from(changes)) + timedelta(minutes=draw(st.integers(-2000, 500)))
    return at("2009-01-01T00:00") + draw(st.timedeltas(timedelta(), timedelta(days=18 * 365)))


DAYS = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]


def slow_contains(raw: dict[str, object], t: datetime) -> bool:
    """Say the same in another way, straight from the texts: every condition as the set of all its values."""
    wall = t.astimezone(ZoneInfo(raw.get("location", "UTC")))
    length = calendar.monthrange(wall.year, wall.month)[1]

    def number(word: str) -> int:
        return DAYS.index(word.lower()) if word.lower() in DAYS else int(word)

    def values(key: str) -> set[int]:
        found: set[int] = set()
        for text in raw[key]:
            first, last = (number(word) for word in (text.split(":") * 2)[:2])
            if key == "days_of_month":
                first, last = (n + length + 1 if n < 0 else n for n in (first, last))
            found |= set(range(first, last + 1))
        return found

    have = {
        "weekdays": wall.isoweekday() % 7,
        "days_of_month": wall.day,
        "months": wall.month,
        "years": wall.year,
    }
    clock = wall.strftime("%H:%M")
    return all(have[key] in values(key) for key in have if key in raw) and (
        "times" not in raw or any(r["start_time"] <= clock < r["end_time"] for r in raw["times"])
    )


@settings(max_examples=100, deadline=None, database=None)
@given(st.lists(RAW, min_size=1, max_size=3), st.lists(RAW, max_size=2) | st.none(), instants())
@example([{"times": NIGHT, "location": "Europe/Berlin"}], None, at("2026-10-24T21:00"))
def test_rule_3_the_end_of_a_mute_agrees_with_going_minute_by_minute(
    mute: list[dict[str, object]], active: list[dict[str, object]] | None, start: datetime
) -> None:
    def muted(t: datetime) -> bool:
        inactive = active is not None and not any(slow_contains(raw, t) for raw in active)
        return inactive or any(slow_contains(raw, t) for raw in mute)

    fast_mute = [parse_time_interval(raw) for raw in mute]
    fast_active = None if active is None else [parse_time_interval(raw) for raw in active]
    for raw, parsed in zip(mute, fast_mute, strict=True):
        assert parsed.contains(start) == slow_contains(raw, start)
    end = muted_until(fast_mute, fast_active, start)
    t, last = start, start + timedelta(hours=36)
    while t < last and muted(t):
        t = t.replace(second=0, microsecond=0) + timedelta(minutes=1)
    if t < last:
        assert end == (None if t == start else t)
    else:
        assert end is not None
        assert end >= last
        if end < start + timedelta(days=400):  # else it may have stopped after MAX_STEPS
            assert not muted(end)
            assert muted(end - timedelta(seconds=1))


@pytest.mark.parametrize("place", PLACES)
def test_a_zone_s_changes_are_found_to_the_second(place: str) -> None:
    zone = ZoneInfo(place)
    for change in (*zones._transitions(zone, 2011), *zones._transitions(zone, 2026)):
        before = change - timedelta(seconds=1)
        assert before.astimezone(zone).utcoffset() != change.astimezone(zone).utcoffset()
    first = zones.next_change(ZoneInfo("Europe/Berlin"), at("2026-01-01T00:00"), at("2028-01-01T00:00"))
    assert first == at("2026-03-29T01:00")
    assert zones.next_change(UTC, at("2026-01-01T00:00"), at("2028-01-01T00:00")) == at("2028-01-01T00:00")


def test_local_is_the_zone_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        with monkeypatch.context() as patched:
            patched.setenv("TZ", "America/New_York")
            time.tzset()
            zones._transitions.cache_clear()
            local = parse_time_interval({"times": times("09:00-17:00"), "location": "Local"})
            assert local.zone is None
            assert local.contains(at("2026-07-01T13:00"))
            assert end_of([local], at("2026-07-01T13:00")) == at("2026-07-01T21:00")
            assert end_of([local], at("2026-12-01T15:00")) == at("2026-12-01T22:00")
    finally:
        time.tzset()
        zones._transitions.cache_clear()


# -- how it is read --


def test_every_key_is_read_from_text() -> None:
    assert parse_time_interval(
        {
            "times": times("00:00-06:30", "22:00-24:00"),
            "weekdays": ["Monday:FRIDAY", "sunday"],
            "days_of_month": ["1", "-7:-1", "+3:5"],
            "months": ["January:march", "5", "6:august"],
            "years": ["2026", "2027:2030"],
            "location": "Australia/Sydney",
        }
    ) == TimeInterval(
        times=(TimeRange(0, 390), TimeRange(1320, 1440)),
        weekdays=(Span(1, 5), Span(0, 0)),
        days_of_month=(Span(1, 1), Span(-7, -1), Span(3, 5)),
        months=(Span(1, 3), Span(5, 5), Span(6, 8)),
        years=(Span(2026, 2026), Span(2027, 2030)),
        zone=ZoneInfo("Australia/Sydney"),
    )
    assert parse_time_interval({"location": ""}) == TimeInterval() == parse_time_interval({"location": "UTC"})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("monday", "must be a mapping"),
        ({"wekdays": ["monday"]}, '"wekdays" is not a key here; there are times, weekdays, days_of_month'),
        ({"weekdays": "monday"}, "weekdays: must be a list"),
        ({"weekdays": [["monday"]]}, "weekdays[0]: must be text"),
        ({"weekdays": ["monday", "mon"]}, 'weekdays[1]: "mon" is not a weekday'),
        ({"times": ["22:00"]}, "times[0]: must be a mapping"),
        (
            {"times": times("22:00-06:00")},
            "times[0]: start_time must be before end_time; for a range over mid",
        ),
        ({"times": times("22:00-24:01")}, 'times[0].end_time: "24:01" is not a time of day'),
        ({"times": [{"start_time": ["1"], "end_time": "2"}]}, "times[0].start_time: must be text"),
        ({"location": ["UTC"]}, "location: must be text"),
        (
            {"location": "Europe/Berln"},
            'location: "Europe/Berln" is not a time zone; did you mean "Europe/Berlin"?',
        ),
    ],
)
def test_a_mistake_is_told_with_the_way_to_it(value: object, message: str) -> None:
    with pytest.raises(IntervalError) as raised:
        parse_time_interval(value)
    assert str(raised.value).startswith(message)


def test_the_way_to_a_mistake_is_also_there_for_programs() -> None:
    with pytest.raises(IntervalError) as raised:
        parse_time_interval({"times": times("22:00-24:01")})
    assert raised.value.path == ("times", 0, "end_time")
    assert raised.value.problem.startswith('"24:01" is not')


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (parse_weekdays, "friday:monday", "ends before it starts: the week begins on Sunday"),
        (parse_weekdays, "1", '"1" is not a weekday'),
        (parse_weekdays, "monday:tuesday:friday", "is not a range"),
        (parse_weekdays, "monday :friday", '"monday " is not a weekday'),
        (parse_days_of_month, "0", "0 is not a day of the month"),
        (parse_days_of_month, "1:32", "32 is not a day of the month"),
        (parse_days_of_month, "-32", "-32 is not a day of the month"),
        (parse_days_of_month, "-1:5", "the last day must be negative if the first is"),
        (parse_days_of_month, "5:1", "the last day can come before the first"),
        (parse_days_of_month, "1:-28", "the last day can come before the first"),
        (parse_days_of_month, "28:-1", "the last day can come before the first"),
        (parse_days_of_month, "-1:-2", "the last day can come before the first"),
        (parse_days_of_month, "first", '"first" is not a whole number'),
        (parse_months, "13", '"13" is not a month'),
        (parse_months, "jan", '"jan" is not a month'),
        (parse_months, "may:january", "ends before it starts"),
        (parse_years, "2027:2026", "ends before it starts"),
        (parse_years, "", '"" is not a whole number'),
        (parse_years, "1_000", '"1_000" is not a whole number'),
        (parse_location, "../etc/passwd", "is not a time zone; write for instance"),
        (parse_location, "America", "is not a time zone; did you mean"),
        (parse_location, "europe/berlin", 'did you mean "Europe/Berlin"'),
    ],
)
def test_a_bad_value_is_told_in_words(read: object, text: str, message: str) -> None:
    with pytest.raises(IntervalError) as raised:
        read(text)  # type: ignore[operator]
    assert message in str(raised.value)


@pytest.mark.parametrize("text", ["1:-27", "27:-1", "-31:-1", "-5", "31"])
def test_days_that_exist_in_some_month_are_accepted(text: str) -> None:
    assert isinstance(parse_days_of_month(text), Span)


@pytest.mark.parametrize(
    ("value", "missing"),
    [({}, "start"), ({"start_time": "01:00"}, "end"), ({"end_time": "2", "start_time": ""}, "start")],
)
def test_a_time_range_needs_both_ends(value: dict[str, str], missing: str) -> None:
    with pytest.raises(IntervalError, match=f"{missing}_time is missing"):
        parse_time_range(value)
