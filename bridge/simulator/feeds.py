"""Lists that can be waited on, and the stream of events that a person watches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Generic, TypeVar

from bridge.simulator.agenda import Clock

T = TypeVar("T")
_KEPT = 1000  # events kept for a watcher who comes back with Last-Event-ID


class Signal:
    """Wakes up everybody who waits at this moment."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def fire(self) -> None:
        """Wake up those who wait now; later ones wait for the next time."""
        self._event.set()
        self._event = asyncio.Event()

    async def until(self, reached: Callable[[], bool], seconds: float | None) -> None:
        """Come back when `reached()` is true, asked now and at each signal. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not reached():
                await self._event.wait()


class Feed(Generic[T]):
    """What has come, in order; each item is given out by `next` once."""

    def __init__(self) -> None:
        self.items: list[T] = []
        self._taken = 0
        self._signal = Signal()

    def add(self, item: T) -> None:
        """Append one item and wake up who waits for it."""
        self.items.append(item)
        self._signal.fire()

    async def next(self, seconds: float | None = 10.0) -> T:
        """Give the oldest item that `next` has not given yet, waiting for it. Raises TimeoutError."""
        await self._signal.until(lambda: len(self.items) > self._taken, seconds)
        self._taken += 1
        return self.items[self._taken - 1]

    async def until(self, count: int, seconds: float | None = 10.0) -> list[T]:
        """Give all items as soon as there are at least `count`. Raises TimeoutError."""
        await self._signal.until(lambda: len(self.items) >= count, seconds)
        return list(self.items)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened on a phone; `number` counts from 1."""

    number: int
    at: datetime
    kind: str
    data: dict[str, Any]


class Events:
    """The events of all phones, for any number of watchers."""

    def __init__(self, clock: Clock) -> None:
        self.kept: deque[Event] = deque(maxlen=_KEPT)
        self._clock = clock
        self._last = 0
        self._closed = False
        self._signal = Signal()

    def publish(self, kind: str, **data: Any) -> None:
        """Tell all watchers."""
        self._last += 1
        self.kept.append(Event(self._last, self._clock(), kind, data))
        self._signal.fire()

    @property
    def newest(self) -> int:
        """Give the number of the newest event, 0 before the first."""
        return self._last

    async def moved(self, since: int, seconds: float | None) -> bool:
        """Come back when there is an event after `since`; False: none will come. Raises TimeoutError."""
        await self._signal.until(partial(self._past, since), seconds)
        return not self._closed

    def close(self) -> None:
        """End every watch after what it has not seen yet."""
        self._closed = True
        self._signal.fire()

    async def watch(self, since: int | None = None) -> AsyncGenerator[Event, None]:
        """Give the events after number `since` (default: from now on) as they come, until `close`."""
        seen = self._last if since is None else since
        while True:
            await self._signal.until(partial(self._past, seen), None)
            fresh = [event for event in self.kept if event.number > seen]
            if not fresh:
                return
            for event in fresh:
                seen = event.number
                yield event

    def _past(self, seen: int) -> bool:
        return self._closed or self._last > seen
