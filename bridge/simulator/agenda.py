"""What is to happen later, by a clock that a test can move."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]


def wall_clock() -> datetime:
    """Give the present instant with its time zone, UTC."""
    return datetime.now(UTC)


@dataclass(order=True, slots=True)
class Entry:
    """One thing to do; `cancel` makes it nothing."""

    due: datetime
    order: int
    action: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        """Do nothing when the time comes."""
        self.action = None


class Agenda:
    """Runs actions when the clock has reached them.

    The event loop wakes it up in real time. Whoever moves the clock calls `run_due` instead,
    so that nothing ever has to be waited for.
    """

    def __init__(self, clock: Clock = wall_clock) -> None:
        self.now = clock
        self._entries: list[Entry] = []
        self._order = itertools.count()
        self._alarm: asyncio.TimerHandle | None = None
        self._closed = False

    def after(self, seconds: float, action: Callable[[], None]) -> Entry:
        """Run `action` once, `seconds` from now; never before the next turn of the loop."""
        return self.at(self.now() + timedelta(seconds=seconds), action)

    def at(self, due: datetime, action: Callable[[], None]) -> Entry:
        """Run `action` once at `due`, or soon if that has passed; needs a running event loop."""
        entry = Entry(due, next(self._order), action)
        if not self._closed:
            heapq.heappush(self._entries, entry)
            self._set_alarm()
        return entry

    async def sleep(self, seconds: float) -> None:
        """Come back when the clock has moved on by `seconds`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not done.done():
                done.set_result(None)

        entry = self.after(seconds, wake)
        try:
            await done
        finally:
            entry.cancel()

    def run_due(self) -> None:
        """Run what is due by now, in order of time."""
        while self._entries and (self._entries[0].action is None or self._entries[0].due <= self.now()):
            action = heapq.heappop(self._entries).action
            if action is not None:
                action()
        self._set_alarm()

    def close(self) -> None:
        """Forget everything; what is entered later never runs."""
        self._closed = True
        self._entries.clear()
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._entries:
            delay = max(0.0, (self._entries[0].due - self.now()).total_seconds())
            self._alarm = asyncio.get_running_loop().call_later(delay, self.run_due)
