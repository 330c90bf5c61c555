"""Times and spans in the words of the console. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class When:
    """An instant. `iso` is for machines, `text` for people (UTC), `far` how long ago, or in how long."""

    iso: str
    text: str
    far: str
    future: bool


def when(at: datetime, now: datetime) -> When:
    """Tell an instant; one of another day comes with its date."""
    utc = at.astimezone(UTC)
    same_day = utc.date() == now.astimezone(UTC).date()
    text = utc.strftime("%H:%M:%S" if same_day else "%Y-%m-%d %H:%M") + " UTC"
    future = at > now
    far = f"in {rough(at - now)}" if future else f"{rough(now - at)} ago"
    return When(utc.isoformat(timespec="milliseconds"), text, far, future)


def maybe(at: datetime | None, now: datetime) -> When | None:
    """Tell an instant that may not have come."""
    return None if at is None else when(at, now)


def rough(span: timedelta) -> str:
    """Give a span in its largest unit: 12 s, 3 min, 2 h, 5 days."""
    seconds = max(int(span.total_seconds()), 0)
    for size, unit in ((86_400, "day"), (3600, "h"), (60, "min")):
        count = seconds // size
        if count >= (2 if unit == "day" else 1):
            return f"{count} {unit}s" if unit == "day" else f"{count} {unit}"
    return f"{seconds} s"


def exact(span: timedelta) -> str:
    """Give a delay as it is read off a clock: 140 ms, 11.2 s, 3 min 20 s, 2 h 5 min."""
    seconds = max(span.total_seconds(), 0.0)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def spelled(span: timedelta) -> str:
    """Write a span as the configuration does, in whole seconds: 45s, 1m30s, 2h."""
    minutes, seconds = divmod(int(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{value}{unit}" for value, unit in parts if value) or "0s"
