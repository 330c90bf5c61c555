"""Who carries the phone by an iCalendar (RFC 5545): each event names people for as long as it lasts. Pure.

Recurrence is recurring-ical-events' part. A calendar is written elsewhere, by other programs: what one
event gets wrong costs that event alone, and is reported.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final

from bridge.matchers import quoted
from bridge.schedules import instant
from bridge.texts import one_line
from bridge.zones import local

if TYPE_CHECKING:
    import recurring_ical_events

MAX_EVENTS: Final = 5000
"""Far more than the shifts of any team; above it, it is somebody's whole life, and slow to read."""

_WINDOW: Final = timedelta(days=28)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AROUND: Final = timedelta(days=2)
"""What is asked for before and after a window: an event without a time zone may begin a day beside it."""
_REMEMBERED: Final = 64
"""Windows that are kept: five years."""
_A_DAY: Final = 24
"""Events in a day that one rule may give."""
_FAST: Final = frozenset({"SECONDLY", "MINUTELY", "HOURLY"})
_TIMES: Final = ("DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "RECURRENCE-ID")


class CalendarError(ValueError):
    """A text that is no calendar; the words are for people."""


@dataclass(frozen=True, slots=True)
class _Event:
    """Names people from `start` to before `end` (UTC); `unknown` is what names nobody known, "" = nothing."""

    start: datetime
    end: datetime
    people: tuple[str, ...]
    unknown: str


@dataclass(frozen=True, slots=True)
class _Window:
    """The events of a stretch of time in their order, and what could not be understood in it."""

    events: tuple[_Event, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Agenda:
    """A calendar that was read; implements schedules.Calendar. Asked the same, it says the same."""

    text: str = field(repr=False)
    zone: tzinfo | None
    people: Mapping[str, str]
    series: tuple[tuple[str, recurring_ical_events.CalendarQuery], ...] = field(repr=False)
    problems: tuple[str, ...]
    _windows: dict[int, _Window] = field(default_factory=dict, repr=False, compare=False)

    def who(self, now: datetime) -> tuple[str, ...]:
        """Name those who have an event at an instant, in the order in which the events began."""
        at = [event for event in self._window(_number(now)).events if event.start <= now < event.end]
        return tuple(dict.fromkeys(name for event in at for name in event.people))

    def next_change(self, now: datetime, limit: datetime) -> datetime:
        """Give an instant after `now`, `limit` at the latest, before which `who` stays the same."""
        number = _number(now)
        edges = (edge for event in self._window(number).events for edge in (event.start, event.end))
        return min([limit, _begin(number + 1), *(edge for edge in edges if edge > now)])

    def doubts(self, start: datetime, end: datetime) -> tuple[str, ...]:
        """Say what from `start` to `end` (UTC) names nobody known, or cannot be understood."""
        windows = [self._window(number) for number in range(_number(start), _number(end) + 1)]
        unknown: dict[str, datetime] = {}
        for event in (event for window in windows for event in window.events):
            if event.unknown and event.start < end and event.end > start:
                unknown.setdefault(event.unknown, event.start)
        problems = (*self.problems, *(text for window in windows for text in window.problems))
        strangers = (
            f"{quoted(text)} is nobody under people: (from {local(begins, self.zone)})"
            for text, begins in unknown.items()
        )
        return (*dict.fromkeys(problems), *strangers)

    def _window(self, number: int) -> _Window:
        found = self._windows.get(number)
        if found is None:
            if len(self._windows) >= _REMEMBERED:
                self._windows.clear()
            found = self._windows[number] = self._expand(_begin(number), _begin(number + 1))
        return found

    def _expand(self, start: datetime, end: datetime) -> _Window:
        events: list[_Event] = []
        problems: list[str] = []
        for title, query in self.series:
            try:
                found = [self._event(one) for one in query.between(start - _AROUND, end + _AROUND)]
            except Exception as error:  # noqa: BLE001 - whatever the libraries make of somebody's odd event
                problems.append(_not_understood(title, _words(error)))
                continue
            events += (event for event in found if event and event.start < end and event.end > start)
        return _Window(
            tuple(sorted(events, key=lambda one: (one.start, one.end, one.people))), tuple(problems)
        )

    def _event(self, component: Any) -> _Event | None:
        start, end = _instant(component.start, self.zone), _instant(component.end, self.zone, end=True)
        if str(component.get("STATUS", "")).upper() == "CANCELLED" or start >= end:
            return None
        people, unknown = _named(component, self.people)
        return _Event(start, end, people, unknown)


def spellings(people: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Say who is meant by each way to write a name; `people` are names with their other spellings."""
    return {fold(text): name for name, others in people.items() for text in (name, *others)}


def fold(text: str) -> str:
    """Write a name as it is compared: without regard to letter case and to the width of spaces."""
    return " ".join(text.split()).casefold()


def read(text: str, zone: tzinfo | None, people: Mapping[str, str]) -> Agenda:
    """Read a calendar. `zone` is that of times without one, `people` comes from `spellings`.

    Raises CalendarError. Takes about half a millisecond for each event. Not in two threads at once:
    icalendar keeps what it knows of time zones for all.
    """
    calendar = _parse(text)
    events = calendar.walk("VEVENT")
    if len(events) > MAX_EVENTS:
        raise CalendarError(f"holds more than {MAX_EVENTS} events; give a calendar of the shifts alone")
    by_uid: dict[str, list[Any]] = {}
    for number, event in enumerate(events):
        by_uid.setdefault(str(event.get("UID", f"\0{number}")), []).append(event)
    series, problems = [], []
    for group in by_uid.values():
        title = _title(group[0])
        odd: list[str] = []
        try:
            odd += (text for event in group for text in _odd(event))
            _name_by_time(group)
            series.append((title, _query(calendar, group)))
        except Exception as error:  # noqa: BLE001 - as in Agenda
            odd = odd or [_words(error)]
        problems += [_not_understood(title, text) for text in odd]
    if events and not series:
        raise CalendarError(f"none of its events is understood; {problems[0]}")
    return Agenda(text, zone, people, tuple(series), tuple(dict.fromkeys(problems)))


def _parse(text: str) -> Any:
    import icalendar  # noqa: PLC0415 - 4 MiB, and most bridges read no calendar
    from icalendar.timezone import tzp  # noqa: PLC0415

    lines = text.removeprefix("\ufeff").strip()
    for part, line in (("begin", "BEGIN:VCALENDAR"), ("end", "END:VCALENDAR")):
        if (lines[: len(line)] if part == "begin" else lines[-len(line) :]).upper() != line:
            raise CalendarError(f"is not an iCalendar: it does not {part} with {line}")
    # icalendar keeps the time zones of one calendar for the next one that names them alike.
    tzp.use_default()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its guesses about time zones
            calendar = icalendar.Calendar.from_ical(lines)
    except Exception:  # noqa: BLE001 - mostly ValueError, but an AttributeError for VALUE=DATE,DATE
        # Not its words: they quote the text, and that may be another file's, with a secret in it.
        raise CalendarError("is not an iCalendar: a line of it is in another format, or missing") from None
    return calendar


def _name_by_time(events: Collection[Any]) -> None:
    """Let a change that names its occurrence by the day mean the one of that day, as EXDATE does.

    RFC 5545 wants a time where the series has times. A day alone is none of those, so that the occurrence
    would stay beside what it was changed to.
    """
    import icalendar  # noqa: PLC0415 - as above

    series = [event for event in events if "RECURRENCE-ID" not in event]
    begins = max(series, key=lambda one: int(one.get("SEQUENCE", 0)))["DTSTART"].dt if series else None
    if not isinstance(begins, datetime):
        return
    for event in events:
        named = event.get("RECURRENCE-ID")
        if named is not None and not isinstance(named.dt, datetime):
            event["RECURRENCE-ID"] = timed = icalendar.vDDDTypes(datetime.combine(named.dt, begins.timetz()))
            timed.params.update((key, value) for key, value in named.params.items() if key != "VALUE")


def _query(calendar: Any, events: Iterable[Any]) -> recurring_ical_events.CalendarQuery:
    import icalendar  # noqa: PLC0415 - as above
    import recurring_ical_events  # noqa: PLC0415

    if any(map(_endless, events)):
        raise ValueError(f"it repeats more than {_A_DAY} times a day, or its INTERVAL is not 1 or more")
    alone = icalendar.Calendar()
    alone.update(calendar)
    alone.subcomponents = list(events)
    return recurring_ical_events.of(alone)


def _endless(event: Any) -> bool:
    """Tell whether expanding a rule would not end soon: it gives more events than anybody works shifts."""
    for rule in _list(event.get("RRULE")):
        times = 1
        for key in ("BYHOUR", "BYMINUTE", "BYSECOND"):
            times *= max(len(_list(rule.get(key))), 1)
        steps = any(int(step) < 1 for step in _list(rule.get("INTERVAL")))
        if steps or times > _A_DAY or _FAST.intersection(map(str, _list(rule.get("FREQ")))):
            return True
    return False


def _odd(event: Any) -> Iterator[str]:
    """Say what of an event's times icalendar could not read, and would pass over."""
    broken = {name: error for name, error in event.errors if name in _TIMES}
    yield from (f"{name}: {error}" for name, error in broken.items())
    if "EXRULE" in event:  # of RFC 2445; the libraries know it no more
        yield "its EXRULE is passed over: give what it leaves out as EXDATE"
    for name in {"DTSTART", "DTEND"} - broken.keys():
        for value in _list(event.get(name)):
            zone = value.params.get("TZID")
            if zone is not None and getattr(value.dt, "tzinfo", None) is None:
                yield f"its time zone {quoted(str(zone))} is not known, so it is taken as local"


def _named(event: Any, people: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    """Say who is meant by an event: by its title, else by its attendees; and what of the title is nobody."""
    parts = [part.strip() for text in _list(event.get("SUMMARY")) for part in str(text).split(",")]
    found = [people[fold(part)] for part in parts if fold(part) in people]
    if not found:
        found = [name for one in _list(event.get("ATTENDEE")) for name in _attendee(one, people)]
        if found:
            return tuple(dict.fromkeys(found)), ""
    unknown = ", ".join(part for part in parts if part and fold(part) not in people)
    return tuple(dict.fromkeys(found)), unknown if found or unknown else "(no title)"


def _attendee(attendee: Any, people: Mapping[str, str]) -> Iterator[str]:
    parameters = getattr(attendee, "params", {})
    if str(parameters.get("PARTSTAT", "")).upper() == "DECLINED":
        return
    address = str(attendee)
    if address[:7].lower() == "mailto:":
        address = address[7:]
    for text in (*map(str, _list(parameters.get("CN"))), address):
        if fold(text) in people:
            yield people[fold(text)]


def _instant(value: date | datetime, zone: tzinfo | None, *, end: bool = False) -> datetime:
    if not isinstance(value, datetime):
        value = datetime.combine(value, time())
    return instant(value, zone, end=end)


def _title(event: Any) -> str:
    return one_line(", ".join(map(str, _list(event.get("SUMMARY")))), 60) or "(no title)"


def _not_understood(title: str, why: str) -> str:
    return f"the event {quoted(title)} is not understood: {one_line(why, 150)}"


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__} {error}"


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _number(at: datetime) -> int:
    return (at - _EPOCH) // _WINDOW


def _begin(number: int) -> datetime:
    return _EPOCH + number * _WINDOW
