"""The loop that keeps the ledger in order: what is old goes, and a page that is overdue is named.

It is apart from the loops that page: it names what those have failed to do, and holds up none of them.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import Final

import structlog

from bridge.clock import Clock
from bridge.desk import Desk
from bridge.store import Tx, audit, queries
from bridge.store.queries import Place

log = structlog.get_logger()

_LOOK: Final = timedelta(seconds=10)
"""Between looks for pages that are overdue."""

_NAMED: Final = 500
"""Overdue pages in one read."""

_PRUNE: Final = 500
"""Rows of a table that go in one transaction: a few milliseconds of the writer's time."""

_PRUNE_EVERY: Final = timedelta(minutes=10)
_PRUNE_PART: Final = 10
"""While there is more to delete, the others have the writer for all but a tenth of the time."""

_PRUNE_PAUSE: Final = timedelta(milliseconds=200)


class Housekeeper:
    """Prunes, and names what is overdue."""

    def __init__(self, desk: Desk, clock: Clock) -> None:
        self._desk = desk
        self._clock = clock
        self._began = False
        self._prune_at: datetime | None = None
        self._look_at: datetime | None = None
        self._named: Place | None = None

    async def run(self) -> None:
        """Go round until cancelled. An error is logged and tried again: this loop does not die."""
        never = asyncio.Event()
        while True:
            now = self._clock.now()
            try:
                await self._begin()
                await self._name_overdue(now)
                await self._prune(now)
            except Exception:
                log.exception("the ledger cannot be kept in order")
            later = now + _LOOK
            await self._clock.wait(never, min(self._prune_at or later, self._look_at or later, later))

    async def _begin(self) -> None:
        if not self._began:
            await self._desk.store.write(lambda tx: audit.begin(tx.connection, tx.now))
            self._began = True

    async def _name_overdue(self, now: datetime) -> None:
        """Log each page that is past its time without an outcome, once in a run of the bridge."""
        if self._look_at is not None and now < self._look_at:
            return
        self._look_at = now + _LOOK
        while True:
            after = self._named
            found = await self._desk.store.read(
                lambda connection: queries.overdue(connection, now, after, _NAMED)  # noqa: B023 - read at once
            )
            for one in found:
                self._named = one.place
                log.error("page overdue", **one.shown, seconds=round((now - one.place[0]).total_seconds()))
            if len(found) < _NAMED:
                return

    async def _prune(self, now: datetime) -> None:
        """Delete one small batch of what is older than storage.retention."""
        if self._prune_at is not None and now < self._prune_at:
            return
        self._prune_at = now + _LOOK  # also where the ledger refuses it: not at once again
        before = now - self._desk.settings.storage.retention
        begun = time.monotonic()

        async def job(tx: Tx) -> int:
            return await queries.prune(tx.connection, before, _PRUNE)

        more = await self._desk.store.write(job)
        pause = max(_PRUNE_PAUSE, timedelta(seconds=(time.monotonic() - begun) * _PRUNE_PART))
        self._prune_at = now + (pause if more else _PRUNE_EVERY)
