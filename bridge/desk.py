"""Where every verb meets the ledger: scope, a pure decision, `store.update`.

Webhook, answer and clock all come through here, so that there is one way from an event to a commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from bridge import alerts, escalation, lifecycle, routing
from bridge.alerts import Notification
from bridge.bundles import Call
from bridge.clock import Clock
from bridge.config import Settings
from bridge.incidents import Change, Incident, Page, Slot, fallback
from bridge.lifecycle import Destination, Times
from bridge.oncall import Phone
from bridge.store import Scope, Store, Tx, calls
from bridge.store.calls import Receipt
from bridge.telemetry import Metrics

log = structlog.get_logger()

_INTERNAL_TTL: Final = timedelta(hours=1)
"""The bridge's own alerts have nobody who resolves them: they end an hour after their last cause."""

_ALARM_PACE: Final = timedelta(minutes=1)
"""The same alarm is raised at most once in this time; it only prolongs what is open anyway (rule 7)."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a receipt led to: the call's state, and the incidents that it carried as they are now."""

    call: Call
    state: str
    incidents: tuple[Incident, ...]


class Desk:
    """Every verb of the bridge. `settings` may be replaced at any time; each verb takes it once."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, metrics: Metrics) -> None:
        self.store = store
        self.settings = settings
        self.clock = clock
        self.metrics = metrics
        self._alarmed: dict[tuple[str, str], datetime] = {}

    # --- alerts ---

    async def receive(self, notification: Notification) -> tuple[Change, ...]:
        """Take in one notification. What it returns is committed. Raises as `Store.update` does."""
        settings, now = self.settings, self.clock.now()
        ways = {
            alert.fingerprint: _destinations(settings, notification.source, alert.labels, now)
            for alert in notification.alerts
        }
        times = Times(settings.alert_ttl, settings.refire_quiet)
        return await self._receive(settings, notification, ways, times)

    async def _receive(
        self,
        settings: Settings,
        notification: Notification,
        ways: Mapping[str, tuple[Destination, ...]],
        times: Times,
    ) -> tuple[Change, ...]:
        slots = {way.slot for found in ways.values() for way in found}
        scope = Scope(
            slots=tuple(slots),
            source=notification.source,
            fingerprints=tuple({alert.fingerprint for alert in notification.alerts}),
        )

        def decide(
            incidents: tuple[Incident, ...], phones: tuple[Phone, ...], now: datetime
        ) -> Sequence[Change]:
            by_slot = {incident.slot: incident for incident in incidents}
            on_call = settings.on_call(phones)
            return lifecycle.receive(by_slot, notification, ways, settings.receiver, on_call, times, now)

        return await self.store.update(scope, decide)

    async def alarm(self, name: str, labels: Mapping[str, str], summary: str) -> None:
        """Let a trouble of the bridge itself ring like any alert, at the root receiver (rule 7).

        Raises nothing: where even that cannot be committed, the log has it.
        """
        now = self.clock.now()
        key = (name, repr(sorted(labels.items())))
        log.error("alarm", alarm=name, summary=summary, **labels)
        last = self._alarmed.get(key)
        if last is not None and now - last < _ALARM_PACE:
            return
        self._alarmed = {k: at for k, at in self._alarmed.items() if now - at < _ALARM_PACE} | {key: now}
        settings = self.settings
        notification = alerts.internal(name, {"severity": "critical", **labels}, {"summary": summary}, now)
        slot = Slot(
            alerts.INTERNAL_SOURCE,
            settings.route.receiver,
            tuple(sorted({"alertname": name, **labels}.items())),
        )
        ways = {notification.alerts[0].fingerprint: (Destination(slot),)}
        try:
            await self._receive(settings, notification, ways, Times(_INTERNAL_TTL, settings.refire_quiet))
        except Exception:
            log.exception("an alarm could not be recorded", alarm=name)

    # --- the clock ---

    async def advance(self, ids: Sequence[str]) -> tuple[Change, ...]:
        """Let the clock act on these incidents."""
        settings = self.settings

        def decide(
            incidents: tuple[Incident, ...], phones: tuple[Phone, ...], now: datetime
        ) -> Sequence[Change]:
            on_call = settings.on_call(phones)
            return [
                lifecycle.advance(Change(incident), settings.receiver(incident.slot.receiver), on_call, now)
                for incident in incidents
                if incident.open
            ]

        return await self.store.update(Scope(ids=tuple(ids)), decide)

    # --- people ---

    async def acknowledge(self, incident_id: str, by: str) -> Incident | None:
        """Acknowledge an incident; None where there is none. Its rings end with the commit."""

        def decide(
            incidents: tuple[Incident, ...], phones: tuple[Phone, ...], now: datetime
        ) -> Sequence[Change]:
            del phones
            return [lifecycle.acknowledge(Change(incident), by, now) for incident in incidents]

        changes = await self.store.update(Scope(ids=(incident_id,)), decide)
        return changes[0].incident if changes else None

    async def receipt(self, call_id: str, receipt: Receipt) -> Answered | None:
        """Take in what a phone says of a call, once; None where there is no such call."""
        settings = self.settings

        async def job(tx: Tx) -> Answered | None:
            call = await calls.find(tx.connection, call_id)
            if call is None:
                return None
            incidents = await tx.incidents(Scope(ids=tuple(incident for incident, _ in call.carries)))
            if await calls.record(tx.connection, call, receipt, tx.now):
                changes = await self._heard(tx, settings, call, receipt, incidents)
                await tx.apply(changes)
                now_so = {change.incident.id: change.incident for change in changes}
                incidents = tuple(now_so.get(incident.id, incident) for incident in incidents)
            return Answered(call, await calls.state(tx.connection, call_id), incidents)

        answered = await self.store.write(job)
        if answered is not None:
            self.metrics.receipts.labels(receipt.kind).inc()
        return answered

    async def _heard(
        self, tx: Tx, settings: Settings, call: Call, receipt: Receipt, incidents: tuple[Incident, ...]
    ) -> list[Change]:
        phones = await tx.phones()
        owner = next((phone.owner for phone in phones if phone.name == call.device), call.device)
        known = dict(call.carries)
        changes = [Change(incident) for incident in incidents]
        if receipt.kind == "answered":
            return [lifecycle.acknowledge(c, owner, tx.now, known[c.incident.id]) for c in changes]
        if receipt.kind == "received":
            return [change.note("received", f"by {call.device}") for change in changes]
        if receipt.repeat:
            return [change.note("repeated", f"{call.device} was ringing already") for change in changes]
        why = "declined" if receipt.kind == "declined" else f"failed (CallKit {receipt.error_code})"
        pages = await calls.pages_of(tx.connection, call.id)
        return fail_over(settings, changes, pages, phones, why, tx.now, stand_in=receipt.kind == "failed")


def _destinations(
    settings: Settings, source: str, labels: Mapping[str, str], now: datetime
) -> tuple[Destination, ...]:
    explanation = routing.explain(settings.route, labels, now, settings.time_intervals)
    return tuple(
        Destination(Slot(source, match.receiver, match.group), match.muted_until)
        for match in routing.destinations(explanation)
    )


def fail_over(
    settings: Settings,
    changes: Iterable[Change],
    pages: Iterable[Page],
    phones: Sequence[Phone],
    why: str,
    now: datetime,
    *,
    stand_in: bool = True,
) -> list[Change]:
    """A call did not ring: its alert push stands in, or else the device is out of the step."""
    by_incident = {page.incident_id: page for page in pages}
    with_alert = {phone.name for phone in phones if phone.alert}
    on_call = settings.on_call(phones)
    done = []
    for change in changes:
        page = by_incident.get(change.incident.id)
        if page is None:
            continue
        policy = settings.receiver(change.incident.slot.receiver)
        if stand_in and page.kind == "ring" and page.push == "voip" and page.target in with_alert:
            wanted = change.incident.due_at is not None and page.series == change.incident.series
            change = change.note("fallback", f"{page.target}: {why}; an alert push stands in")  # noqa: PLW2901
            done.append(change.page(fallback(page, now)) if wanted else change)
            continue
        change = escalation.drop_out(change, page, why, policy, on_call, now)  # noqa: PLW2901
        done.append(lifecycle.advance(change, policy, on_call, now))
    return done


def brief(changes: Iterable[Change]) -> dict[str, Any]:
    """Say for the log what a decision did."""
    changes = list(changes)
    return {
        "incidents": [change.incident.id for change in changes],
        "pages": [page.id for change in changes for page in change.pages],
    }
