"""Drills, and tests of phones and receivers: incidents of which nothing is wrong. Pure.

They ring by the machinery that everything rings by: what is drilled is what will be needed. What makes
them different is the policy, which the slot names, and that they end by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias, get_args

from bridge import lifecycle
from bridge.alerts import DRILL_SOURCE, Alert, Notification, fingerprint
from bridge.incidents import Change, Slot
from bridge.lifecycle import Destination, Times
from bridge.oncall import OnCall
from bridge.policy import Receiver, Ring, Step

Kind: TypeAlias = Literal["device", "receiver"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

ONE_CALL: Final = Ring(times=1)
ONE_PHONE: Final = timedelta(minutes=3)
_SPARE: Final = timedelta(minutes=1)
_NEVER: Final = timedelta(days=1)
"""Longer than any drill: its own time ends it."""


def slot(kind: Kind, name: str, run: str) -> Slot:
    """Give the slot of what is tried out: one of its own for each `run`, so that nothing real is in it."""
    return Slot(DRILL_SOURCE, name, tuple(sorted({kind: name, "run": run}.items())))


def policy(slot: Slot, receiver: Callable[[str], Receiver]) -> Receiver:
    """Give the policy of a drill's incident: the receiver's own, or one call to the one phone."""
    named = dict(slot.group)
    if "device" in named:
        step = Step(devices=(named["device"],), ring=ONE_CALL, then_after=_NEVER)
        return _ending(Receiver(slot.receiver, (step,)))
    return _ending(receiver(named["receiver"]))


def lasts(policy: Receiver) -> timedelta:
    """Give how long a test by this policy takes at the most: of a phone long enough for a call that is up."""
    if any(step.devices for step in policy.steps):
        return ONE_PHONE
    rounds = (policy.repeat + 1) * sum((step.then_after for step in policy.steps), timedelta())
    return rounds + _SPARE


def _ending(receiver: Receiver) -> Receiver:
    """Nothing is to be mended: when it is over nobody needs to be told, and nobody has it for long."""
    return replace(receiver, notify_resolved=False, ack_timeout=None, endless=False)


def begin(
    slot: Slot, title: str, summary: str, lasts: timedelta, policy: Receiver, on_call: OnCall, now: datetime
) -> Change:
    """Let it ring, for `lasts` at the most."""
    labels = {"alertname": title, **dict(slot.group)}
    alert = Alert(fingerprint(labels), True, labels, {"summary": summary}, now)
    ways = {alert.fingerprint: (Destination(slot),)}
    notification = Notification(DRILL_SOURCE, (alert,), group_key=title)
    times = Times(alert_ttl=lasts)
    (change,) = lifecycle.receive({}, notification, ways, lambda _: policy, on_call, times, now)
    return change
