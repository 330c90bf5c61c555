"""How much of the time a bridge waits for another one's transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncpg

_EVERY: Final = 0.02

_LOOK: Final = """
SELECT count(*) FILTER (WHERE state = 'active' OR state LIKE 'idle in%'),
       count(*) FILTER (WHERE wait_event_type = 'Lock' AND wait_event = 'advisory')
FROM pg_stat_activity WHERE application_name = 'pushkit-bridge' AND datname = current_database()
"""


@dataclass
class Waits:
    """Looks at the database while something was going on, and those in which somebody waited for the turn."""

    busy: int = 0
    waiting: int = 0

    def share(self) -> float:
        """Give the part of the looks."""
        return self.waiting / self.busy if self.busy else 0.0


@asynccontextmanager
async def watched(url: str) -> AsyncIterator[Waits]:
    """Look again and again, as long as the block lasts."""
    waits = Waits()
    connection = await asyncpg.connect(url)

    async def look() -> None:
        while True:
            busy, waiting = await connection.fetchrow(_LOOK)
            waits.busy += busy > 0
            waits.waiting += waiting > 0
            await asyncio.sleep(_EVERY)

    task = asyncio.create_task(look())
    try:
        yield waits
    finally:
        task.cancel()
        await asyncio.wait([task])
        await connection.close()
