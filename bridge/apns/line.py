"""The line in front of the connections: first in, first out, each push with its deadline.

A push waits here, not in a connection, so that whichever connection has room first takes it
and a dying connection has nothing to lose. One timer serves all deadlines and looks at every push
when it fires, which is seldom: a timer or a place in a heap for each would cost more.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from bridge.apns.exchange import Exchange
from bridge.apns.headers import refusal
from bridge.apns.messages import PushResult

if TYPE_CHECKING:
    from bridge.apns.streams import Streams

_GRAIN: Final = 0.005  # seconds; deadlines as close as this end together, at the first of them
_FAR: Final = 86_400.0  # seconds; event loops do not like to be asked for more


class Line:
    """Pushes in order of arrival. `choose` names the connection that can take this one now, or None."""

    def __init__(self, loop: asyncio.AbstractEventLoop, choose: Callable[[Exchange], Streams | None]) -> None:
        self._loop = loop
        self._choose = choose
        self._waiting: deque[Exchange] = deque()
        self._live: set[Exchange] = set()  # pushes without a result, here or on a connection
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._empty: asyncio.Future[None] | None = None

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
        self.enter(exchange)
        try:
            return await exchange.future
        finally:
            self.leave(exchange)

    def enter(self, exchange: Exchange) -> None:
        """Put a push in line. Whoever does takes it out by `leave`, with its result or without."""
        wanted = exchange.notification
        refused = refusal(
            wanted.device_token, wanted.notification_id, wanted.apns_topic or "", wanted.collapse_key
        )
        if refused is not None:
            exchange.settle(PushResult(wanted.notification_id, "400", refused))
            return
        self._live.add(exchange)
        if not wanted.deadline >= self._timer_at:  # also where it is NaN
            self._set_timer(wanted.deadline)
        connection = None if self._waiting else self._choose(exchange)
        if connection is None:
            self._waiting.append(exchange)
            self.pump()  # to choose may mean to connect, if somebody stands in line
        else:
            connection.open(exchange)

    def leave(self, exchange: Exchange) -> None:
        """Take a push out; if its sender was cancelled, give its stream back and touch nobody else."""
        if exchange.future.cancelled():
            if exchange.connection is not None:
                exchange.connection.drop(exchange)
            self.pump()
        self._live.discard(exchange)
        if self._empty is not None and not self._live:
            self._empty.set_result(None)
            self._empty = None

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
        while self._live:
            self._empty = self._empty or self._loop.create_future()
            await asyncio.shield(self._empty)

    def close(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        now = self._loop.time()
        self._timer_at = min(max(now, deadline), now + _FAR)
        self._timer = self._loop.call_at(self._timer_at, self._expire)

    def _expire(self) -> None:
        """End what is due, and set the timer for the next."""
        due = max(self._loop.time(), self._timer_at) + _GRAIN  # it may fire a tick early
        self._timer, self._timer_at = None, math.inf
        soonest = math.inf
        for exchange in list(self._live):
            deadline = exchange.notification.deadline
            if exchange.future.done():
                continue
            if deadline > due:
                soonest = min(soonest, deadline)
            elif exchange.connection is None:
                exchange.fail("Timeout", certain=True)
            else:
                exchange.connection.expire(exchange)
        if soonest < self._timer_at:
            self._set_timer(soonest)
        self.pump()
