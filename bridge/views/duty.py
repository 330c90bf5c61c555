"""Who is on call now and next, by schedule and by receiver. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bridge.oncall import OnCall, Phone
from bridge.policy import Receiver, Step
from bridge.pushes import PushKind
from bridge.schedules import Schedule, Shift
from bridge.views.ringing import targets
from bridge.views.times import When, rough, when
from bridge.zones import local

WEEKS: Final = timedelta(days=14)
"""How far ahead shifts are drawn."""

_HUES: Final = 6


@dataclass(frozen=True, slots=True)
class Turn:
    """Somebody's turn by a schedule, in its local time. `people` empty: a gap."""

    people: tuple[str, ...]
    start: When
    end: When
    text: str


@dataclass(frozen=True, slots=True)
class Duty:
    """A schedule at an instant. `until` None: nothing changes in sight."""

    name: str
    zone: str
    people: tuple[str, ...]
    why: str
    until: When | None
    until_text: str
    following: Turn | None

    @property
    def gap(self) -> bool:
        """Whether nobody carries the phone."""
        return not self.people


def duty(schedule: Schedule, now: datetime) -> Duty:
    """Say who carries the phone by a schedule, until when, and who follows."""
    found, coming = schedule.duty(now), schedule.coming(now)
    return Duty(
        name=schedule.name,
        zone="this machine's time" if schedule.zone is None else str(schedule.zone),
        people=found.people,
        why=found.why,
        until=None if coming is None else when(coming.start, now),
        until_text="" if coming is None else local(coming.start, schedule.zone),
        following=None if coming is None else _turn(schedule, coming, now),
    )


def _turn(schedule: Schedule, shift: Shift, now: datetime) -> Turn:
    text = f"{local(shift.start, schedule.zone)} to {local(shift.end, schedule.zone)}"
    return Turn(shift.people, when(shift.start, now), when(shift.end, now), text)


@dataclass(frozen=True, slots=True)
class Bar:
    """A shift in the picture of the coming days: `x` and `width` in percent; `hue` 0: a gap."""

    who: str
    text: str
    x: float
    width: float
    hue: int


def bars(schedule: Schedule, now: datetime) -> tuple[Bar, ...]:
    """Draw the shifts of the coming days."""
    shifts = tuple(schedule.shifts(now, now + WEEKS))
    people = sorted({person for shift in shifts for person in shift.people})
    found = []
    for shift in shifts:
        x, end = (100 * ((at - now) / WEEKS) for at in (shift.start, shift.end))
        who = ", ".join(shift.people) or "nobody"
        hue = people.index(shift.people[0]) % _HUES + 1 if shift.people else 0
        text = f"{who}, {local(shift.start, schedule.zone)} to {local(shift.end, schedule.zone)}"
        found.append(Bar(who, text, round(x, 3), round(max(end - x, 0.2), 3), hue))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Reached:
    """A phone of a step: what a push does to it. `rings` False: it cannot."""

    phone: str
    owner: str
    rings: bool
    text: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of a receiver at an instant. `pace` says how often, `gap` what its groups lack."""

    number: int
    pace: str
    duties: tuple[str, ...]
    reached: tuple[Reached, ...]
    webhooks: tuple[str, ...]
    gap: str | None

    @property
    def whom(self) -> str:
        """Name those whom it can reach."""
        owners = dict.fromkeys(one.owner for one in self.reached if one.rings)
        return ", ".join([*owners, *self.webhooks]) or "nobody"


def stages(policy: Receiver, on_call: OnCall, now: datetime) -> tuple[Stage, ...]:
    """Say what a receiver would do at an instant, step by step."""
    return tuple(_stage(number, step, policy, on_call, now) for number, step in enumerate(policy.steps, 1))


def _stage(number: int, step: Step, policy: Receiver, on_call: OnCall, now: datetime) -> Stage:
    ring = step.ring
    how = "a call" if step.push == "voip" else "a notification"
    phones = targets(step, policy, on_call, now)
    pace = (
        f"{how} every {rough(ring.every)}, {ring.times} times" if step.device_groups or phones else "one post"
    )
    return Stage(
        number,
        f"{pace}; on to the next step after {rough(step.then_after)}",
        tuple(_duties(on_call, step, now)),
        tuple(_reached(phones, step.push)),
        step.webhooks,
        on_call.gap(step.device_groups, now),
    )


def _duties(on_call: OnCall, step: Step, now: datetime) -> Iterator[str]:
    for schedule, found in on_call.duties(step.device_groups, now):
        yield f"{schedule.name}: {', '.join(found.people) or 'nobody'} ({found.why})"


def _reached(phones: Iterable[Phone], push: PushKind) -> Iterator[Reached]:
    for phone in phones:
        if push == "voip" and phone.voip:
            yield Reached(phone.name, phone.owner, rings=True, text="rings")
        elif phone.usable(push):
            text = "a notification in place of a call" if push == "voip" else "a notification"
            yield Reached(phone.name, phone.owner, rings=True, text=text)
        else:
            text = f"cannot ring: {phone.trouble or 'it has no token for that'}"
            yield Reached(phone.name, phone.owner, rings=False, text=text)
