"""Who is on call now and next, by schedule and by receiver. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from bridge import oncall
from bridge.oncall import OnCall, Phone
from bridge.policy import Receiver, Step
from bridge.pushes import PushKind
from bridge.schedules import Schedule, Shift
from bridge.views.ringing import targets
from bridge.views.times import When, spelled, when
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
class Instead:
    """An override of a schedule, in its local time. `id` None: it stands in the configuration.

    `rings` False: the person has no phone that a call can reach.
    """

    id: int | None
    person: str
    text: str
    by: str
    holds: bool
    rings: bool


def instead(schedule: Schedule, phones: Iterable[Phone], now: datetime) -> tuple[Instead, ...]:
    """List a schedule's overrides that are not over, the first to begin first."""
    ringing = {phone.owner for phone in phones if phone.usable("voip")}
    found = sorted((one for one in schedule.overrides if one.end > now), key=lambda one: one.start)
    return tuple(
        Instead(
            one.id,
            one.person,
            f"{local(one.start, schedule.zone)} to {local(one.end, schedule.zone)}",
            one.by or "the configuration",
            one.holds(now),
            one.person in ringing,
        )
        for one in found
    )


@dataclass(frozen=True, slots=True)
class Bar:
    """A shift in the picture of the coming days: `x` and `width` in percent; `hue` 0: a gap."""

    who: str
    text: str
    x: float
    width: float
    hue: int


def bars(schedule: Schedule, now: datetime, people: Sequence[str]) -> tuple[Bar, ...]:
    """Draw the shifts of the coming days; one of `people` has the same hue in every schedule."""
    hues = {person: number % _HUES + 1 for number, person in enumerate(people)}
    found = []
    for shift in schedule.shifts(now, now + WEEKS):
        x, end = (100 * ((at - now) / WEEKS) for at in (shift.start, shift.end))
        who = ", ".join(shift.people) or "nobody"
        hue = hues.get(shift.people[0], _HUES) if shift.people else 0
        text = f"{who}, {local(shift.start, schedule.zone)} to {local(shift.end, schedule.zone)}"
        found.append(Bar(who, text, round(x, 3), round(max(end - x, 0.2), 3), hue))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Carrier:
    """Who carries the phone by a schedule at an instant. `until` None: nothing changes in sight."""

    schedule: str
    people: tuple[str, ...]
    why: str
    until: datetime | None
    text: str


@dataclass(frozen=True, slots=True)
class Reached:
    """A phone of a step: what a push does to it. `push` is what it gets, None: it cannot ring.

    `otherwise`: it is rung because the step's own groups have a gap.
    """

    phone: str
    owner: str
    push: PushKind | None
    text: str
    otherwise: bool = False

    @property
    def rings(self) -> bool:
        """Whether anything reaches it."""
        return self.push is not None


@dataclass(frozen=True, slots=True)
class Stage:
    """A step of a receiver at an instant. `pace` says how often, `gap` what its groups lack.

    `people` are those whom it is about, also who has no phone.
    """

    number: int
    step: Step
    pace: str
    duties: tuple[Carrier, ...]
    people: tuple[str, ...]
    reached: tuple[Reached, ...]
    webhooks: tuple[str, ...]
    gap: str | None

    @property
    def whom(self) -> str:
        """Name those whom it can reach."""
        owners = dict.fromkeys(one.owner for one in self.reached if one.rings)
        return ", ".join([*owners, *self.webhooks]) or "nobody"

    @property
    def phoneless(self) -> tuple[str, ...]:
        """Name who has no phone."""
        owners = {one.owner for one in self.reached}
        return tuple(person for person in self.people if person not in owners)


def stages(policy: Receiver, on_call: OnCall, now: datetime) -> tuple[Stage, ...]:
    """Say what a receiver would do at an instant, step by step."""
    return tuple(_stage(number, step, policy, on_call, now) for number, step in enumerate(policy.steps, 1))


def _stage(number: int, step: Step, policy: Receiver, on_call: OnCall, now: datetime) -> Stage:
    ring = step.ring
    how = "a call" if step.push == "voip" else "a notification"
    phones = targets(step, policy, on_call, now)
    pace = (
        f"{how} every {spelled(ring.every)}, {ring.times} times"
        if step.device_groups or phones
        else "one post"
    )
    people = on_call.people(step.device_groups, now, policy.otherwise)
    return Stage(
        number,
        step,
        f"{pace}; on to the next step after {spelled(step.then_after)}",
        tuple(_duties(on_call, step, now)),
        tuple(dict.fromkeys((*people, *step.owners))),
        tuple(_reached(phones, step, on_call, now)),
        step.webhooks,
        on_call.gap(step.device_groups, now),
    )


def _duties(on_call: OnCall, step: Step, now: datetime) -> Iterator[Carrier]:
    for schedule, found in on_call.duties(step.device_groups, now):
        coming = schedule.coming(now)
        text = oncall.duty(schedule, now)
        yield Carrier(schedule.name, found.people, found.why, coming.start if coming else None, text)


def _reached(phones: Iterable[Phone], step: Step, on_call: OnCall, now: datetime) -> Iterator[Reached]:
    own = {phone.name for phone in on_call(step.device_groups, now)}
    for phone in phones:
        named = phone.name in own or phone.owner in step.owners or phone.name in step.devices
        push, text = _would(phone, step.push)
        yield Reached(phone.name, phone.owner, push, text, otherwise=not named)


def _would(phone: Phone, push: PushKind) -> tuple[PushKind | None, str]:
    if push == "voip" and phone.voip:
        return "voip", "rings"
    if phone.usable(push):
        return "alert", "a notification in place of a call" if push == "voip" else "a notification"
    return None, f"cannot ring: {phone.trouble or 'it has no token for that'}"
