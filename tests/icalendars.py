"""iCalendars for tests, written line by line."""

from __future__ import annotations

from collections.abc import Sequence


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
