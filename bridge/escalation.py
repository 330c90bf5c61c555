"""What the clock does to an incident: ring, ring again, go on to the next step. Pure.

Rule 4 of the design lives here. Each verb takes the Change so far and gives the next.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from bridge.incidents import (
    QUIET,
    WEBHOOK_DEADLINE,
    Change,
    Incident,
    Page,
    PageKind,
    State,
    fallback,
    make_page,
)
from bridge.oncall import OnCall, Phone
from bridge.policy import Receiver, Step

_PAUSE: Final = timedelta(minutes=1)
"""Between rounds of which the last step had nobody left: no device is usable, or APNs refuses every push.

Such a round is over in a moment, and Apple disconnects who goes on like that.
"""

_FRESH_STEP: Final[dict[str, Any]] = {"ring": 0, "step_ends_at": None, "out": {}, "stand_ins": ()}


def restart(change: Change, due_at: datetime, why: str) -> Change:
    """Begin a new series: from step 1, ring 1, at `due_at`. `why` the pages of the old one are not wanted."""
    return change.withdrawn(why).to(
        state=State.TRIGGERED,
        series=change.incident.series + 1,
        round=1,
        step=1,
        due_at=due_at,
        reached=False,
        acknowledged_at=None,
        acknowledged_by=None,
        acknowledged_until=None,
        ack_silence_until=None,
        unanswered_at=None,
        **_FRESH_STEP,
    )


def advance(
    change: Change, policy: Receiver, on_call: OnCall, now: datetime, *, to_the_end: bool = True
) -> Change:
    """Ring, go on to the next step, or end as unanswered, until nothing is due at `now`.

    Not `to_the_end`: what comes after the last step stays due.
    """
    rounds = 0
    while _is_due(change.incident, now):
        if not _step_is_over(change.incident, policy, now):
            change = _ring(change, policy, on_call, now)
            continue
        if not to_the_end and change.incident.step >= len(policy.steps):
            return change
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
    phones = _targets(incident, policy, on_call, now)
    rung = [phone for phone in phones if _rings(phone, step, incident)]
    webhooks = step.webhooks if incident.ring == 0 and _posts(incident, policy) else ()
    if incident.ring == 0:
        change = _name_the_gap(_name_the_unusable(change, phones), on_call.gap(step.device_groups, now))
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


def _posts(incident: Incident, policy: Receiver) -> bool:
    """Whether webhooks go out: once in each round of the policy, not in those added as nobody was reached."""
    return incident.round <= policy.repeat + 1 or not policy.rings_phones


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


def _targets(incident: Incident, policy: Receiver, on_call: OnCall, now: datetime) -> tuple[Phone, ...]:
    """List the step's phones, and those that stand in for the silent ones."""
    step = _step(incident, policy)
    phones = {phone.name: phone for phone in on_call(step.device_groups, now, policy.otherwise)}
    phones |= {phone.name: phone for owner in step.owners for phone in on_call.of(owner)}
    by_name = map(on_call.phone, (*step.devices, *incident.stand_ins))
    return tuple((phones | {phone.name: phone for phone in by_name if phone is not None}).values())


def _rings(phone: Phone, step: Step, incident: Incident) -> bool:
    return phone.usable(step.push) and phone.name not in incident.out


def _name_the_unusable(change: Change, phones: Iterable[Phone]) -> Change:
    for phone in phones:
        if phone.trouble and _worth_a_line(change.incident):
            change = change.note("cannot ring", f"{phone.name}: {phone.trouble}")
    return change


def _name_the_gap(change: Change, gap: str | None) -> Change:
    return change.note("gap", gap) if gap and _worth_a_line(change.incident) else change


def _worth_a_line(incident: Incident) -> bool:
    """Whether to write to the timeline: a policy that reaches nobody goes round each minute, for hours."""
    return incident.reached or incident.round <= 2


def _next_step(change: Change, policy: Receiver, on_call: OnCall, now: datetime) -> Change:
    incident = change.incident
    if incident.step < len(policy.steps):
        change = change.to(step=incident.step + 1, due_at=now, **_FRESH_STEP)
        return change.note("next step", f"step {incident.step + 1}") if _worth_a_line(incident) else change
    if incident.round <= policy.repeat or (policy.endless and not incident.reached):
        why = "the policy is repeated" if incident.reached else "nobody was reached: the policy is repeated"
        if incident.round == policy.repeat + 1:  # an alarm of its own goes out: others may be reached
            change = change.note("nobody reached", "the policy has ended; it is repeated until somebody is")
        pause = incident.round > 1 and not _anybody_left(incident, policy, on_call, now)
        due_at = now + _PAUSE if pause else now
        change = change.to(round=incident.round + 1, step=1, due_at=due_at, **_FRESH_STEP)
        return change.note("next round", why) if _worth_a_line(incident) else change
    change = change.to(due_at=None, step_ends_at=None, unanswered_at=now)
    return change.note("unanswered", "the policy has ended and nobody answered")


def fail_over(
    change: Change, page: Page, why: str, policy: Receiver, on_call: OnCall, now: datetime
) -> Change:
    """A push did not reach its person: the next way to them, else the step goes on without the device.

    First an alert push to the same device stands in for the call; if that fails too, the owner's
    other devices ring. All of it belongs to the same ring and moves no timer (rule 4).
    """
    if not _is_current(change.incident, page):
        return change
    phone = on_call.phone(page.target)
    if page.kind == "ring" and page.push == "voip" and phone is not None and phone.alert:
        change = change.note("fallback", f"{page.target}: {why}; an alert push stands in")
        return change.page(fallback(page, now))
    return drop_out(_ring_others(change, page, why, policy, on_call, now), page, why, policy, on_call, now)


def _ring_others(
    change: Change, page: Page, why: str, policy: Receiver, on_call: OnCall, now: datetime
) -> Change:
    incident = change.incident
    if page.kind not in {"ring", "fallback"} or not _is_here(incident, page) or page.target in incident.out:
        return change
    step = _step(incident, policy)
    if page.target in step.devices:
        return change
    asked = {phone.name for phone in _targets(incident, policy, on_call, now)}
    others = [
        phone
        for phone in on_call.others(page.target)
        if phone.name not in asked and _rings(phone, step, incident)
    ]
    if not others:
        return change
    names = ", ".join(phone.name for phone in others)
    change = change.to(stand_ins=(*incident.stand_ins, *(phone.name for phone in others)))
    return change.page(*_pages(change.incident, step, others, (), now)).note(
        "fallback", f"{page.target}: {why}; {names} of the same owner rings"
    )


def drop_out(
    change: Change, page: Page, why: str, policy: Receiver, on_call: OnCall, now: datetime
) -> Change:
    """Take a device that declined, or cannot be reached, out of the step; end the step early if none is left.

    A page of an earlier step, or of an escalation that is over, changes nothing.
    """
    incident = change.incident
    if not _is_here(incident, page) or page.target in incident.out:
        return change
    change = change.to(out={**incident.out, page.target: why}).note("out of step", f"{page.target}: {why}")
    if _anybody_left(change.incident, policy, on_call, now):
        return change
    return change.to(due_at=now, step_ends_at=now)


def _anybody_left(incident: Incident, policy: Receiver, on_call: OnCall, now: datetime) -> bool:
    step = _step(incident, policy)
    return any(_rings(phone, step, incident) for phone in _targets(incident, policy, on_call, now))


def _is_current(incident: Incident, page: Page) -> bool:
    """Whether the escalation that made the page still goes on."""
    running = incident.state is State.TRIGGERED and incident.due_at is not None
    return running and page.series == incident.series


def _is_here(incident: Incident, page: Page) -> bool:
    """Whether it is still at the page's step."""
    place = (incident.round, incident.step)
    return _is_current(incident, page) and place == (page.round, page.step)


def _step(incident: Incident, policy: Receiver) -> Step:
    # A reload may have shortened the policy below the incident's step.
    return policy.steps[min(incident.step, len(policy.steps)) - 1]


def accepted(change: Change, page: Page, policy: Receiver, on_call: OnCall) -> Change:
    """APNs, or a webhook's server, took a page.

    Of an enrolled phone that is no sign that anybody was reached; of any other there will be no better one.
    A webhook wakes nobody: where there are phones as well, they ring on, so that a revoked key that is
    mended makes them ring.
    """
    if page.kind == "webhook":
        return change if policy.rings_phones else reached(change, page)
    told = change.incident.told
    if page.target not in told:
        change = change.to(told=(*told, page.target))
    phone = on_call.phone(page.target)
    return change if phone is not None and phone.enrolled else reached(change, page)


def tell(
    change: Change, kind: PageKind, policy: Receiver, on_call: OnCall, now: datetime, but: str | None = None
) -> Change:
    """Tell the phones that were told of the incident what became of it, quietly; not those of `but`."""
    incident = change.incident
    phones = (on_call.phone(name) for name in incident.told)
    names = [phone.name for phone in phones if phone is not None and phone.alert and phone.owner != but]
    expires_at = now + WEBHOOK_DEADLINE
    return change.page(*(make_page(incident, policy.steps[0], kind, name, now, expires_at) for name in names))


def reached(change: Change, page: Page) -> Change:
    """The page is known to have got to its target, or is taken to have."""
    if page.kind in QUIET or change.incident.series != page.series:
        return change
    return change.to(reached=True)
