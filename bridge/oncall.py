"""Whom a device group reaches at an instant. Pure: the phones' state and the time are passed in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bridge.policy import Receiver
from bridge.pushes import PushKind


@dataclass(frozen=True, slots=True)
class DeviceGroup:
    """Named people and devices, as the routing rules reach them."""

    name: str
    owners: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Phone:
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


@dataclass(frozen=True, slots=True)
class OnCall:
    """Answers who carries the phone: the device groups, and every phone in its present state."""

    directory: Mapping[str, DeviceGroup]
    phones: tuple[Phone, ...]

    def __call__(self, groups: Sequence[str], now: datetime) -> tuple[Phone, ...]:
        """List the phones that these groups reach at `now`."""
        return reach(self.directory, self.phones, groups, now)

    def phone(self, name: str) -> Phone | None:
        """Give the phone of this name; None for one that is gone."""
        return next((phone for phone in self.phones if phone.name == name), None)

    def others(self, name: str) -> tuple[Phone, ...]:
        """List the other phones of this phone's owner."""
        phone = self.phone(name)
        if phone is None:
            return ()
        return tuple(one for one in self.phones if one.owner == phone.owner and one.name != name)


def reach(
    directory: Mapping[str, DeviceGroup], phones: Iterable[Phone], groups: Sequence[str], now: datetime
) -> tuple[Phone, ...]:
    """List each phone of these groups once, usable or not, in the order in which the groups name them."""
    del now  # schedules will ask for it; every caller passes it already
    by_name = {phone.name: phone for phone in phones}
    by_owner: dict[str, list[Phone]] = {}
    for phone in by_name.values():
        by_owner.setdefault(phone.owner, []).append(phone)
    found: dict[str, Phone] = {}
    for group in groups:
        members = directory.get(group)
        if members is None:  # a group that a reload took away while an incident still names it
            continue
        for owner in members.owners:
            found.update((phone.name, phone) for phone in by_owner.get(owner, []))
        found.update((name, by_name[name]) for name in members.devices if name in by_name)
    return tuple(found.values())


def receivers_of(
    owner: str, devices: Collection[str], receivers: Iterable[Receiver], directory: Mapping[str, DeviceGroup]
) -> frozenset[str]:
    """Name the receivers of which some step can ring this person, whoever carries the phone now."""
    groups = {
        group.name
        for group in directory.values()
        if owner in group.owners or not set(devices).isdisjoint(group.devices)
    }
    return frozenset(
        receiver.name
        for receiver in receivers
        if any(not groups.isdisjoint(step.device_groups) for step in receiver.steps)
    )


def describe(receiver: Receiver, on_call: OnCall, now: datetime) -> Iterator[str]:
    """Tell people what a receiver would do at `now`: each step, whose phones ring, which cannot, why."""
    for number, step in enumerate(receiver.steps, 1):
        ring = step.ring
        pace = f"every {_seconds(ring.every)}, {ring.times} times" if step.device_groups else "once"
        yield f"step {number} ({step.push}, {pace}; then on after {_seconds(step.then_after)})"
        phones = on_call(step.device_groups, now)
        for phone in phones:
            yield f"  {phone.name} of {phone.owner}: {_would(phone, step.push)}"
        if step.device_groups and not phones:
            yield f"  nobody: {', '.join(step.device_groups)} holds no device"
        for name in step.webhooks:
            yield f"  outgoing webhook {name}"


def _would(phone: Phone, push: PushKind) -> str:
    if push == "voip" and phone.voip:
        return "rings"
    if phone.usable(push):
        return "gets an alert push" + (" in place of a call" if push == "voip" else "")
    return f"cannot ring: {phone.trouble or f'it has no token for {push} pushes'}"


def _seconds(span: timedelta) -> str:
    minutes, seconds = divmod(int(span.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (seconds, "s"))
    return "".join(f"{value}{unit}" for value, unit in parts if value) or "0s"
