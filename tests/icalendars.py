"""iCalendars for tests, written line by line, and what is read out of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from bridge.calendars import Agenda, read, spellings
from bridge.schedules import Schedule

BERLIN = ZoneInfo("Europe/Berlin")
PEOPLE: dict[str, Collection[str]] = {
    "alice": ["Alice Smith", "alice@example.com"],
    "bob": [],
    "carol": ["C. O'Call"],
}
NAMES = spellings(PEOPLE)


def event(*lines: str, uid: str = "one") -> str:
    return "\r\n".join(["BEGIN:VEVENT", *([f"UID:{uid}"] if uid else []), *lines, "END:VEVENT", ""])


def ical(*events: str, head: Sequence[str] = ()) -> str:
    top = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//tests//EN", *head, ""]
    return "\r\n".join(top) + "".join(events) + "END:VCALENDAR\r\n"


def shift(
    person: str, start: str, end: str, *more: str, uid: str = "one", zone: str = "Europe/Berlin"
) -> str:
    """An event with local times such as 20260105T090000; zone "" = floating."""
    at = f";TZID={zone}" if zone else ""
    return event(f"SUMMARY:{person}", f"DTSTART{at}:{start}", f"DTEND{at}:{end}", *more, uid=uid)


def agenda(*events: str, head: Sequence[str] = (), zone: ZoneInfo = BERLIN) -> Agenda:
    return read(ical(*events, head=head), zone, NAMES)


def at(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone).astimezone(UTC)


def shifts(mine: Agenda, start: str, end: str, zone: ZoneInfo = BERLIN) -> list[str]:
    """What `Schedule.shifts` gives, without gaps: `alice 01-05 09:00 - 01-06 09:00`, in local time."""
    found = Schedule("primary", zone, calendar=mine).shifts(at(start, zone), at(end, zone))
    return [
        f"{'+'.join(one.people)} {one.start.astimezone(zone):%m-%d %H:%M} - {one.end.astimezone(zone):%m-%d %H:%M}"
        for one in found
        if one.people
    ]


def days(mine: Agenda) -> list[str]:
    """The days of January on which alice's shifts begin; bob's are none."""
    return [one[9:11] for one in shifts(mine, "2026-01-01", "2026-02-01") if one.startswith("alice")]


def doubts(mine: Agenda) -> tuple[str, ...]:
    return mine.doubts(at("2026-01-01"), at("2026-01-31"))


NIGHT = ("20260105T220000", "20260106T060000")
"""A Monday."""
MASTER = shift("alice", NIGHT[0], "20260105T230000", "RRULE:FREQ=DAILY;COUNT=3")
"""Every night at ten, three times."""
