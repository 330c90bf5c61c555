"""The bridge's own troubles ring by the same rules as any alert, in the transaction that learns of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from bridge import alerts, lifecycle
from bridge.alerts import Notification
from bridge.config import Settings
from bridge.incidents import Change, Slot
from bridge.lifecycle import Destination, Times
from bridge.store import Scope, Tx

TTL: Final = timedelta(hours=1)
"""The bridge's own alerts have nobody who resolves them: they end an hour after their last cause."""


def of(
    settings: Settings, name: str, labels: Mapping[str, str], summary: str, now: datetime
) -> tuple[Notification, Slot]:
    """Make an alarm, and the place where it belongs: one incident for these labels, at the root receiver."""
    notification = alerts.internal(name, {"severity": "critical", **labels}, {"summary": summary}, now)
    group = tuple(sorted({"alertname": name, **labels}.items()))
    return notification, Slot(alerts.INTERNAL_SOURCE, settings.route.receiver, group)


async def tell(
    tx: Tx, settings: Settings, notification: Notification, *slots: Slot, ttl: timedelta = TTL
) -> tuple[Change, ...]:
    """Let an alert of the bridge itself begin in these slots, or end wherever it is open."""
    (alert,) = notification.alerts
    scope = Scope(slots, notification.source, (alert.fingerprint,))
    incidents = {incident.slot: incident for incident in await tx.incidents(scope)}
    changes = lifecycle.receive(
        incidents,
        notification,
        {alert.fingerprint: tuple(map(Destination, slots))},
        settings.policy_of,
        settings.on_call(await tx.roster()),
        Times(ttl, settings.refire_quiet),
        tx.now,
    )
    await tx.apply(changes)
    return changes
