"""The bridge's own troubles ring by the same rules as any alert, in the transaction that learns of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias

import structlog

from bridge import alerts, lifecycle
from bridge.alerts import Notification
from bridge.config import Settings
from bridge.incidents import Change, Slot
from bridge.lifecycle import Destination, Times
from bridge.store import Scope, Tx

TTL: Final = timedelta(hours=1)
"""The bridge's own alerts have nobody who resolves them: they end an hour after their last cause."""

_PACE: Final = timedelta(minutes=1)
"""The same alarm is raised at most once in this time; it only prolongs what is open anyway (rule 7)."""

_Key: TypeAlias = tuple[str, str]

log = structlog.get_logger()


class Pace:
    """Raises an alarm once in _PACE, however often its cause comes. One that could not be is none."""

    def __init__(self) -> None:
        self._raised: dict[_Key, datetime] = {}
        self._under_way: dict[_Key, asyncio.Task[bool]] = {}

    async def once(self, key: _Key, now: datetime, record: Callable[[], Awaitable[None]]) -> bool:
        """Tell whether it is recorded; whoever comes while it is being recorded hears what came of that."""
        last = self._raised.get(key)
        if last is not None and now - last < _PACE:
            return True
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(_recorded(key, record))
            task.add_done_callback(partial(self._over, key, now))
        return await asyncio.shield(task)  # one who hangs up takes it from nobody else

    def _over(self, key: _Key, now: datetime, task: asyncio.Task[bool]) -> None:
        del self._under_way[key]
        if not task.cancelled() and task.result():
            fresh = {one: at for one, at in self._raised.items() if now - at < _PACE}
            self._raised = fresh | {key: now}


async def _recorded(key: _Key, record: Callable[[], Awaitable[None]]) -> bool:
    try:
        await record()
    except Exception:
        log.exception("an alarm could not be recorded", alarm=key[0])
        return False
    return True


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
