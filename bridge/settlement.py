"""What a send means for the ledger: pages get their outcome, incidents learn of it, tokens are set aside.

Each verb is one transaction's work, for `Store.write`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self

import structlog

from bridge import alarms, escalation, lifecycle
from bridge.bundles import Blind, Bundle, Call
from bridge.config import Settings
from bridge.desk import apply, fail_over
from bridge.incidents import QUIET, Change, Incident, fallback
from bridge.pushes import Accepted, Outcome, Quarantined, Retryable, Unregistered
from bridge.store import Joint, Scope, Topic, Tx, devices, drills, outbox
from bridge.store.devices import Device
from bridge.store.outbox import Settled, Ways

log = structlog.get_logger()

_CANNOT_RING: Final = "PushkitBridgeDeviceCannotRing"

_LONGEST_PAUSE: Final = 30.0
"""Seconds between attempts, at the most, where the peer asks for nothing."""


def name_of(outcome: Outcome) -> str:
    """Give an outcome's name, as the ledger, the log and the metrics have it."""
    return type(outcome).__name__.lower()


@dataclass(frozen=True, slots=True)
class Claimed:
    """What was claimed, with the devices by name. The incidents are read after: they can be large."""

    bundles: tuple[Bundle, ...]
    settled: tuple[Settled, ...]
    more: bool
    free_at: datetime | None
    devices: Mapping[str, Device]


async def claim(tx: Tx, settings: Settings, lease: timedelta, ways: Ways, blind: Blind = str) -> Claimed:
    """Claim what is due; where a call was tried and never taken, its alert push stands in.

    A notification may get through where a call does not: 429 counts for one token.
    """
    await _give_way(tx)
    claimed = await outbox.claim(tx.connection, tx.now, lease, settings.quiet_gap, ways, blind)
    if claimed.settled:
        tx.tell(Topic.STORY)
    tried = [
        item.page
        for item in claimed.settled
        if item.outcome == "expired"
        and item.attempts
        and item.page.kind == "ring"
        and item.page.push == "voip"
    ]
    if tried:
        with_alert = {phone.name for phone in await tx.phones() if phone.alert}
        await tx.put([fallback(page, tx.now) for page in tried if page.target in with_alert])
    called = {bundle.call.device for bundle in claimed.bundles if bundle.call is not None}
    return Claimed(
        claimed.bundles,
        claimed.settled,
        claimed.more,
        claimed.free_at,
        await devices.by_name(tx.connection, called),
    )


@dataclass(frozen=True, slots=True)
class Claim(Joint[Claimed]):
    """The job that claims, as `claim`."""

    settings: Settings
    lease: timedelta
    ways: Ways
    blind: Blind = str

    @classmethod
    async def together(cls, tx: Tx, jobs: Sequence[Self]) -> list[Claimed]:
        """Claim for each; what the first takes is not there for the next."""
        return [await claim(tx, job.settings, job.lease, job.ways, job.blind) for job in jobs]


async def _give_way(tx: Tx) -> None:
    """End each drill that rings a phone for which something real is due."""
    found = await tx.incidents(Scope(ids=await drills.in_the_way(tx.connection)))
    if found:
        why = "a real page is due for one of its phones"
        await tx.apply(lifecycle.call_off(Change(drill), "gave way", why, tx.now) for drill in found)


@dataclass(frozen=True, slots=True)
class Settle(Joint[tuple[Settled, ...]]):
    """The job that settles one send; gives the pages that are over. What APNs took is settled together."""

    settings: Settings
    bundle: Bundle
    outcome: Outcome
    token: str

    @classmethod
    async def together(cls, tx: Tx, jobs: Sequence[Self]) -> list[tuple[Settled, ...]]:
        """Settle several sends."""
        taken = [job for job in jobs if isinstance(job.outcome, Accepted)]
        settled = dict(zip(map(id, taken), await _take(tx, taken), strict=True))
        for job in jobs:
            if id(job) not in settled:
                settled[id(job)] = await settle(tx, job.settings, job.bundle, job.outcome, job.token)
        return [settled[id(job)] for job in jobs]


async def _take(tx: Tx, jobs: Sequence[Settle]) -> list[tuple[Settled, ...]]:
    """Settle what was accepted."""
    if not jobs:
        return []
    bundles = [job.bundle for job in jobs]
    settled = await outbox.settle_all(tx.connection, bundles, name_of(Accepted()), None, tx.now)
    scopes = [Scope(ids=tuple(sorted({item.page.incident_id for item in items}))) for items in settled]
    await tx.incidents(*scopes)
    roster = await tx.roster()
    calls = []
    for job, items, scope in zip(jobs, settled, scopes, strict=True):
        pages = {item.page.incident_id: item.page for item in items}
        found, on_call = tx.matching(scope), job.settings.on_call(roster)
        if job.bundle.call is not None:
            phone = on_call.phone(job.bundle.call.device)
            silent = phone is not None and not phone.enrolled  # it has no way to say anything (rule 6)
            patience = None if silent else _patience(job.settings, job.bundle.call, found)
            calls.append((job.bundle.call, patience))
        tx.stage(
            escalation.accepted(Change(one), pages[one.id], job.settings.policy_of(one.slot), on_call)
            for one in found
        )
    tx.tell(Topic.STORY)
    await outbox.accept_calls(tx.connection, calls, tx.now)
    for _, patience in calls:
        if patience is not None:
            tx.tell(Topic.CLOCK, tx.now + patience)
    await tx.flush()
    return settled


async def settle(
    tx: Tx, settings: Settings, bundle: Bundle, outcome: Outcome, token: str
) -> tuple[Settled, ...]:
    """Settle one send; gives the pages that are over."""
    if isinstance(outcome, Accepted):
        return (await _take(tx, [Settle(settings, bundle, outcome, token)]))[0]
    if isinstance(outcome, Unregistered | Quarantined) and await _has_another(tx, bundle, token):
        why = f"{outcome.reason}; the phone has put another token since"
        outcome = Retryable(why, certainly_not_processed=True)
    tx.tell(Topic.STORY)
    if isinstance(outcome, Retryable):
        at = tx.now + _pause(bundle.lines[0].attempt, outcome)
        # However long the peer asks us to wait: once the call is over, what stands in for it goes out.
        at = at if bundle.call is None else min(at, bundle.call.expires_at)
        tx.tell(Topic.PAGES, min(at, *(line.page.expires_at for line in bundle.lines)))
        return await outbox.try_again(tx.connection, bundle, outcome.reason, at, tx.now)
    settled = await outbox.settle(tx.connection, bundle, name_of(outcome), outcome.reason, tx.now)
    tx.tell(Topic.PAGES)  # nothing is on its way to the phone any more: what waits for it may go out
    pages = [item.page for item in settled]
    found = await tx.incidents(Scope(ids=tuple(sorted({page.incident_id for page in pages}))))
    changes = [Change(incident) for incident in found]
    await _set_aside(tx, settings, bundle, outcome, token)
    why = f"{name_of(outcome)} ({outcome.reason})"
    await apply(tx, settings, fail_over(settings, changes, pages, await tx.roster(), why, tx.now))
    return settled


def _patience(settings: Settings, call: Call, incidents: Iterable[Incident]) -> timedelta | None:
    """How long to wait for the phone's word; nobody waits for one of a push that is not to wake anybody."""
    if call.kind in QUIET:
        return None
    waits = (settings.policy_of(incident.slot).receipt_timeout for incident in incidents)
    return min(waits, default=None)


async def _has_another(tx: Tx, bundle: Bundle, token: str) -> bool:
    """Tell whether the phone has put another token while this one was on its way."""
    if bundle.call is None:
        return False
    device = (await devices.by_name(tx.connection, [bundle.call.device])).get(bundle.call.device)
    return device is not None and device.token(bundle.call.push) not in {None, token}


async def _set_aside(tx: Tx, settings: Settings, bundle: Bundle, outcome: Outcome, token: str) -> None:
    """Use a dead token no more, and let somebody know; of a drill its own report tells."""
    if bundle.call is None or not isinstance(outcome, Unregistered | Quarantined):
        return
    trouble = f"{name_of(outcome)}: {outcome.reason}"
    since = outcome.since if isinstance(outcome, Unregistered) else None
    name, push = bundle.call.device, bundle.call.push
    marked = await devices.mark_trouble(tx.connection, name, push, token, trouble, since)
    device = (await devices.by_name(tx.connection, [name])).get(name)
    if not marked or device is None or bundle.lines[0].page.drill:
        return
    labels = {"device": name, "owner": device.owner, "reason": outcome.reason}
    summary = (
        f"{name} of {device.owner} cannot ring: APNs says {outcome.reason}. "
        "Check its token, topic and environment"
    )
    log.error("alarm", alarm=_CANNOT_RING, summary=summary, **labels)
    await alarms.tell(tx, settings, *alarms.of(settings, _CANNOT_RING, labels, summary, tx.now))


def _pause(attempt: int, outcome: Retryable) -> timedelta:
    """Soon, then less often; at once where a second try cannot ring twice; as asked where the peer asked."""
    if outcome.after is not None:
        return timedelta(seconds=outcome.after)
    if outcome.certainly_not_processed and attempt == 1:
        return timedelta(0)
    seconds = min(0.5 * 2.0 ** min(attempt - 1, 10), _LONGEST_PAUSE)
    return timedelta(seconds=seconds * random.uniform(0.75, 1.25))  # noqa: S311 - jitter, not a secret
