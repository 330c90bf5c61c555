"""When a time zone's clocks are changed. Pure, beside the IANA database that zoneinfo holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise


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
