"""When a loop has something to do next, as far as it is known without asking the ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from bridge.clock import Clock
from bridge.store.topics import AT_ONCE, NEVER

_POLL: Final = timedelta(seconds=1)
"""A poll stands behind every word: one can be lost, and what waits for its phone has no event of its own."""


class Appointment:
    """The earliest instant that anybody has named since the loop last looked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at = NEVER
        self._sooner = asyncio.Event()

    def name(self, at: datetime) -> None:
        """Have the loop look then at the latest."""
        if at < self._at:
            self._at = at
            self._sooner.set()

    def begin(self) -> None:
        """Forget what was named: the loop looks now."""
        self._at = NEVER

    async def keep(self, due: datetime | None) -> None:
        """Sleep until the named instant, or the one that the ledger gave, but no longer than the poll."""
        latest = min(due or NEVER, self._clock.now() + _POLL)
        while self._clock.now() < (until := min(self._at, latest)):
            self._sooner.clear()
            await self._clock.wait(self._sooner, until)


class Outlook:
    """What is known of the outbox. Whoever commits pages says so: then they are claimed without a question.

    `ask` asks the ledger when something is due. Nothing that was there when it was last asked is due before
    `_known`, nor is anything that came later, for that was said.
    """

    def __init__(self, clock: Clock, ask: Callable[[], Awaitable[datetime | None]]) -> None:
        self._clock = clock
        self._ask = ask
        self._wake = asyncio.Event()
        self._woken = False
        self._known = self._asks_at = AT_ONCE

    def wake(self, at: datetime = AT_ONCE) -> None:
        """Pages are due, at once or then."""
        if at <= self._clock.now():
            self._woken = True
            self._wake.set()
        else:
            self.look(at)

    def look(self, at: datetime = AT_ONCE) -> None:
        """Pages are due then, unless another bridge has claimed them."""
        if at < self._known:
            self._known = at
            self._wake.set()

    def forget(self) -> None:
        """Nothing is known: the last round failed."""
        self._known, self._asks_at = AT_ONCE, self._clock.now() + _POLL

    async def work(self, claim: Callable[[], Awaitable[None]]) -> None:
        """Have claimed what is due. Raises what `claim` and `ask` raise."""
        self._wake.clear()
        woken, self._woken = self._woken, False
        if woken:
            await claim()
        if min(self._known, self._asks_at) > self._clock.now():
            return
        if await self._is_due() and not woken:
            await claim()
            await self._is_due()

    async def _is_due(self) -> bool:
        self._known, self._asks_at = NEVER, self._clock.now() + _POLL
        self._known = min(await self._ask() or NEVER, self._known)
        return self._known <= self._clock.now()

    async def wait(self) -> None:
        """Sleep until there is something to do; what is due and not claimed waits for a phone, or room."""
        waits = self._known <= self._clock.now()
        await self._clock.wait(self._wake, self._asks_at if waits else min(self._known, self._asks_at))
