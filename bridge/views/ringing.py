"""Who has an incident, and what its next ring is, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal, TypeAlias

from bridge.incidents import Incident, State
from bridge.oncall import OnCall
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
    if incident.due_at is None:
        return Next("rings nobody any more", "the policy has ended and nobody answered")
    found = _silenced(incident, policy, on_call) or _ring(incident, policy, on_call)
    return replace(found, at=when(incident.due_at, now))


def _acknowledged(incident: Incident, policy: Receiver, on_call: OnCall, now: datetime) -> Next:
    who, until = incident.acknowledged_by or "somebody", incident.acknowledged_until
    if until is None:
        return Next("rings nobody", f"{who} has it")
    whom = _whom(policy.steps[0], policy, on_call, until)
    return Next(f"rings {whom} again", f"{who}'s acknowledgement times out then", when(until, now))


def _silenced(incident: Incident, policy: Receiver, on_call: OnCall) -> Next | None:
    if (
        incident.due_at is None
        or incident.silenced_until is None
        or incident.silenced_until < incident.due_at
    ):
        return None
    whom = _whom(policy.steps[0], policy, on_call, incident.due_at)
    return Next(f"rings {whom}", "silenced until then")


def _ring(incident: Incident, policy: Receiver, on_call: OnCall) -> Next:
    at = incident.due_at
    number = min(incident.step, len(policy.steps))
    step = policy.steps[number - 1]
    if at is None or (incident.step_ends_at is not None and incident.step_ends_at <= at):
        return _next_step(incident, policy, on_call)
    whom = _whom(step, policy, on_call, at, incident.out)
    if incident.ring:
        times = max(step.ring.times, incident.ring + 1)
        return Next(f"rings {whom} again", f"step {number}, ring {incident.ring + 1} of {times}")
    if incident.round > 1 and number == 1:
        return Next(f"rings {whom}", f"round {incident.round}: nobody was reached or answered before")
    why = "it begins" if number > 1 else "muted until then, or about to ring"
    return Next(f"rings {whom}", f"step {number}: {why}")


def _next_step(incident: Incident, policy: Receiver, on_call: OnCall) -> Next:
    at = incident.due_at or incident.opened_at
    if incident.step < len(policy.steps):
        whom = _whom(policy.steps[incident.step], policy, on_call, at)
        return Next(f"rings {whom}", f"step {incident.step + 1}: nobody answered step {incident.step}")
    if incident.round <= policy.repeat or not incident.reached:
        whom = _whom(policy.steps[0], policy, on_call, at)
        why = "the policy is repeated" if incident.reached else "nobody was reached: the policy is repeated"
        return Next(f"rings {whom}", f"step 1, round {incident.round + 1}: {why}")
    return Next("gives up", "the last step ends: it counts as unanswered then, and raises an alarm")


def _whom(step: Step, policy: Receiver, on_call: OnCall, at: datetime, out: Iterable[str] = ()) -> str:
    out = set(out)
    phones = on_call(step.device_groups, at, policy.otherwise)
    owners = dict.fromkeys(
        phone.owner for phone in phones if phone.usable(step.push) and phone.name not in out
    )
    return ", ".join([*owners, *step.webhooks]) or "nobody"
