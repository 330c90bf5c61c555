"""What the clock does to an incident: ring, ring again, go on to the next step. Pure.

Rule 4 of the design lives here. Each verb takes the Change so far and gives the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from bridge.incidents import WEBHOOK_DEADLINE, Change, Incident, Page, PageKind, State, make_page
from bridge.oncall import OnCall, Phone
from bridge.policy import Receiver, Step

_PAUSE: Final = timedelta(minutes=1)
"""Between rounds of which the last step had nobody left: no device is usable, or APNs refuses every push.

Such a round is over in a moment, and Apple disconnects who goes on like that.
"""

_FRESH_STEP: Final[dict[str, Any]] = {"ring": 0, "step_ends_at": None, "out": {}}


def restart(change: Change, due_at: datetime) -> Change:
    """Begin a new series: from step 1, ring 1, at `due_at`."""
    return change.withdrawn("superseded by news").to(
        state=State.TRIGGERED,
        series=change.incident.series + 1,
        round=1,
        step=1,
        due_at=due_at,
        reached=False,
        acknowledged_at=None,
        acknowledged_by=None,
        unanswered_at=None,
        **_FRESH_STEP,
    )


def advance(change: Change, policy: Receiver, on_call: OnCall, now: datetime) -> Change:
    """Ring, go on to the next step, or end as unanswered, until nothing is due at `now`."""
    rounds = 0
    while _is_due(change.incident, now):
        if not _step_is_over(change.incident, policy, now):
            change = _ring(change, policy, on_call, now)
            continue
        change = _next_step(change, policy, on_call, now)
        rounds += change.incident.step == 1
        if rounds > 1 and change.incident.due_at is not None:
            return change.to(due_at=now + _PAUSE)
    return change


def _is_due(incident: Incident, now: datetime) -> bool:
    return incident.state is State.TRIGGERED and incident.due_at is not None and incident.due_at <= now


def _step_is_over(incident: Incident, policy: Receiver, now: datetime) -> bool:
    ended = incident.step_ends_at is not None and incident.step_ends_at <= now
    return ended or incident.step > len(policy.steps)


def _ring(change: Change, policy: Receiver, on_call: OnCall, now: datetime) -> Change:
    """Ring once: a page for each device of the step; the step's webhooks go out with its first ring."""
    incident = change.incident
    step = policy.steps[incident.step - 1]
    phones = on_call(step.device_groups, now)
    rung = [phone for phone in phones if _rings(phone, step, incident)]
    webhooks = step.webhooks if incident.ring == 0 else ()
    if incident.ring == 0:
        change = _name_the_unusable(change, phones)
    if not rung and not webhooks:
        return change.to(due_at=now, step_ends_at=now)
    ends_at = incident.step_ends_at or now + step.then_after
    again = bool(rung) and incident.ring + 1 < step.ring.times
    due_at = min(now + step.ring.every, ends_at) if again else ends_at
    change = change.to(ring=incident.ring + 1, due_at=due_at, step_ends_at=ends_at)
    whom = ", ".join([*(phone.name for phone in rung), *webhooks])
    return change.page(*_pages(change.incident, step, rung, webhooks, now)).note(
        "ring", f"step {incident.step}, ring {incident.ring + 1}: {whom}"
    )


def _pages(
    incident: Incident, step: Step, rung: Iterable[Phone], webhooks: Iterable[str], now: datetime
) -> Iterable[Page]:
    # A ring is overtaken by the next one: until then it may be late, after that it is not sent.
    overtaken_at = incident.due_at or now + step.ring.every
    for phone in rung:
        kind: PageKind = "ring" if step.push == "alert" or phone.voip else "fallback"
        yield make_page(incident, step, kind, phone.name, now, overtaken_at)
    for name in webhooks:
        yield make_page(incident, step, "webhook", name, now, now + WEBHOOK_DEADLINE)


def _rings(phone: Phone, step: Step, incident: Incident) -> bool:
    return phone.usable(step.push) and phone.name not in incident.out


def _name_the_unusable(change: Change, phones: Iterable[Phone]) -> Change:
    for phone in phones:
        if phone.trouble and _worth_a_line(change.incident):
            change = change.note("cannot ring", f"{phone.name}: {phone.trouble}")
    return change


def _worth_a_line(incident: Incident) -> bool:
    """Whether to write to the timeline: a policy that reaches nobody goes round each minute, for hours."""
    return incident.reached or incident.round <= 2


def _next_step(change: Change, policy: Receiver, on_call: OnCall, now: datetime) -> Change:
    incident = change.incident
    if incident.step < len(policy.steps):
        change = change.to(step=incident.step + 1, due_at=now, **_FRESH_STEP)
        return change.note("next step", f"step {incident.step + 1}") if _worth_a_line(incident) else change
    if incident.round <= policy.repeat or not incident.reached:
        why = "the policy is repeated" if incident.reached else "nobody was reached: the policy is repeated"
        pause = incident.round > 1 and not _anybody_left(incident, policy, on_call, now)
        due_at = now + _PAUSE if pause else now
        change = change.to(round=incident.round + 1, step=1, due_at=due_at, **_FRESH_STEP)
        return change.note("next round", why) if _worth_a_line(incident) else change
    change = change.to(due_at=None, step_ends_at=None, unanswered_at=now)
    return change.note("unanswered", "the policy has ended and nobody answered")


def drop_out(
    change: Change, page: Page, why: str, policy: Receiver, on_call: OnCall, now: datetime
) -> Change:
    """Take a device that declined, or cannot be reached, out of the step; end the step early if none is left.

    A page of an earlier step, or of an escalation that is over, changes nothing.
    """
    incident = change.incident
    running = incident.state is State.TRIGGERED and incident.due_at is not None
    here = (incident.series, incident.round, incident.step) == (page.series, page.round, page.step)
    if not running or not here or page.target in incident.out:
        return change
    change = change.to(out={**incident.out, page.target: why}).note("out of step", f"{page.target}: {why}")
    if _anybody_left(change.incident, policy, on_call, now):
        return change
    return change.to(due_at=now, step_ends_at=now)


def _anybody_left(incident: Incident, policy: Receiver, on_call: OnCall, now: datetime) -> bool:
    # A reload may have shortened the policy below the incident's step.
    step = policy.steps[min(incident.step, len(policy.steps)) - 1]
    return any(_rings(phone, step, incident) for phone in on_call(step.device_groups, now))


def accepted(change: Change, page: Page) -> Change:
    """APNs, or a webhook's server, took a page: as far as can be known, this series reached somebody."""
    told = change.incident.told
    if page.kind != "webhook" and page.target not in told:
        told = (*told, page.target)
    current = change.incident.series == page.series
    return change.to(told=told, reached=change.incident.reached or current)
