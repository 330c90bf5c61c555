"""What people do to an incident: take it, give it back, hand it on, silence it, write a note. Pure.

Rule 5 of the design lives here. Each function makes a Verb for one person; an incident that is over
is changed by none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeAlias

from bridge import escalation
from bridge.incidents import Change, State
from bridge.oncall import OnCall
from bridge.policy import Receiver

Verb: TypeAlias = Callable[[Change, Receiver, OnCall, datetime], Change]
"""Decides over one incident, under its receiver's policy, at an instant."""


def acknowledge(by: str, revision: int | None = None) -> Verb:
    """A person has it: every ring ends. With `revision`, only what that one knew (rule 5)."""

    def verb(change: Change, policy: Receiver, on_call: OnCall, now: datetime) -> Change:
        incident = change.incident
        if not incident.open:
            return change.note(
                "too late", f"acknowledged by {by}, but the incident is over ({incident.resolution})"
            )
        if revision is not None and revision < incident.revision:
            return change.note("answered", f"{by} has what was known then; the news since still rings")
        until = {"acknowledged_until": _after(now, policy.ack_timeout)}
        until["ack_silence_until"] = _after(now, policy.ack_creates_silence)
        if incident.state is State.ACKNOWLEDGED:
            change = change.to(**until)
            return change.note("acknowledged", f"by {by} too; {incident.acknowledged_by} has it already")
        change = change.withdrawn("acknowledged").to(
            state=State.ACKNOWLEDGED,
            acknowledged_at=now,
            acknowledged_by=by,
            **until,
            due_at=None,
            step_ends_at=None,
            unanswered_at=None,
        )
        change = change.note("acknowledged", f"by {by}")
        if not policy.notify_acknowledged:
            return change
        return escalation.tell(change, "acknowledged", policy, on_call, now, but=by)

    return verb


def _after(now: datetime, time: timedelta | None) -> datetime | None:
    return None if time is None else now + time


def unacknowledge(by: str) -> Verb:
    """A person gives it back: it rings again from step 1. What nobody has stays as it is."""

    def verb(change: Change, _: Receiver, on_call: OnCall, now: datetime) -> Change:
        del on_call
        if change.incident.state is not State.ACKNOWLEDGED:
            return change
        change = escalation.restart(change.to(silenced_until=None), now, "given back")
        return change.note("unacknowledged", f"by {by}")

    return verb


def silence(until: datetime, by: str) -> Verb:
    """A person wants no ring before `until`, news included; what is still open then rings from step 1."""

    def verb(change: Change, _: Receiver, on_call: OnCall, now: datetime) -> Change:
        del on_call
        if not change.incident.open or until <= now:
            return change
        change = escalation.restart(change.to(silenced_until=until, silenced_by=by), until, "silenced")
        return change.note("silenced", f"by {by} until {until.isoformat(timespec='seconds')}")

    return verb


def hand_on(by: str) -> Verb:
    """A person gives it to the next step of the policy, from the last one to the first."""

    def verb(change: Change, policy: Receiver, _: OnCall, now: datetime) -> Change:
        incident = change.incident
        if not incident.open:
            return change
        step = incident.step % len(policy.steps) + 1
        change = escalation.restart(change, now, "handed on").to(step=step, silenced_until=None)
        return change.note("handed on", f"by {by} to step {step}")

    return verb


def note(text: str, by: str) -> Verb:
    """A person writes something into the timeline, of an incident that is over too."""

    def verb(change: Change, _: Receiver, on_call: OnCall, now: datetime) -> Change:
        del on_call, now
        return change.note("note", f"{by}: {text}")

    return verb
