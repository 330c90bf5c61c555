"""Whom a device group reaches at an instant. Pure: the phones' state and the time are passed in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

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


class OnCall(Protocol):
    """Answers who carries the phone for these device groups at `now`."""

    def __call__(self, groups: Sequence[str], now: datetime) -> tuple[Phone, ...]: ...


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
