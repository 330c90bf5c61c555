"""The loop that misses heartbeats, and what is done when one comes: each in one transaction.

So neither a crash nor two who look at once make two incidents of one silence, or none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog

from bridge import alarms, watchdogs
from bridge.alerts import Notification
from bridge.clock import Clock
from bridge.config import Settings
from bridge.incidents import Change
from bridge.store import Decide, Scope, Store, Tx, heartbeats
from bridge.telemetry import Metrics
from bridge.watchdogs import Watch

log = structlog.get_logger()

_AGAIN: Final = timedelta(seconds=5)
"""After a look that failed."""

_IDLE: Final = timedelta(days=1)
"""Where nothing is waited for; a reload wakes us."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look found: the heartbeats as they are now, those that went missing by it, those of others."""

    watches: tuple[Watch, ...]
    missing: tuple[Watch, ...]
    others: tuple[str, ...] = ()


class Watcher:
    """Looks at the heartbeats. `healthy` is False while the last look failed; `looks_at`: the next one."""

    def __init__(
        self, store: Store, settings: Callable[[], Settings], clock: Clock, metrics: Metrics
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._wake = asyncio.Event()
        self._mine: frozenset[str] = frozenset()
        self._others: tuple[str, ...] = ()
        self.healthy = True
        self.looks_at = clock.now()

    def wake(self) -> None:
        """Look now: the configuration is another."""
        self._wake.set()

    async def run(self) -> None:
        """Go on until cancelled. An error is logged and tried again: this loop does not die."""
        while True:
            self._wake.clear()
            try:
                self.looks_at = await self.look()
                self.healthy = True
            except Exception:
                self.healthy = False
                self.looks_at = self._clock.now() + _AGAIN
                log.exception("the heartbeats cannot be watched")
            await self._clock.wait(self._wake, self.looks_at)

    async def look(self) -> datetime:
        """Let those ring that are missing; gives when to look again. Raises as `Store.write`."""
        settings = self._settings()

        async def job(tx: Tx) -> Looked:
            return await look(tx, settings, self._mine)

        looked = await self._store.write(job)
        self._mine = frozenset(settings.heartbeats)
        self._tell(looked.others)
        for watch in looked.missing:
            log.error("heartbeat missing", heartbeat=watch.name, seen_at=watch.seen_at)
        soon = self._clock.now() + (watchdogs.LOOK if looked.watches or looked.others else _IDLE)
        due = (
            watchdogs.due_at(settings.heartbeats[watch.name], watch)
            for watch in looked.watches
            if watch.missing_since is None
        )
        return min((soon, *due))

    def _tell(self, others: tuple[str, ...]) -> None:
        if others and others != self._others:
            hint = "another bridge has them, or they were taken out while this one was down"
            log.warning("unknown heartbeats in the ledger", names=others, hint=hint)
        self._others = others

    async def observe(self) -> None:
        """Bring the gauges up to date."""
        known, now, metrics = await self._store.read(heartbeats.load), self._clock.now(), self._metrics
        metrics.heartbeat_age.clear()
        metrics.heartbeat_missing.clear()
        for name in self._settings().heartbeats.keys() & known.keys():
            metrics.heartbeat_age.labels(name).set(max((now - known[name].since).total_seconds(), 0))
            metrics.heartbeat_missing.labels(name).set(known[name].missing_since is not None)


async def look(tx: Tx, settings: Settings, mine: Collection[str] = ()) -> Looked:
    """Look whether heartbeats are missing, get to know new ones, and forget those that are gone.

    Gone is one of `mine`, those that this bridge had before, and one that nobody looks at. Any other is
    another bridge's: a replica whose configuration is not the same must not blind it.
    """
    known, wanted = await heartbeats.load(tx.connection), settings.heartbeats
    watches = [watchdogs.look(one, known.get(name), tx.now) for name, one in wanted.items()]
    missing = [
        watch
        for watch in watches
        if watch.missing_since and not (watch.name in known and known[watch.name].missing_since)
    ]
    for watch in missing:
        slot = watchdogs.slot_of(watch.name, wanted[watch.name].receiver)
        await alarms.tell(tx, settings, watchdogs.missing(watch, tx.now), slot, ttl=watchdogs.TTL)
    unknown = sorted(known.keys() - wanted.keys())
    gone = [name for name in unknown if name in mine or watchdogs.abandoned(known[name], tx.now)]
    for name in gone:
        await alarms.tell(tx, settings, watchdogs.over(name, tx.now))
    await heartbeats.save(tx.connection, known, watches)
    await heartbeats.forget(tx.connection, gone)
    others = tuple(name for name in unknown if name not in gone)
    return Looked(tuple(watches), tuple(missing), others)


async def beat(
    tx: Tx,
    settings: Settings,
    names: Sequence[str],
    scope: Scope,
    decide: Decide,
    notification: Notification,
) -> tuple[Change, ...]:
    """Take in that these heartbeats came; `decide` decides about the rest of their notification."""
    known = await heartbeats.load(tx.connection)
    changes = list(decide(await tx.incidents(scope), await tx.roster(), tx.now))
    tx.accept(notification, tx.now, changes)
    await tx.apply(changes)
    for name in names:
        if name in known and known[name].missing_since:
            changes += await alarms.tell(tx, settings, watchdogs.over(name, tx.now))
    seen = (watchdogs.seen(known.get(name), name, tx.now) for name in names)
    await heartbeats.save(tx.connection, known, seen)
    return tuple(changes)
