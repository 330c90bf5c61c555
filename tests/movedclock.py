"""The clock of a program whose time the test moves: nothing is waited for, nothing happens too late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from builders import NOW

from bridge.clock import Clock


class _Sleeper:
    """Somebody in `wait`. `due` is set when the clock has been moved far enough."""

    def __init__(self, event: asyncio.Event, until: datetime) -> None:
        self.event = event
        self.until = until
        self.due = asyncio.Event()

    @property
    def asleep(self) -> bool:
        return not (self.event.is_set() or self.due.is_set())


class MovedClock(Clock):
    """Stands still until `move`, which wakes those whose time has come.

    `on_move` are called after each move, before anybody has woken up. `jump` is what `drift` says,
    in seconds.
    """

    def __init__(self, start: datetime = NOW) -> None:
        self._now = start
        self._sleepers: set[_Sleeper] = set()
        self._fell_asleep = asyncio.Event()
        self.on_move: list[Callable[[], None]] = []
        self.jump = 0.0

    def now(self) -> datetime:
        return self._now

    def steer(self, at: datetime) -> None:
        """Only the test moves it."""

    def drift(self) -> float:
        return self.jump

    def move(self, seconds: float) -> None:
        """Let that much time pass at once."""
        self._now += timedelta(seconds=seconds)
        for sleeper in self._sleepers:
            if sleeper.until <= self._now:
                sleeper.due.set()
        for hook in self.on_move:
            hook()

    def set(self, seconds: float) -> None:
        """Have somebody set it by so much: whoever sleeps does so for as long as before."""
        self._now += timedelta(seconds=seconds)
        for sleeper in self._sleepers:
            sleeper.until += timedelta(seconds=seconds)

    async def wait(self, event: asyncio.Event, until: datetime) -> None:
        if event.is_set() or until <= self._now:
            return
        sleeper = _Sleeper(event, until)
        waits = [asyncio.create_task(one.wait()) for one in (event, sleeper.due)]
        self._sleepers.add(sleeper)
        self._fell_asleep.set()
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._sleepers.discard(sleeper)
            for one in waits:
                one.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def asleep(self, count: int) -> None:
        """Come back when `count` tasks wait for this clock and have no reason to wake: they have done all."""
        async with asyncio.timeout(30):
            while sum(sleeper.asleep for sleeper in self._sleepers) < count:
                self._fell_asleep.clear()
                await self._fell_asleep.wait()
