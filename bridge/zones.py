"""Time zones by name, and when their clocks are changed. Pure, beside the database that zoneinfo reads."""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

from bridge.matchers import quoted


def find_zone(name: str) -> tzinfo | None:
    """Find an IANA time zone; "" is UTC, and None stands for `Local`, this machine's own zone.

    Raises ValueError. The names are those of Go's time.LoadLocation.
    """
    if name in {"", "UTC"}:
        return UTC
    if name == "Local":
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # not found; not a name; a folder of the database
        names = {known.lower(): known for known in available_timezones()}
        near = difflib.get_close_matches(name[:100].lower(), names, n=1)
    hint = (
        f"did you mean {quoted(names[near[0]])}?"
        if near
        else "write for instance Europe/Berlin, UTC or Local"
    )
    raise ValueError(f"{quoted(name)} is not a time zone; {hint}")


def local(at: datetime, zone: tzinfo | None) -> str:
    """Write an instant as people in the zone read it: `Mon 2026-01-05 09:00 CET`."""
    return f"{at.astimezone(zone):%a %Y-%m-%d %H:%M %Z}"


def next_change(zone: tzinfo | None, t: datetime, until: datetime) -> datetime:
    """Give the first instant after `t` at which the zone's offset changes, or `until` if that is first.

    Both instants and the answer are in UTC; the zone None is this machine's own.
    """
    for year in range(t.year, until.year + 1):
        for change in _transitions(zone, year):
            if change > t:
                return min(change, until)
    return until


@lru_cache(maxsize=4096)
def _transitions(zone: tzinfo | None, year: int) -> tuple[datetime, ...]:
    """List the instants of one UTC year at which the zone's offset changes, to the second.

    The database tells no list; two changes within one day that undo each other would be missed.
    """
    start = datetime(year, 1, 1, tzinfo=UTC)
    end = datetime(year + 1, 1, 1, tzinfo=UTC)
    days = [start + timedelta(days=n) for n in range((end - start).days + 1)]
    return tuple(_bisect(zone, a, b) for a, b in pairwise(days) if _offset(zone, a) != _offset(zone, b))


def _bisect(zone: tzinfo | None, before: datetime, after: datetime) -> datetime:
    old = _offset(zone, before)
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // timedelta(seconds=2) * timedelta(seconds=1)
        before, after = (middle, after) if _offset(zone, middle) == old else (before, middle)
    return after


def _offset(zone: tzinfo | None, t: datetime) -> timedelta | None:
    return t.astimezone(zone).utcoffset()
