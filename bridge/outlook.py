"""When a loop has something to do next, as far as it is known without asking the ledger.

The clock may be set: PostgreSQL's steers it, and somebody steers PostgreSQL's. So each sleep lasts no longer
than the poll, wherever the instants are that were named before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from bridge.clock import Clock
from bridge.store.topics import AT_ONCE, NEVER

_POLL: Final = timedelta(seconds=1)
"""A poll stands behind every word: one can be lost."""


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
        """Sleep until the named instant, or the one that the ledger gave, but no longer than the poll.

        A word of something sooner ends the sleep, too: the loop looks once more, and sleeps until then.
        """
        self._sooner.clear()
        self._at = min(self._at, due or NEVER, self._clock.now() + _POLL)
        await self._clock.wait(self._sooner, self._at)


class Outlook:
    """What is known of the outbox. Whoever commits pages says so: then they are claimed without a question.

    `ask` asks the ledger when something is due first, of all that is due since an instant. Nothing is due
    before `_next`, but for what a claim has left: it waits for its phone, or for room.
    """

    def __init__(self, clock: Clock, ask: Callable[[datetime], Awaitable[datetime | None]]) -> None:
        self._clock = clock
        self._ask = ask
        self._wake = asyncio.Event()
        self._woken = False
        self._next = NEVER
        self._polled_at = AT_ONCE

    def wake(self, at: datetime = AT_ONCE) -> None:
        """Pages are due, at once or then."""
        if at <= self._clock.now():
            self._woken = True
            self._wake.set()
        else:
            self.look(at)

    def look(self, at: datetime = AT_ONCE) -> None:
        """Pages are due then, unless another bridge has claimed them."""
        if at < self._next:
            self._next = at
            self._wake.set()

    def forget(self) -> None:
        """Nothing is known: the last round failed, and the poll is the next."""
        self._next, self._polled_at = NEVER, self._clock.now()

    async def work(self, claim: Callable[[], Awaitable[datetime | None]]) -> None:
        """Have claimed what is due. `claim` gives when to try what it leaves. Raises what both raise."""
        self._wake.clear()
        woken, self._woken = self._woken, False
        since, again_at = AT_ONCE, NEVER
        while woken or await self._is_due(since):
            woken, since = False, self._clock.now() + timedelta.resolution
            again_at = await claim() or NEVER  # what it leaves is no news; what falls due meanwhile is
        self._next = min(again_at, self._next)

    async def _is_due(self, since: datetime) -> bool:
        """Tell whether anything is due of what is due since then; asks where that is not known."""
        now = self._clock.now()
        polls = not self._polled_at <= now < self._polled_at + _POLL
        if polls:
            self._polled_at = now
        elif now < self._next:
            return False
        if self._next <= now:
            self._next = NEVER
        found = await self._ask(since) or NEVER
        self._next = min(found, self._next)
        return self._next <= self._clock.now()

    async def wait(self) -> None:
        """Sleep until there is something to do."""
        polls_at = min(self._polled_at, self._clock.now()) + _POLL
        await self._clock.wait(self._wake, min(self._next, polls_at))
