"""Several bridges in one process, on one PostgreSQL, with one APNs and one clock."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from appworld import World, _port_to_keep, until

from bridge.store.topics import everything


class Crew:
    """The bridges. Each is a World of its own, with the phones and the clock of the first."""

    def __init__(self, stage: World, count: int) -> None:
        self.stage = stage
        self.all = [self._another() for _ in range(count)]

    def __iter__(self) -> Iterator[World]:
        return iter(self.all)

    def __getitem__(self, number: int) -> World:
        return self.all[number]

    @property
    def running(self) -> list[World]:
        return [one for one in self.all if one._running is not None]

    def _another(self) -> World:
        one = copy.copy(self.stage)
        one.phone_listen = f"127.0.0.1:{_port_to_keep()}"
        return one

    async def start(self) -> None:
        await asyncio.gather(*(one.start() for one in self.all))

    async def stop(self) -> None:
        await asyncio.gather(*(one.stop() for one in self.all))

    async def kill(self, number: int) -> None:
        """End a bridge as `kill -9` would: what was being sent is not settled."""
        one = self.all[number]
        for task in one.bridge.sender._tasks:
            task.cancel()
        await one.stop()

    async def hearing(self) -> None:
        """Come back when each hears of the others."""
        for one in self.running:
            assert one.bridge.store.listener is not None
            async with asyncio.timeout(30):
                await one.bridge.store.listener.hears.wait()

    async def settled(self) -> None:
        """Come back when nobody has anything to do before time passes, also not about what the others did."""
        quiet = 0
        async with asyncio.timeout(30):
            while quiet < 2:
                for one in self.running:
                    one.bridge.store.heard(everything())  # the others' word may still be on its way
                await self.stage.clock.asleep(sum(one.loops for one in self.running))
                receipts = [task for phone in self.stage.sim.phones for task in phone._outgoing._tasks]
                busy = [task for one in self.running for task in one.bridge.sender._tasks] + receipts
                quiet = 0 if busy else quiet + 1
                if busy:
                    await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)

    async def pass_(self, seconds: float) -> None:
        """Let time pass, from one thing that is due to the next."""
        clock, end = self.stage.clock, self.stage.clock.now() + timedelta(seconds=seconds)
        await self.settled()
        while (now := clock.now()) < end:
            next_ = min(await self.running[0]._next(now), end)
            clock.move((next_ - now).total_seconds())
            await self.settled()


@asynccontextmanager
async def crew(folder: Path, url: str, count: int = 3) -> AsyncIterator[Crew]:
    """Bridges that are not started yet: the test writes the configuration first."""
    async with World(folder, ledger=url) as stage:
        bridges = Crew(stage, count)
        try:
            yield bridges
        finally:
            await bridges.stop()


__all__ = ["Crew", "crew", "until"]
