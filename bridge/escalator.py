"""The loop that lets the clock act: rings that are due, steps that end, alerts that expire."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from bridge.clock import Clock
from bridge.desk import Desk, brief
from bridge.store import Tx, queries

log = structlog.get_logger()

_POLL: Final = timedelta(seconds=1)
_BATCH: Final = 100
_PRUNE_EVERY: Final = timedelta(minutes=10)


class Escalator:
    """Advances the incidents that are due. `healthy` is False while the last round failed."""

    def __init__(self, desk: Desk, clock: Clock) -> None:
        self._desk = desk
        self._clock = clock
        self._wake = asyncio.Event()
        self._prune_at: datetime | None = None
        self.healthy = True

    def wake(self) -> None:
        """Look at the incidents now."""
        self._wake.set()

    async def run(self) -> None:
        """Go round until cancelled. An error is logged and tried again: this loop does not die."""
        while True:
            try:
                await self.tick()
                await self._prune()
                due = await self._desk.store.read(queries.next_wake)
                self.healthy = True
            except Exception:
                self.healthy = False
                due = None
                log.exception("the incidents cannot be advanced")
            latest = self._clock.now() + _POLL
            await self._clock.wait(self._wake, latest if due is None else min(due, latest))
            self._wake.clear()

    async def tick(self) -> None:
        """Advance everything that is due. Raises what the store raises."""
        while True:
            due = partial(queries.due_incidents, now=self._clock.now(), limit=_BATCH)
            ids = await self._desk.store.read(due)
            if not ids:
                return
            changes = await self._desk.advance(ids)
            log.info("escalation", **brief(changes))
            for change in changes:
                if any(event.kind == "unanswered" for event in change.events):
                    log.error(
                        "unanswered", incident=change.incident.id, receiver=change.incident.slot.receiver
                    )

    async def _prune(self) -> None:
        """Delete what is older than storage.retention, a small batch in each transaction."""
        now = self._clock.now()
        if self._prune_at is not None and now < self._prune_at:
            return
        before = now - self._desk.settings.storage.retention

        async def job(tx: Tx) -> int:
            return await queries.prune(tx.connection, before, _BATCH)

        while await self._desk.store.write(job):
            pass
        self._prune_at = now + _PRUNE_EVERY
