"""The loop that lets the clock act: rings that are due, steps that end, alerts that expire."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from bridge.clock import Clock
from bridge.desk import Desk, brief
from bridge.incidents import Change
from bridge.store import Tx, queries

log = structlog.get_logger()

_POLL: Final = timedelta(seconds=1)
_BATCH: Final = 100
_PRUNE_EVERY: Final = timedelta(minutes=10)
_PRUNE_PAUSE: Final = timedelta(seconds=1)
"""Between two batches while there is more: 100 a second, and rings that are due are never held up."""


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
        """Advance everything that is due; an incident that cannot be advanced holds up no other.

        Raises what the store raises, or what the first decision raised that failed.
        """
        failed: dict[str, BaseException] = {}
        while ids := await self._due(failed):
            # An update for each: the writer commits them together, and without those that raise.
            results = await asyncio.gather(
                *(self._desk.advance([name]) for name in ids), return_exceptions=True
            )
            self._tell([change for done in results if isinstance(done, tuple) for change in done])
            wrong = {name: it for name, it in zip(ids, results, strict=True) if isinstance(it, BaseException)}
            failed |= wrong
            if len(wrong) == len(ids):
                break  # the ledger itself
        if failed:
            log.error("incidents that cannot be advanced", incidents=list(failed))
            raise next(iter(failed.values()))

    async def _due(self, failed: Collection[str]) -> list[str]:
        due = partial(queries.due_incidents, now=self._clock.now(), limit=_BATCH + len(failed))
        return [name for name in await self._desk.store.read(due) if name not in failed]

    def _tell(self, changes: Iterable[Change]) -> None:
        if changes:
            log.info("escalation", **brief(changes))
        for change in changes:
            if any(event.kind == "unanswered" for event in change.events):
                log.error("unanswered", incident=change.incident.id, receiver=change.incident.slot.receiver)

    async def _prune(self) -> None:
        """Delete one small batch of what is older than storage.retention: the next round goes on."""
        now = self._clock.now()
        if self._prune_at is not None and now < self._prune_at:
            return
        before = now - self._desk.settings.storage.retention

        async def job(tx: Tx) -> int:
            return await queries.prune(tx.connection, before, _BATCH)

        more = await self._desk.store.write(job)
        self._prune_at = now + (_PRUNE_PAUSE if more else _PRUNE_EVERY)
