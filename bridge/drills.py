"""Drills, and tests of phones and receivers: incidents of which nothing is wrong. Pure.

They ring by the machinery that everything rings by: what is drilled is what will be needed. What makes
them different is the policy, which the slot names, and that they end by themselves.

A drill rings at agreed hours, and each who takes part has an incident of their own: one who answers
confirms for nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from typing import Final, Literal, TypeAlias, get_args

from bridge import lifecycle
from bridge.alerts import DRILL_SOURCE, Alert, Notification, fingerprint
from bridge.incidents import Change, Incident, Slot, State
from bridge.lifecycle import Destination, Times
from bridge.oncall import OnCall
from bridge.policy import Receiver, Ring, Step
from bridge.schedules import HORIZON, instant
from bridge.timeintervals import TimeInterval

Kind: TypeAlias = Literal["device", "receiver"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
"""What can be tried out by hand."""

Each: TypeAlias = Literal["person", "device"]

ONE_CALL: Final = Ring(times=1)
_DAY: Final = timedelta(days=1)
ONE_PHONE: Final = timedelta(minutes=3)
_ABANDONED: Final = timedelta(days=3)
"""A mark that nobody has set for so long is of a drill that no bridge has any more."""
_SPARE: Final = timedelta(minutes=1)
_NEVER: Final = timedelta(days=1)
"""Longer than any drill: its own time ends it."""


@dataclass(frozen=True, slots=True)
class Hours:
    """When a drill rings: at `at` of the days that `days` has, whose zone says where the clock hangs.

    A time that the clocks skip means the moment of the change, one that they show twice the first.
    """

    at: time
    days: TimeInterval

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Give each hour after `after`, up to `until`, in UTC."""
        day = after.astimezone(self.days.zone).date() - _DAY
        last = until.astimezone(self.days.zone).date() + _DAY
        while day <= last:
            if self.days.has_day(day):
                found = instant(datetime.combine(day, self.at), self.days.zone)
                if after < found <= until:
                    yield found
            day += _DAY

    def coming(self, now: datetime) -> datetime | None:
        """Give the next hour; None where none is within HORIZON."""
        return next(self.between(now, now + HORIZON), None)


@dataclass(frozen=True, slots=True)
class Drill:
    """What rings at agreed hours: each person, or each device, that the receiver's steps or the groups reach.

    Who has not answered `within` is reported to the receiver `report_to`. A drill whose hour has passed
    by `late` is missed, and reported too.
    """

    name: str
    hours: Hours
    report_to: str
    receiver: str | None = None
    device_groups: tuple[str, ...] = ()
    each: Each = "person"
    within: timedelta = timedelta(minutes=15)
    late: timedelta = timedelta(minutes=30)
    ring: Ring = field(default_factory=Ring)


@dataclass(frozen=True, slots=True)
class Mark:
    """Up to when a drill's hours have been dealt with. `hours` says which hours: others begin anew."""

    name: str
    hours: str
    decided_until: datetime


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done about a drill's hours: the one to ring for, those that were missed; the new mark."""

    mark: Mark
    rings_for: datetime | None = None
    missed: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True)
class Member:
    """One who takes part: a person, or a device of `owner`; and their incident."""

    who: str
    owner: str
    incident: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it for one who took part. `at` is when they confirmed, `why` says why they did not."""

    who: str
    confirmed: bool
    at: datetime | None = None
    why: str = ""


def due(drill: Drill, mark: Mark | None, now: datetime, since: datetime | None = None) -> Due:
    """Say what is to be done. A drill that is new, or has other hours than before, begins with the next.

    `since` is from when on this bridge has had these very hours. A mark with other ones is then that of
    another bridge, whose configuration is not the same: each keeps to its own.
    """
    hours = repr(drill.hours)
    if mark is None or (mark.hours != hours and since is None):
        return Due(Mark(drill.name, hours, now))
    same = mark.hours == hours
    after = mark.decided_until if same or since is None else max(mark.decided_until, since)
    mark = Mark(drill.name, hours, after)
    found = tuple(drill.hours.between(after, now))
    if not found:
        return Due(replace(mark, decided_until=now) if same and now - after > _DAY else mark)
    mark = replace(mark, decided_until=found[-1])
    if now - found[-1] > drill.late:
        return Due(mark, missed=found)
    return Due(mark, found[-1], found[:-1])


def abandoned(mark: Mark, now: datetime) -> bool:
    """Tell whether no bridge has this drill any more: who has it looks once a day."""
    return now - mark.decided_until > _ABANDONED


def members(
    drill: Drill, receiver: Callable[[str], Receiver], on_call: OnCall, now: datetime
) -> tuple[Member, ...]:
    """Say who takes part: whom a receiver's steps reach at `now`, all of them, or the groups."""
    groups, otherwise = drill.device_groups, tuple[str, ...]()
    if drill.receiver is not None:
        policy = receiver(drill.receiver)
        groups = tuple(dict.fromkeys(name for step in policy.steps for name in step.device_groups))
        otherwise = policy.otherwise
    if drill.each == "person":
        return tuple(Member(person, person) for person in on_call.people(groups, now, otherwise))
    return tuple(Member(phone.name, phone.owner) for phone in on_call(groups, now, otherwise))


def result(member: Member, incident: Incident | None) -> Result:
    """Say whether one has confirmed: only their own answer counts."""
    if incident is None:
        return Result(member.who, False, why="nothing is known of it any more")
    if incident.acknowledged_by == member.owner:
        return Result(member.who, True, incident.acknowledged_at)
    return Result(member.who, False, why=_why_not(incident))


def _why_not(incident: Incident) -> str:
    if incident.acknowledged_by is not None:
        return f"{incident.acknowledged_by} acknowledged it instead"
    if incident.resolution == "gave way":
        return "it gave way to a real page"
    if incident.out:
        return "; ".join(f"{device}: {why}" for device, why in incident.out.items())
    return "did not answer" if incident.told else "no phone could be rung"


def waits(incident: Incident | None) -> bool:
    """Tell whether an answer may still come."""
    return incident is not None and incident.state is State.TRIGGERED


def slot_of(drill: str, each: Each, member: Member, run: str) -> Slot:
    """Give the slot of one who takes part in a drill."""
    group = {each: member.who, "drill": drill, "run": run}
    return Slot(DRILL_SOURCE, drill, tuple(sorted(group.items())))


def slot(kind: Kind, name: str, run: str) -> Slot:
    """Give the slot of what is tried out: one of its own for each `run`, so that nothing real is in it."""
    return Slot(DRILL_SOURCE, name, tuple(sorted({kind: name, "run": run}.items())))


def policy(slot: Slot, receiver: Callable[[str], Receiver], drills: Mapping[str, Drill]) -> Receiver:
    """Give the policy of a drill's incident: the receiver's own, or one step for the one who is tried out.

    The ring of a drill that a reload took away is the usual one.
    """
    named = dict(slot.group)
    if "receiver" in named:
        return _ending(receiver(named["receiver"]))
    drill = drills.get(named.get("drill", ""))
    ring = ONE_CALL if "drill" not in named else Ring() if drill is None else drill.ring
    owners, devices = (tuple(named[key] for key in (key,) if key in named) for key in ("person", "device"))
    step = Step(owners=owners, devices=devices, ring=ring, then_after=_NEVER)
    return _ending(Receiver(slot.receiver, (step,)))


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
