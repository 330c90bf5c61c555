"""Alertmanager's time intervals: when a route is muted or active, and until when. Pure.

Semantics and accepted texts are those of Alertmanager's timeinterval/timeinterval.go. Conditions of
one interval must all hold; of several values for one condition any suffices.
"""

from __future__ import annotations

import calendar
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Final, TypeVar

from bridge.matchers import quoted
from bridge.zones import find_zone, next_change

HORIZON: Final = timedelta(days=5 * 366)  # how far ahead a search looks
MAX_STEPS: Final = 4_000  # and how many jumps it makes at the most

_DAY: Final = 24 * 60  # minutes
_WEEKDAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_MONTHS: Final = tuple(name.lower() for name in calendar.month_name)[1:]
_SHORTEST_MONTH: Final = 28
_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|(24):(00)")
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}")
_YEARS: Final = (2, 9900)  # datetime ends with 9999, and a search must not run over the edge

T = TypeVar("T")


class IntervalError(ValueError):
    """A time interval that cannot be read; `path` leads to the value, e.g. ("times", 0, "end_time")."""

    def __init__(self, problem: str, *path: str | int) -> None:
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
        super().__init__(f"{place}: {problem}" if place else problem)
        self.problem = problem
        self.path = path


@dataclass(frozen=True, slots=True)
class Span:
    """Whole numbers from `first` to `last`, both included."""

    first: int
    last: int

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Minutes of the day as its clocks show them, from `start` to before `end`; 1440 is 24:00."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TimeInterval:
    """Conditions on an instant; None asks nothing, while an empty tuple is never fulfilled.

    Weekdays count from Sunday = 0; days of the month from 1, or back from the last = -1. `zone` is
    where the clocks and calendars hang, None for this machine's own.
    """

    times: tuple[TimeRange, ...] | None = None
    weekdays: tuple[Span, ...] | None = None
    days_of_month: tuple[Span, ...] | None = None
    months: tuple[Span, ...] | None = None
    years: tuple[Span, ...] | None = None
    zone: tzinfo | None = UTC
    # The minutes at which `times` begin and end by turns; ranges that touch are one.
    _edges: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_edges", _edges(self.times or ()))

    def contains(self, t: datetime) -> bool:
        """Tell whether the instant, an aware datetime, fulfils every condition.

        Source: TimeInterval.ContainsTime. Raises ValueError for a naive datetime.
        """
        wall = _utc(t).astimezone(self.zone)
        return self._has_minute(wall.hour * 60 + wall.minute) and self.has_day(wall.date())

    def _has_minute(self, minute: int) -> bool:
        return self.times is None or bisect_right(self._edges, minute) % 2 == 1

    def has_day(self, day: date) -> bool:
        """Tell whether a day of its own calendar fulfils all conditions but that of the hours."""
        return (
            _any(self.years, day.year)
            and _any(self.months, day.month)
            and _any(self.weekdays, day.isoweekday() % 7)
            and (self.days_of_month is None or any(_on(span, day) for span in self.days_of_month))
        )

    def steady_until(self, t: datetime, limit: datetime) -> datetime:
        """Give an instant after `t` (UTC) before which `contains` cannot change; `limit` at the latest."""
        wall = t.astimezone(self.zone).replace(tzinfo=None)
        later = self._next_edge(wall)
        until = limit if later is None else min(limit, t + (later - wall))
        # Until the clocks are changed, their time and the true time run together.
        return next_change(self.zone, t, until)

    def _next_edge(self, wall: datetime) -> datetime | None:
        """Give the next wall time at which a condition may change; None for never."""
        day = wall.date()
        if self.times is None or not self.has_day(day):
            return datetime.combine(later, time()) if (later := self._next_day(day)) else None
        after = self._edges[bisect_right(self._edges, wall.hour * 60 + wall.minute) :]
        return datetime.combine(day, time()) + timedelta(minutes=after[0] if after else _DAY)

    def _next_day(self, day: date) -> date | None:
        """Give a later day such that all days between are like this one; None when that lasts for ever."""
        if not _any(self.years, day.year):
            coming = [span.first for span in self.years or () if span.first > day.year]
            return date(min(coming), 1, 1) if coming and min(coming) <= _YEARS[1] else None
        by_day = self.weekdays is not None or self.days_of_month is not None
        if by_day and _any(self.months, day.month):
            return day + timedelta(days=1)
        if self.months is not None:
            return date(day.year + day.month // 12, day.month % 12 + 1, 1)
        return None if self.years is None else date(day.year + 1, 1, 1)


def end_of(intervals: Iterable[TimeInterval], t: datetime) -> datetime | None:
    """Give the first instant from `t` on, in UTC, that is in none of the intervals; None when `t` is in none.

    Beyond `HORIZON`, or `MAX_STEPS` jumps, the answer is an instant still inside: ask again then.
    """
    return muted_until(intervals, None, t)


def muted_until(
    mute: Iterable[TimeInterval], active: Iterable[TimeInterval] | None, t: datetime
) -> datetime | None:
    """Give the first instant from `t` on, in UTC, at which a route is not muted; None when it is not at `t`.

    Muted is what lies in an interval of `mute`, or in none of `active` where that is given. Bounded as
    `end_of`. Source: TimeMuteStage and TimeActiveStage in Alertmanager's notify/mute.go.
    """
    start = _utc(t)
    end = _search(tuple(mute), None if active is None else tuple(active), start)
    return None if end == start else end


@lru_cache(maxsize=1024)  # the alerts of one notification ask the same
def _search(
    mute: tuple[TimeInterval, ...], active: tuple[TimeInterval, ...] | None, start: datetime
) -> datetime:
    limit, t = start + HORIZON, start
    for _ in range(MAX_STEPS):
        # Each that mutes at `t` does so up to its own next edge: the farthest of these is safe to jump to.
        edges = [interval.steady_until(t, limit) for interval in mute if interval.contains(t)]
        if active is not None and not any(interval.contains(t) for interval in active):
            edges.append(min((interval.steady_until(t, limit) for interval in active), default=limit))
        if t == limit or not edges:
            break
        t = max(edges)
    return t


def _edges(times: Iterable[TimeRange]) -> tuple[int, ...]:
    edges: list[int] = []
    for span in sorted(times, key=lambda span: span.start):
        if edges and span.start <= edges[-1]:
            edges[-1] = max(edges[-1], span.end)
        else:
            edges += [span.start, span.end]
    return tuple(edges)


def _utc(t: datetime) -> datetime:
    if t.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    if not _YEARS[0] <= t.year <= _YEARS[1]:
        raise ValueError(f"the year must be from {_YEARS[0]} to {_YEARS[1]}, not {t.year}")
    return t.astimezone(UTC)


def _any(spans: Sequence[Span] | None, number: int) -> bool:
    return spans is None or any(number in span for span in spans)


def _on(span: Span, day: date) -> bool:
    length = calendar.monthrange(day.year, day.month)[1]
    first, last = (n if n > 0 else length + n + 1 for n in (span.first, span.last))
    return first <= day.day <= last


def parse_time_interval(value: object) -> TimeInterval:
    """Read one entry of `time_intervals[].time_intervals` as YAML gives it, every scalar as text.

    Raises IntervalError with the path to what is wrong. A key that is None is as if absent.
    """
    readers: dict[str, Callable[[object], object]] = {
        "times": _list_of(parse_time_range),
        "weekdays": _list_of(_text_reader(parse_weekdays)),
        "days_of_month": _list_of(_text_reader(parse_days_of_month)),
        "months": _list_of(_text_reader(parse_months)),
        "years": _list_of(_text_reader(parse_years)),
        "location": _text_reader(parse_location),
    }
    items = _mapping(value, readers).items()
    read = {key: _at(readers[key], item, key) for key, item in items if item is not None}
    if "location" in read:
        read["zone"] = read.pop("location")
    return TimeInterval(**read)  # type: ignore[arg-type]  # each reader gives its field's type


def parse_time_range(value: object) -> TimeRange:
    """Read {start_time: "22:00", end_time: "24:00"}; the end is excluded and must come later."""
    fields = _mapping(value, ("start_time", "end_time"))
    for key in ("start_time", "end_time"):
        if not fields.get(key):
            raise IntervalError(f"{key} is missing; both start_time and end_time must be given")
    start, end = (_at(_text_reader(_parse_time), fields[key], key) for key in ("start_time", "end_time"))
    if start >= end:
        hint = "for a range over midnight write two, one up to 24:00"
        raise IntervalError(f"start_time must be before end_time; {hint}")
    return TimeRange(start, end)


def parse_weekdays(text: str) -> Span:
    """Read a day of the week or a range of them: `monday`, `monday:friday`. The week begins on Sunday."""

    def day(word: str) -> int:
        if word in _WEEKDAYS:
            return _WEEKDAYS.index(word)
        raise IntervalError(f"{quoted(word)} is not a weekday; write for instance monday or monday:friday")

    span = _span(text, day)
    if span.first > span.last:
        raise IntervalError(
            f"{quoted(text)} ends before it starts: the week begins on Sunday; write two ranges"
        )
    return span


def parse_days_of_month(text: str) -> Span:
    """Read a day of the month or a range: `1`, `1:5`, `-3:-1`; negative numbers count from the end."""
    span = _span(text, _number)
    for day in (span.first, span.last):
        if not 1 <= abs(day) <= 31:
            raise IntervalError(f"{day} is not a day of the month; write 1 to 31, or -1 to -31 from its end")
    if span.first < 0 < span.last:
        raise IntervalError(f"{quoted(text)}: the last day must be negative if the first is")
    # Alertmanager's rule for mixed signs; it refuses 28:-1, though February has that day.
    first, last = (day if day > 0 else _SHORTEST_MONTH + day for day in (span.first, span.last))
    if first > last:
        raise IntervalError(f"{quoted(text)}: the last day can come before the first")
    return span


def parse_months(text: str) -> Span:
    """Read a month or a range by name or number: `january`, `1:3`, `may:august`.

    Stricter than Alertmanager, which takes a month 13 and never reaches it.
    """

    def month(word: str) -> int:
        if word in _MONTHS:
            return _MONTHS.index(word) + 1
        if _NUMBER.fullmatch(word) and 1 <= int(word) <= len(_MONTHS):
            return int(word)
        raise IntervalError(
            f"{quoted(word)} is not a month; write its name or 1 to 12, or a range such as may:august"
        )

    return _forward(text, _span(text, month))


def parse_years(text: str) -> Span:
    """Read a year or a range of years: `2026`, `2026:2028`."""
    return _forward(text, _span(text, _number))


def parse_location(text: str) -> tzinfo | None:
    """Find an IANA time zone; "" is UTC, and None stands for `Local`, this machine's own."""
    try:
        return find_zone(text)
    except ValueError as error:
        raise IntervalError(str(error)) from None


def _parse_time(text: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise IntervalError(f"{quoted(text)} is not a time of day; write 00:00 to 24:00 with two digits each")
    return int(found[1] or found[3]) * 60 + int(found[2] or found[4])


def _number(word: str) -> int:
    if _NUMBER.fullmatch(word):
        return int(word)
    raise IntervalError(f"{quoted(word)} is not a whole number; write for instance 5 or 1:5")


def _span(text: str, read: Callable[[str], int]) -> Span:
    words = text.lower().split(":")
    if len(words) > 2:
        raise IntervalError(f"{quoted(text)} is not a range; write first:last")
    return Span(read(words[0]), read(words[-1]))


def _forward(text: str, span: Span, hint: str = "") -> Span:
    if span.first > span.last:
        raise IntervalError(f"{quoted(text)} ends before it starts{hint}")
    return span


def _at(read: Callable[[object], T], value: object, *path: str | int) -> T:
    try:
        return read(value)
    except IntervalError as error:
        raise IntervalError(error.problem, *path, *error.path) from None


def _list_of(read: Callable[[object], T]) -> Callable[[object], tuple[T, ...]]:
    def read_all(value: object) -> tuple[T, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise IntervalError("must be a list")
        return tuple(_at(read, item, index) for index, item in enumerate(value))

    return read_all


def _text_reader(read: Callable[[str], T]) -> Callable[[object], T]:
    def read_text(value: object) -> T:
        if not isinstance(value, str):
            raise IntervalError("must be text")
        return read(value)

    return read_text


def _mapping(value: object, known: Iterable[str]) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise IntervalError("must be a mapping")
    for key in value:
        if key not in known:
            raise IntervalError(f"{quoted(str(key))} is not a key here; there are {', '.join(known)}")
    return value
