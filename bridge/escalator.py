"""The loop that lets the clock act: rings that are due, steps that end, alerts that expire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime
from functools import partial
from typing import Final, Protocol, TypeAlias

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.clock import Clock
from bridge.desk import Desk, brief
from bridge.incidents import Change
from bridge.outlook import Appointment
from bridge.pulse import Pulse
from bridge.store import calls, queries
from bridge.store.topics import AT_ONCE

log = structlog.get_logger()

_BATCH: Final = 500
"""Incidents at once: what falls due at one instant is decided before the sender claims it for one call."""


class _Due(Protocol):
    """Lists what the clock has to decide about."""

    async def __call__(self, connection: AsyncConnection, now: datetime, limit: int) -> list[str]: ...


_Decide: TypeAlias = Callable[[Sequence[str]], Awaitable[tuple[Change, ...]]]


class Escalator:
    """Advances the incidents that are due. `healthy`, `pulse`: as the sender's."""

    def __init__(self, desk: Desk, clock: Clock) -> None:
        self._desk = desk
        self._clock = clock
        self._appointment = Appointment(clock)
        self.pulse = Pulse("escalator")
        self.healthy = True

    def wake(self, at: datetime = AT_ONCE) -> None:
        """Look at the incidents, at once or when the time has come."""
        self._appointment.name(at)

    async def run(self) -> None:
        """Go round until cancelled. An error is logged and tried again: this loop does not die."""
        while True:
            self._appointment.begin()
            try:
                due = await self.tick()
                self.healthy = True
            except Exception:
                self.healthy = False
                due = None
                log.exception("the incidents cannot be advanced")
            self.pulse.beat()
            await self._appointment.keep(due)

    async def tick(self) -> datetime | None:
        """Advance everything that is due, and go on without the phones that said nothing in time.

        Gives when there is more to decide. What cannot be decided holds up nothing else. Raises what the
        store raises, or what the first decision raised that failed.
        """
        due = await self._next()
        if due is None or due > self._clock.now():
            return due
        failed = [
            await self._each("escalation", queries.due_incidents, self._desk.advance),
            await self._each("no receipt in time", calls.unheard, self._desk.unheard),
        ]
        for error in filter(None, failed):
            raise error
        return await self._next()

    async def _each(self, what: str, due: _Due, decide: _Decide) -> BaseException | None:
        """Decide what is due; gives what the first decision raised that failed."""
        failed: dict[str, BaseException] = {}
        while ids := await self._ids(due, failed):
            # An update for each: the writer commits them together, and without those that raise.
            results = await asyncio.gather(*(decide([name]) for name in ids), return_exceptions=True)
            if changes := [change for done in results if isinstance(done, tuple) for change in done]:
                log.info(what, **brief(changes))
            wrong = {name: it for name, it in zip(ids, results, strict=True) if isinstance(it, BaseException)}
            failed |= wrong
            if len(wrong) == len(ids):
                break  # the ledger itself
        if failed:
            log.error("what cannot be decided", of=what, ids=list(failed))
        return next(iter(failed.values()), None)

    async def _ids(self, due: _Due, failed: Collection[str]) -> list[str]:
        self.pulse.beat()
        query = partial(due, now=self._clock.now(), limit=_BATCH + len(failed))
        return [name for name in await self._desk.store.ask(query, paging=True) if name not in failed]

    async def _next(self) -> datetime | None:
        """When the clock has something to decide next."""
        self.pulse.beat()
        return await self._desk.store.ask(queries.next_decision, paging=True)
