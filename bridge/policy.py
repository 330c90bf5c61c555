"""How hard to ring and whom: what a receiver says. Pure values, built by the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

from bridge.pushes import PushKind

InterruptionLevel: TypeAlias = Literal["critical", "time-sensitive", "active", "passive"]


@dataclass(frozen=True, slots=True)
class Ring:
    """One step rings every `every`, `times` times, each call lasting at most `lasts` (key `for`)."""

    every: timedelta = timedelta(seconds=45)
    times: int = 4
    lasts: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Step:
    """One escalation step: its targets, how to reach them, and when to go on to the next.

    The phones of `owners`, and `devices`, ring beside the groups: a drill names them by themselves. For a
    device that is named so no other one of its owner stands in.

    `webhooks` are names in `Settings.webhooks`: the URL is looked up when a page is sent,
    so that a reload that mends the URL mends the pages that wait.
    """

    device_groups: tuple[str, ...] = ()
    webhooks: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    push: PushKind = "voip"
    interruption_level: InterruptionLevel = "time-sensitive"
    ring: Ring = Ring()
    then_after: timedelta = timedelta(minutes=3)


@dataclass(frozen=True, slots=True)
class Receiver:
    """An escalation policy under Alertmanager's word for it.

    `repeat` is how many times the steps begin anew after the last one; then the incident
    ends as unanswered. A policy that reached no phone at all is repeated without end,
    if it is `endless`.
    `receipt_timeout` is how long an enrolled phone has to say that it got a push, from APNs'
    acceptance; `ack_timeout` how long an acknowledgement holds, None = until the incident ends.
    `ack_creates_silence` is how long a silence lasts that an acknowledgement makes in Alertmanager, None =
    it makes none.
    `otherwise` are the device groups that ring where a schedule has a gap, or a step has no device.
    """

    name: str
    steps: tuple[Step, ...]
    notify_resolved: bool = True
    notify_acknowledged: bool = True
    repeat: int = 0
    receipt_timeout: timedelta = timedelta(seconds=10)
    ack_timeout: timedelta | None = None
    ack_creates_silence: timedelta | None = None
    otherwise: tuple[str, ...] = ()
    endless: bool = True

    @property
    def rings_phones(self) -> bool:
        """Whether it has any phones to ring, and not outgoing webhooks alone."""
        return bool(self.otherwise) or any(
            step.device_groups or step.owners or step.devices for step in self.steps
        )
