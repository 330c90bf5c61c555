"""Whom a device group reaches at an instant. Pure: the phones' state and the time are passed in."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cached_property
from operator import attrgetter
from typing import Any, Final

import msgspec

from bridge.policy import Receiver
from bridge.pushes import PushKind
from bridge.schedules import AHEAD, Duty, Override, Schedule, gaps
from bridge.zones import local

_NAME: Final = attrgetter("name")
_OWNER: Final = attrgetter("owner")


@dataclass(frozen=True, slots=True)
class DeviceGroup:
    """Named people and devices, as the routing rules reach them; of schedules, whoever is on call."""

    name: str
    owners: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    schedules: tuple[str, ...] = ()


class Phone(msgspec.Struct, frozen=True):
    """What a decision needs to know of a device: whose it is, and which of its tokens can be used now.

    `trouble` says in words why a token cannot be used, None when all is well.
    """

    name: str
    owner: str
    voip: bool = True
    alert: bool = False
    enrolled: bool = False
    trouble: str | None = None

    def usable(self, push: PushKind) -> bool:
        """Tell whether a push of this kind, or the alert push that stands in for a call, can reach it."""
        return self.alert or (push == "voip" and self.voip)


class Phones(tuple[Phone, ...]):  # noqa: SLOT001 - what is sorted needs a place
    """Phones, found by name and by owner: sorted once, however many decisions ask.

    Not by dictionaries: those of a hundred thousand phones take nearly as much memory as the phones.
    """

    def named(self, name: str) -> Phone | None:
        """Give the phone of this name."""
        place = bisect_left(self._by_name, name, key=_NAME)
        found = self._by_name[place : place + 1]
        return found[0] if found and found[0].name == name else None

    def of(self, owner: str) -> tuple[Phone, ...]:
        """List this person's phones."""
        first = bisect_left(self._by_owner, owner, key=_OWNER)
        return self._by_owner[first : bisect_right(self._by_owner, owner, first, key=_OWNER)]

    @cached_property
    def _by_name(self) -> tuple[Phone, ...]:
        return tuple(sorted(self, key=_NAME))

    @cached_property
    def _by_owner(self) -> tuple[Phone, ...]:
        return tuple(sorted(self, key=_OWNER))


class Roster(msgspec.Struct, frozen=True):
    """What the ledger knows of who can be rung: every phone in its present state, overrides by schedule."""

    phones: tuple[Phone, ...] = ()
    overrides: Mapping[str, tuple[Override, ...]] = {}


class OnCall(msgspec.Struct, frozen=True):
    """Answers who carries the phone: the device groups, every phone in its present state, the schedules."""

    directory: Mapping[str, DeviceGroup]
    phones: tuple[Phone, ...]
    schedules: Mapping[str, Schedule] = {}

    def __call__(
        self, groups: Sequence[str], now: datetime, otherwise: Sequence[str] = ()
    ) -> tuple[Phone, ...]:
        """List each phone that these groups reach at `now` once, usable or not, in the order of naming.

        Where there is a gap, those of the groups `otherwise` follow: it must not mean that nobody is rung.
        """
        found = self._reach(groups, now)
        return tuple((found | self._reach(otherwise, now) if self.gap(groups, now) else found).values())

    def people(self, groups: Sequence[str], now: datetime, otherwise: Sequence[str] = ()) -> tuple[str, ...]:
        """Name whose phones these groups reach at `now`, and who has none, in the order of naming.

        Where there is a gap, those of the groups `otherwise` follow.
        """
        found = self._named(groups, now)
        return tuple(found | self._named(otherwise, now) if self.gap(groups, now) else found)

    def gap(self, groups: Sequence[str], now: datetime) -> str | None:
        """Say what these groups lack at `now`: somebody on call by each schedule, or any phone."""
        empty = [schedule.name for schedule, duty in self.duties(groups, now) if not duty.people]
        if empty:
            return f"nobody is on call by {', '.join(empty)}"
        return f"{', '.join(groups)} holds no device" if groups and not self._reach(groups, now) else None

    def duties(self, groups: Sequence[str], now: datetime) -> Iterator[tuple[Schedule, Duty]]:
        """Give each schedule of these groups, and who carries the phone by it at `now`."""
        for name in dict.fromkeys(name for group in self._known(groups) for name in group.schedules):
            yield self.schedules[name], self.schedules[name].duty(now)

    def phone(self, name: str) -> Phone | None:
        """Give the phone of this name; None for one that is gone."""
        return self._sorted.named(name)

    def of(self, owner: str) -> tuple[Phone, ...]:
        """List this person's phones."""
        return self._sorted.of(owner)

    def others(self, name: str) -> tuple[Phone, ...]:
        """List the other phones of this phone's owner."""
        phone = self.phone(name)
        if phone is None:
            return ()
        return tuple(one for one in self.of(phone.owner) if one.name != name)

    @property
    def _sorted(self) -> Phones:
        return self.phones if isinstance(self.phones, Phones) else Phones(self.phones)

    def _known(self, groups: Sequence[str]) -> Iterator[DeviceGroup]:
        """Pass over a group that a reload took away while an incident still names it."""
        return (self.directory[name] for name in groups if name in self.directory)

    def _named(self, groups: Sequence[str], now: datetime) -> dict[str, None]:
        found: list[str] = []
        for group in self._known(groups):
            found += [person for name in group.schedules for person in self.schedules[name].who(now)]
            found += group.owners
            found += [phone.owner for phone in map(self.phone, group.devices) if phone is not None]
        return dict.fromkeys(found)

    def _reach(self, groups: Sequence[str], now: datetime) -> dict[str, Phone]:
        phones = self._sorted
        found: dict[str, Phone] = {}
        for group in self._known(groups):
            on_duty = (person for name in group.schedules for person in self.schedules[name].who(now))
            for owner in (*on_duty, *group.owners):
                found.update((phone.name, phone) for phone in phones.of(owner))
            named = map(phones.named, group.devices)
            found.update((phone.name, phone) for phone in named if phone is not None)
        return found


def receivers_of(
    owner: str,
    devices: Collection[str],
    receivers: Iterable[Receiver],
    on_call: OnCall,
    now: datetime,
) -> frozenset[str]:
    """Name the receivers that can ring this person, whoever carries the phone now."""
    mine = {name for name, schedule in on_call.schedules.items() if owner in schedule.people(now)}
    groups = {
        group.name
        for group in on_call.directory.values()
        if owner in group.owners
        or not set(devices).isdisjoint(group.devices)
        or not mine.isdisjoint(group.schedules)
    }
    return frozenset(
        receiver.name
        for receiver in receivers
        if any(not groups.isdisjoint((*step.device_groups, *receiver.otherwise)) for step in receiver.steps)
    )


def duty(schedule: Schedule, now: datetime) -> str:
    """Tell people who carries the phone by a schedule at `now`, why, and until when."""
    found, coming = schedule.duty(now), schedule.coming(now)
    until = f", until {local(coming.start, schedule.zone)}" if coming else ""
    return f"{schedule.name}: {', '.join(found.people) or 'nobody'} ({found.why}){until}"


def outlook(schedule: Schedule, now: datetime) -> dict[str, Any]:
    """Give for JSON what `duty` tells, who follows, the gaps of the coming weeks, and overrides not over."""
    zone, found, coming = schedule.zone, schedule.duty(now), schedule.coming(now)
    return {
        "schedule": schedule.name,
        "time_zone": "Local" if zone is None else str(zone),
        "people": found.people,
        "why": found.why,
        "until": None if coming is None else coming.start.astimezone(zone),
        "next": None if coming is None else {"people": coming.people, "until": coming.end.astimezone(zone)},
        "gaps": [
            {"from": gap.start.astimezone(zone), "to": gap.end.astimezone(zone)}
            for gap in gaps(schedule, now, now + AHEAD)
        ],
        "overrides": [told(one, zone) for one in schedule.overrides if one.end > now],
    }


def told(override: Override, zone: tzinfo | None) -> dict[str, Any]:
    """Give an override for JSON, in local times."""
    return {
        "id": override.id,
        "person": override.person,
        "from": override.start.astimezone(zone),
        "to": override.end.astimezone(zone),
        "by": override.by or "the configuration",
    }
