"""The line in front of the connections: first in, first out, each push with its deadline.

A push waits here, not in a connection, so that whichever connection has room first takes it
and a dying connection has nothing to lose. One timer serves all deadlines: a timer for each
would cost more than the push itself.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from bridge.apns.exchange import Exchange
from bridge.apns.headers import refusal
from bridge.apns.messages import PushResult

if TYPE_CHECKING:
    from bridge.apns.streams import Streams

_TIDY_ABOVE: Final = 256  # entries of settled pushes that are not worth sweeping
_FAR: Final = 86_400.0  # seconds; a deadline further away than a day is a day away


class Line:
    """Pushes in order of arrival. `choose` names the connection that can take this one now, or None."""

    def __init__(self, loop: asyncio.AbstractEventLoop, choose: Callable[[Exchange], Streams | None]) -> None:
        self._loop = loop
        self._choose = choose
        self._waiting: deque[Exchange] = deque()
        self._deadlines: list[tuple[float, int, Exchange]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._empty: asyncio.Future[None] | None = None
        self.live = 0  # pushes without a result

    @property
    def waiting(self) -> int:
        """Pushes that no connection has taken yet."""
        return sum(1 for exchange in self._waiting if not exchange.future.done())

    @property
    def head(self) -> Exchange | None:
        """The push whose turn it is."""
        waiting = self._waiting
        while waiting and waiting[0].future.done():
            waiting.popleft()
        return waiting[0] if waiting else None

    async def run(self, exchange: Exchange) -> PushResult:
        """Wait for the push's result, which comes no later than its deadline."""
        wanted = exchange.notification
        refused = refusal(
            wanted.device_token, wanted.notification_id, wanted.apns_topic or "", wanted.collapse_key
        )
        if refused is not None:
            return PushResult(wanted.notification_id, "400", refused)
        self.live += 1
        self._watch(exchange)
        self._waiting.append(exchange)
        self.pump()
        try:
            return await exchange.future
        finally:
            self.live -= 1
            if exchange.future.cancelled():
                self._abandon(exchange)
            if not self.live:
                self._announce_empty()

    def pump(self) -> None:
        """Give out as many pushes as there is room for."""
        waiting = self._waiting
        while waiting:
            exchange = waiting[0]
            if exchange.future.done():
                waiting.popleft()
                continue
            connection = self._choose(exchange)
            if connection is None:
                return
            waiting.popleft()
            connection.open(exchange)

    def fail_waiting(self, reason: str) -> None:
        """Settle all that no connection has taken: nothing of them was ever written."""
        while self._waiting:
            self._waiting.popleft().fail(reason, certain=True)

    async def emptied(self) -> None:
        """Wait until every push has its result."""
        while self.live:
            if self._empty is None or self._empty.done():
                self._empty = self._loop.create_future()
            await asyncio.shield(self._empty)

    def close(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()

    def _announce_empty(self) -> None:
        self._deadlines.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def _abandon(self, exchange: Exchange) -> None:
        """Give the stream of a cancelled sender back, and touch nobody else."""
        if exchange.connection is not None:
            exchange.connection.drop(exchange)
        self.pump()

    def _watch(self, exchange: Exchange) -> None:
        deadlines = self._deadlines
        if len(deadlines) > _TIDY_ABOVE and len(deadlines) > 2 * self.live:
            deadlines[:] = [entry for entry in deadlines if not entry[2].future.done()]
            heapq.heapify(deadlines)
        self._count += 1
        now = self._loop.time()
        given = exchange.notification.deadline
        deadline = now if not given >= now else min(given, now + _FAR)  # `not >=` also catches NaN
        heapq.heappush(deadlines, (deadline, self._count, exchange))
        if self._timer is None or deadline < self._timer_at:
            self._set_timer(deadline)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._expire)

    def _expire(self) -> None:
        self._timer = None
        deadlines, now = self._deadlines, self._loop.time()
        # The timer may fire a clock tick early; what it was set for is due all the same.
        now = max(now, self._timer_at)
        while deadlines and (deadlines[0][0] <= now or deadlines[0][2].future.done()):
            exchange = heapq.heappop(deadlines)[2]
            if exchange.future.done():
                continue
            if exchange.connection is None:
                exchange.fail("Timeout", certain=True)
            else:
                exchange.connection.expire(exchange)
        if deadlines:
            self._set_timer(deadlines[0][0])
        self.pump()
