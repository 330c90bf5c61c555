"""Who carries the phone: rotations in layers, calendars, and overrides on top. Pure: `now` is passed in.

Wall-clock times are local to the schedule's zone. One that the clocks skip in spring means the moment
of the change; one that they show twice in autumn means the first, where something begins, and the
second, where it ends: so an override is never shorter than it looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from typing import Final, Protocol

from bridge.timeintervals import TimeInterval
from bridge.zones import next_change

AHEAD: Final = timedelta(weeks=4)
"""How far ahead gaps are looked for."""

HORIZON: Final = timedelta(days=400)
"""How far ahead the next change is looked for."""

_MONTH: Final = timedelta(days=31)


@dataclass(frozen=True, slots=True)
class Layer:
    """People who take turns: each for `every`, from `start` (naive, local) on, the first one first.

    `every` is local time too: a week ends at the same hour also when the clocks were changed in it.
    With `during`, the layer has nobody outside of these intervals.
    """

    members: tuple[str, ...]
    start: datetime
    every: timedelta
    during: tuple[TimeInterval, ...] = ()

    def who(self, zone: tzinfo | None, now: datetime) -> str | None:
        """Name the one whose turn it is at an instant; None before the start and outside of `during`."""
        turn = self._turn(zone, now)
        if turn < 0 or (self.during and not any(one.contains(now) for one in self.during)):
            return None
        return self.members[turn % len(self.members)]

    def next_change(self, zone: tzinfo | None, now: datetime, limit: datetime) -> datetime:
        """Give an instant after `now`, `limit` at the latest, before which `who` stays the same."""
        found = min(limit, self._begin(zone, self._turn(zone, now) + 1))
        return min([found, *(one.steady_until(now, found) for one in self.during)])

    def _turn(self, zone: tzinfo | None, now: datetime) -> int:
        """Count the turns from 0; -1 is before the start."""
        wall = now.astimezone(zone).replace(tzinfo=None)
        turn = max((wall - self.start) // self.every, -1)
        # A clock that was turned back shows the time of the turn before: what has begun has begun.
        while self._begin(zone, turn + 1) <= now:
            turn += 1
        return turn

    def _begin(self, zone: tzinfo | None, turn: int) -> datetime:
        return instant(self.start + turn * self.every, zone)


@dataclass(frozen=True, slots=True)
class Override:
    """Somebody else, from `start` to `end` (aware; the end is excluded).

    `by` wrote it, "" = the configuration; `id` is that of one written at run time.
    """

    person: str
    start: datetime
    end: datetime
    by: str = ""
    id: int | None = None

    def holds(self, now: datetime) -> bool:
        """Tell whether it holds at an instant."""
        return self.start <= now < self.end


class Calendar(Protocol):
    """Who carries the phone by somebody else's calendar; see `calendars`."""

    def who(self, now: datetime) -> tuple[str, ...]:
        """Name those who have an event at an instant."""
        ...

    def next_change(self, now: datetime, limit: datetime) -> datetime:
        """Give an instant after `now`, `limit` at the latest, before which `who` stays the same."""
        ...


@dataclass(frozen=True, slots=True)
class Duty:
    """Who carries the phone, nobody in a gap; and what says so."""

    people: tuple[str, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Shift:
    """A stretch of time with the same people; nobody in a gap."""

    people: tuple[str, ...]
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Schedule:
    """Layers, of which the last that has somebody counts, or a calendar; an override beats both.

    Of several overrides that hold, the last one written counts. The zone None is this machine's own.
    """

    name: str
    zone: tzinfo | None = UTC
    layers: tuple[Layer, ...] = ()
    overrides: tuple[Override, ...] = ()
    calendar: Calendar | None = None

    def duty(self, now: datetime) -> Duty:
        """Say who carries the phone at an instant, and why."""
        for override in reversed(self.overrides):
            if override.holds(now):
                return Duty((override.person,), f"an override by {override.by or 'the configuration'}")
        if self.calendar is not None:
            people = self.calendar.who(now)
            return Duty(people, "its calendar" if people else "a gap in its calendar")
        for number, layer in reversed(tuple(enumerate(self.layers, 1))):
            person = layer.who(self.zone, now)
            if person is not None:
                return Duty((person,), f"layer {number}")
        return Duty((), "a gap")

    def who(self, now: datetime) -> tuple[str, ...]:
        """Name who carries the phone at an instant; nobody in a gap."""
        return self.duty(now).people

    def next_change(self, now: datetime, limit: datetime) -> datetime:
        """Give an instant after `now` (UTC), `limit` at the latest, before which `who` stays the same."""
        edges = (edge for one in self.overrides for edge in (one.start, one.end) if edge > now)
        found = min([limit, *edges])
        if self.calendar is not None:
            return self.calendar.next_change(now, found)
        return min([found, *(layer.next_change(self.zone, now, found) for layer in self.layers)])

    def shifts(self, start: datetime, end: datetime) -> Iterator[Shift]:
        """List who carries the phone from `start` to `end` (UTC), each stretch once."""
        begun, people = start, self.who(start)
        at = start
        while at < end:
            at = self.next_change(at, end)
            after = self.who(at) if at < end else None
            if after != people:
                yield Shift(people, begun, at)
                begun, people = at, after or ()

    def coming(self, now: datetime) -> Shift | None:
        """Give the next shift after the present one; None when nothing changes within HORIZON."""
        return next(islice(self.shifts(now, now + HORIZON), 1, None), None)

    def people(self, now: datetime) -> frozenset[str]:
        """Name everyone who may carry the phone; of a calendar, those of a month before and after `now`."""
        named = {person for layer in self.layers for person in layer.members}
        named |= {one.person for one in self.overrides}
        if self.calendar is not None:
            near = self.shifts(now - _MONTH, now + _MONTH)
            named |= {person for shift in near for person in shift.people}
        return frozenset(named)


def gaps(schedule: Schedule, start: datetime, end: datetime) -> Iterator[Shift]:
    """List the stretches without anybody from `start` to `end` (UTC)."""
    return (shift for shift in schedule.shifts(start, end) if not shift.people)


def instant(wall: datetime, zone: tzinfo | None, *, end: bool = False) -> datetime:
    """Give the instant (UTC) of a local time (naive); the module says what of times that are none, or two.

    One with an offset is an instant already.
    """
    if wall.tzinfo is not None:
        return wall.astimezone(UTC)
    found = wall.replace(tzinfo=zone, fold=int(end)).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wall:
        return found
    # Skipped: read with the offset before the gap, it lies after the change; with the one behind it, before.
    before = min(wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return next_change(zone, before - timedelta(seconds=1), before + timedelta(days=1))


def with_overrides(schedule: Schedule, more: Iterable[Override]) -> Schedule:
    """Give the schedule with overrides that were written at run time, after its own."""
    return replace(schedule, overrides=(*schedule.overrides, *more))
