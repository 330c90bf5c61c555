"""Where every verb meets the ledger: scope, a pure decision, `store.update`.

Webhook, answer and clock all come through here, so that there is one way from an event to a commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from bridge import alarms, escalation, lifecycle, people, routing, unanswered, watchdogs, watcher
from bridge.alerts import Notification
from bridge.bundles import Call
from bridge.clock import Clock
from bridge.config import Settings
from bridge.incidents import Change, Incident, Page, Slot
from bridge.lifecycle import Destination, Times
from bridge.oncall import Roster
from bridge.people import Verb
from bridge.store import Scope, Store, Topic, Tx, actions, calls, devices, enrolment, outbox
from bridge.store.calls import Receipt
from bridge.store.outbox import Settled
from bridge.telemetry import Metrics
from bridge.tracing import OFF, Tracer

log = structlog.get_logger()

_AT_A_TIME: Final = 200
_NEVER: Final = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Answered:
    """What a receipt led to: the call's state, the incidents that it carried as they are now, its pages."""

    call: Call
    state: str
    incidents: tuple[Incident, ...]
    settled: tuple[Settled, ...] = ()
    waited: Mapping[str, float] = field(default_factory=dict)


class Desk:
    """Every verb of the bridge. `settings` may be replaced at any time; each verb takes it once."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, metrics: Metrics) -> None:
        self.store = store
        self.settings = settings
        self.clock = clock
        self.metrics = metrics
        self.tracer: Tracer = OFF
        self._alarms = alarms.Pace()

    # --- alerts ---

    async def receive(self, notification: Notification) -> tuple[Change, ...]:
        """Take in one notification. What it returns is committed. Raises as `Store.update` does."""
        settings, now = self.settings, self.clock.now()
        notification, beats = watchdogs.take_out(settings.heartbeats.values(), notification, now)
        ways = {}
        for number, alert in enumerate(notification.alerts, 1):
            ways[alert.fingerprint] = destinations(settings, notification.source, alert.labels, now)
            if number % _AT_A_TIME == 0:
                await asyncio.sleep(0)  # what else is due has its turn in between
        times = Times(settings.alert_ttl, settings.refire_quiet)
        return await self._receive(settings, notification, ways, times, beats)

    async def _receive(
        self,
        settings: Settings,
        notification: Notification,
        ways: Mapping[str, tuple[Destination, ...]],
        times: Times,
        beats: Sequence[str] = (),
    ) -> tuple[Change, ...]:
        slots = {way.slot for found in ways.values() for way in found}
        scope = Scope(
            slots=tuple(slots),
            source=notification.source,
            fingerprints=tuple({alert.fingerprint for alert in notification.alerts}),
        )

        def decide(incidents: tuple[Incident, ...], roster: Roster, now: datetime) -> Sequence[Change]:
            by_slot = {incident.slot: incident for incident in incidents}
            on_call = settings.on_call(roster)
            return lifecycle.receive(by_slot, notification, ways, settings.policy_of, on_call, times, now)

        if not beats:
            return await self.store.update(scope, decide, notification)
        return await self.store.write(
            lambda tx: watcher.beat(tx, settings, beats, scope, decide, notification)
        )

    async def alarm(
        self,
        name: str,
        labels: Mapping[str, str],
        summary: str,
        *,
        rings: bool = True,
        lasts: timedelta = alarms.TTL,
    ) -> bool:
        """Let a trouble of the bridge itself ring like any alert, at the root receiver (rule 7).

        It `lasts` so long after its last cause; where it does not ring, it is an open incident and no more.
        Raises nothing. False: it could not be committed, and nobody knows of it but the log.
        """
        settings, now = self.settings, self.clock.now()

        async def record() -> None:
            log.error("alarm", alarm=name, summary=summary, **labels)
            notification, slot = alarms.of(settings, name, labels, summary, now)
            way = Destination(slot, None if rings else now + _NEVER)
            ways = {notification.alerts[0].fingerprint: (way,)}
            await self._receive(settings, notification, ways, Times(lasts, settings.refire_quiet))

        return await self._alarms.once((name, repr(sorted(labels.items()))), now, record)

    # --- the clock ---

    async def advance(self, ids: Sequence[str]) -> tuple[Change, ...]:
        """Let the clock act on these incidents, if it is time still: another bridge may have done it."""
        settings = self.settings

        def decide(incidents: tuple[Incident, ...], roster: Roster, now: datetime) -> Sequence[Change]:
            on_call = settings.on_call(roster)
            changes = [
                lifecycle.advance(Change(incident), settings.policy_of(incident.slot), on_call, now)
                for incident in incidents
                if incident.id in ids and incident.wake_at is not None and incident.wake_at <= now
            ]
            return unanswered.with_alarms(settings, changes, incidents, on_call, now)

        alarms = tuple(unanswered.slot_of(settings, name) for name in ids)
        return await self.store.update(Scope(ids=tuple(ids), slots=alarms), decide, paging=True)

    async def unheard(self, call_ids: Sequence[str]) -> tuple[Change, ...]:
        """Take the next way to the person, for calls of which the phone said nothing in time."""
        settings = self.settings

        async def job(tx: Tx) -> tuple[list[Change], list[str], list[str]]:
            done: list[Change] = []
            doubtful: list[str] = []
            given_up: list[str] = []
            for call_id in call_ids:
                call = await calls.give_up(tx, call_id)
                if call is None:  # its receipt came at the last moment
                    continue
                given_up.append(call.push)
                if call.push == "voip" and await devices.silent(tx.connection, call.device):
                    doubtful.append(call.device)
                done += await self._fail_over(tx, settings, call, "no receipt in time")
            return done, doubtful, given_up

        changes, doubtful, given_up = await self.store.write(job, paging=True)
        for push in given_up:
            self.metrics.unheard.labels(push).inc()
        for name in doubtful:
            log.warning(
                "device is doubtful", device=name, hint="its pushes are accepted, but it never says so"
            )
        return tuple(changes)

    # --- people ---

    async def act(self, incident_id: str, verb: Verb, once: actions.Once | None = None) -> Incident | None:
        """Let a person act on an incident; None where there is none. Its rings end with the commit.

        `once` names a request that may come again: then it has no second effect.
        """
        settings = self.settings

        async def job(tx: Tx) -> Incident | None:
            found = await tx.incidents(Scope(ids=(incident_id,)))
            if not found or (once is not None and not await actions.first(tx.connection, once, tx.now)):
                return found[0] if found else None
            change = act(settings, Change(found[0]), verb, await tx.roster(), tx.now)
            await apply(tx, settings, [change])
            return change.incident

        return await self.store.write(job)

    async def receipt(self, call_id: str, receipt: Receipt) -> Answered | None:
        """Take in what a phone says of a call, once; None where there is no such call."""
        settings = self.settings

        async def job(tx: Tx) -> Answered | None:
            call = await calls.find(tx.connection, call_id)
            if call is None:
                return None
            settled = await outbox.delivered(tx.connection, call, tx.now)
            waited = await calls.waited(tx.connection, call, tx.now)
            if await calls.record(tx, call, receipt):
                await self._heard(tx, settings, call, receipt)
            incidents = await tx.incidents(Scope(ids=tuple(incident for incident, _ in call.carries)))
            return Answered(call, await calls.state(tx.connection, call_id), incidents, settled, waited)

        answered = await self.store.write(job)
        if answered is not None:
            self.metrics.receipts.labels(receipt.kind).inc()
            for incident_id, seconds in answered.waited.items():
                self.metrics.receipt_seconds.observe(seconds, {"incident": incident_id})
            self.tell(answered.settled)
        return answered

    def tell(self, settled: Iterable[Settled]) -> None:
        """Log and count pages that have their outcome."""
        for item in settled:
            page = item.page
            self.metrics.pages_settled.labels(page.kind, item.outcome).inc()
            if item.outcome == "accepted":
                seconds = (self.clock.now() - page.due_at).total_seconds()
                self.metrics.acceptance_seconds.observe(max(seconds, 0))
            log.info(
                "page settled",
                outcome=item.outcome,
                reason=item.reason,
                page=page.id,
                incident=page.incident_id,
                target=page.target,
                step=page.step,
                ring=page.ring,
            )

    async def revoke(self, name: str) -> bool:
        """Let an enrolled device go, and its event stream end; False where no such device has enrolled."""

        async def job(tx: Tx) -> bool:
            gone = await enrolment.revoke(tx.connection, name, tx.now)
            if gone:
                tx.tell(Topic.STORY)
            return gone

        return await self.store.write(job)

    async def _heard(self, tx: Tx, settings: Settings, call: Call, receipt: Receipt) -> None:
        await devices.heard(tx.connection, call.device, tx.now)
        if receipt.kind == "failed" and not receipt.repeat:
            await self._fail_over(tx, settings, call, f"failed (CallKit {receipt.error_code})")
            return
        incidents = await tx.incidents(Scope(ids=tuple(incident for incident, _ in call.carries)))
        pages = {page.incident_id: page for page in await calls.pages_of(tx.connection, call.id)}
        roster = await tx.roster()
        changes = []
        for incident in incidents:
            page = pages.get(incident.id)
            change = Change(incident)
            if page is not None:
                policy = settings.policy_of(incident.slot)
                change = escalation.accepted(change, page, policy, settings.on_call(roster))
                change = escalation.reached(change, page)
            changes.append(_heard(settings, change, call, receipt, page, roster, tx.now))
        await apply(tx, settings, changes)

    async def _fail_over(self, tx: Tx, settings: Settings, call: Call, why: str) -> list[Change]:
        incidents = await tx.incidents(Scope(ids=tuple(incident for incident, _ in call.carries)))
        pages = await calls.pages_of(tx.connection, call.id)
        changes = fail_over(settings, map(Change, incidents), pages, await tx.roster(), why, tx.now)
        return await apply(tx, settings, changes)


def act(settings: Settings, change: Change, verb: Verb, roster: Roster, now: datetime) -> Change:
    """Let a person act on an incident, and the clock after that."""
    policy, on_call = settings.policy_of(change.incident.slot), settings.on_call(roster)
    return lifecycle.advance(verb(change, policy, on_call, now), policy, on_call, now)


def _heard(
    settings: Settings,
    change: Change,
    call: Call,
    receipt: Receipt,
    page: Page | None,
    roster: Roster,
    now: datetime,
) -> Change:
    if receipt.repeat:
        return change.note("repeated", f"{call.device} was ringing already")
    if receipt.kind == "received":
        return change.note("received", f"by {call.device}")
    if receipt.kind == "answered":
        phone = settings.on_call(roster).phone(call.device)
        owner = call.device if phone is None else phone.owner
        verb = people.acknowledge(owner, dict(call.carries)[change.incident.id])
        return act(settings, change, verb, roster, now)
    if page is None:
        return change
    policy, on_call = settings.policy_of(change.incident.slot), settings.on_call(roster)
    change = escalation.drop_out(change, page, "declined", policy, on_call, now)
    return lifecycle.advance(change, policy, on_call, now)


def destinations(
    settings: Settings, source: str, labels: Mapping[str, str], now: datetime
) -> tuple[Destination, ...]:
    """Say where an alert goes that opens."""
    explanation = routing.explain(settings.route, labels, now, settings.time_intervals)
    return tuple(
        Destination(Slot(source, match.receiver, match.group), match.muted_until)
        for match in routing.destinations(explanation)
    )


async def apply(tx: Tx, settings: Settings, changes: Iterable[Change]) -> list[Change]:
    """Write what was decided, and the alarms that follow from it: no restart comes in between."""
    done = list(changes)
    slots = tuple(
        unanswered.slot_of(settings, change.incident.id) for change in done if unanswered.just_now(change)
    )
    if slots:
        known = await tx.incidents(Scope(slots=slots))
        done = unanswered.with_alarms(settings, done, known, settings.on_call(await tx.roster()), tx.now)
    await tx.apply(done)
    return done


def fail_over(
    settings: Settings,
    changes: Iterable[Change],
    pages: Iterable[Page],
    roster: Roster,
    why: str,
    now: datetime,
) -> list[Change]:
    """Let each incident go on after a push that did not reach its person."""
    by_incident = {page.incident_id: page for page in pages}
    on_call = settings.on_call(roster)
    done = []
    for change in changes:
        page = by_incident.get(change.incident.id)
        if page is None:
            continue
        policy = settings.policy_of(change.incident.slot)
        change = escalation.fail_over(change, page, why, policy, on_call, now)  # noqa: PLW2901 - its next state
        done.append(lifecycle.advance(change, policy, on_call, now))
    return done


def brief(changes: Iterable[Change]) -> dict[str, Any]:
    """Say for the log what a decision did."""
    changes = list(changes)
    return {
        "incidents": [change.incident.id for change in changes],
        "pages": [page.id for change in changes for page in change.pages],
    }
