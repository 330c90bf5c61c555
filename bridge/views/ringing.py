"""Who has an incident, and what its next ring is, and why. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, TypeAlias

from bridge.incidents import Incident, State
from bridge.oncall import OnCall, Phone
from bridge.policy import Receiver, Step
from bridge.views.times import When, when

Tone: TypeAlias = Literal["bad", "warn", "good", "info", "quiet"]

_SEVERITIES: Final[dict[str, Tone]] = {
    "critical": "bad",
    "page": "bad",
    "error": "bad",
    "warning": "warn",
    "info": "info",
}


def severity_tone(severity: str) -> Tone:
    """Say how a severity looks; one that nobody knows is quiet."""
    return _SEVERITIES.get(severity.casefold(), "quiet")


@dataclass(frozen=True, slots=True)
class Holder:
    """How an incident stands, for people: `state` in a word, `who` has it, "" where nobody has."""

    state: str
    tone: Tone
    who: str = ""


def holder(incident: Incident) -> Holder:
    """Say who has an incident."""
    if incident.state is State.RESOLVED:
        return Holder("resolved", "good", incident.acknowledged_by or "")
    if incident.state is State.ACKNOWLEDGED:
        return Holder("acknowledged", "info", incident.acknowledged_by or "")
    return Holder("unanswered", "bad") if incident.unanswered_at else Holder("triggered", "bad")


@dataclass(frozen=True, slots=True)
class Next:
    """What the clock does to an incident next. `at` None: nothing, and `why` says why."""

    what: str
    why: str
    at: When | None = None


def upcoming(incident: Incident, policy: Receiver, on_call: OnCall, now: datetime) -> Next:
    """Say what happens next, whom it rings, and why then."""
    if incident.state is State.RESOLVED:
        return Next("rings nobody", incident.resolution or "it is over")
    if incident.state is State.ACKNOWLEDGED:
        return _acknowledged(incident, policy, on_call, now)
    at = incident.due_at
    if at is None:
        return Next("rings nobody any more", "the policy has ended and nobody answered")
    found = _silenced(incident, policy, on_call, at) or _ring(incident, policy, on_call, at)
    return replace(found, at=when(at, now))


def _acknowledged(incident: Incident, policy: Receiver, on_call: OnCall, now: datetime) -> Next:
    who, until = incident.acknowledged_by or "somebody", incident.acknowledged_until
    if until is None:
        return Next("rings nobody", f"{who} has it")
    whom = _whom(policy.steps[0], policy, on_call, until)
    return Next(f"rings {whom} again", f"{who}'s acknowledgement times out then", when(until, now))


def _silenced(incident: Incident, policy: Receiver, on_call: OnCall, at: datetime) -> Next | None:
    if incident.silenced_until is None or incident.silenced_until < at:
        return None
    return Next(f"rings {_whom(policy.steps[0], policy, on_call, at)}", "silenced until then")


def _ring(incident: Incident, policy: Receiver, on_call: OnCall, at: datetime) -> Next:
    number = min(incident.step, len(policy.steps))
    step = policy.steps[number - 1]
    if incident.step_ends_at is not None and incident.step_ends_at <= at:
        return _next_step(incident, policy, on_call, at)
    whom = _whom(step, policy, on_call, at, incident.out)
    if incident.ring:
        times = max(step.ring.times, incident.ring + 1)
        return Next(f"rings {whom} again", f"step {number}, ring {incident.ring + 1} of {times}")
    if number > 1:
        return Next(f"rings {whom}", f"step {number} begins")
    if incident.round > 1:
        return Next(f"rings {whom}", f"round {incident.round}: nobody answered before")
    return Next(f"rings {whom}", "muted until then")


def _next_step(incident: Incident, policy: Receiver, on_call: OnCall, at: datetime) -> Next:
    if incident.step < len(policy.steps):
        whom = _whom(policy.steps[incident.step], policy, on_call, at)
        return Next(f"rings {whom}", f"step {incident.step + 1}: nobody answered step {incident.step}")
    if incident.round <= policy.repeat or (policy.endless and not incident.reached):
        whom = _whom(policy.steps[0], policy, on_call, at)
        why = "the policy is repeated" if incident.reached else "nobody was reached"
        return Next(f"rings {whom}", f"round {incident.round + 1}: {why}")
    return Next("gives up", "it is unanswered then, and an alarm of its own rings")


def _whom(step: Step, policy: Receiver, on_call: OnCall, at: datetime, out: Collection[str] = ()) -> str:
    phones = targets(step, policy, on_call, at)
    usable = (phone for phone in phones if phone.usable(step.push) and phone.name not in out)
    owners = dict.fromkeys(phone.owner for phone in usable)
    return ", ".join([*owners, *step.webhooks]) or "nobody"


def targets(step: Step, policy: Receiver, on_call: OnCall, at: datetime) -> tuple[Phone, ...]:
    """List the phones of a step, usable or not: of its groups, then those that a drill names."""
    found = {phone.name: phone for phone in on_call(step.device_groups, at, policy.otherwise)}
    named = [phone for owner in step.owners for phone in on_call.of(owner)]
    named += [phone for phone in map(on_call.phone, step.devices) if phone is not None]
    return tuple((found | {phone.name: phone for phone in named}).values())
