"""The one clock of the program. Only the edges hold it; the pure floor is told `now`."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Final

# Unlike CLOCK_MONOTONIC it goes on while the machine is suspended.
_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock:
    """Wall time as it was at the start, carried on by a monotonic clock.

    Deadlines survive a jump of the wall clock that way (rule 10): what was due in 45 s stays
    due in 45 s, whatever NTP or an operator does meanwhile. Where bridges share a ledger, the time is
    PostgreSQL's, and the monotonic clock carries it on from one look to the next.
    """

    _steered = False

    def __init__(self) -> None:
        self._began = datetime.now(UTC)
        self._anchor = time.clock_gettime(_STEADY)

    def now(self) -> datetime:
        """Give the time, aware, UTC."""
        return self._began + timedelta(seconds=time.clock_gettime(_STEADY) - self._anchor)

    def steer(self, at: datetime) -> None:
        """Go on from here: several bridges on one PostgreSQL go by its clock (rule 10)."""
        self._began, self._anchor = at, time.clock_gettime(_STEADY)
        self._steered = True

    def wall(self) -> float:
        """Give Unix seconds for what Apple judges by its own clock.

        They are PostgreSQL's where bridges share one, however wrong this machine is; else this machine's,
        which somebody may set right while we run.
        """
        return self.now().timestamp() if self._steered else time.time()

    def drift(self) -> float:
        """Seconds by which the wall clock has jumped ahead of this one since the start."""
        return (datetime.now(UTC) - self.now()).total_seconds()

    async def wait(self, event: asyncio.Event, until: datetime) -> None:
        """Sleep until `event` is set or the time has come, whichever is first."""
        seconds = (until - self.now()).total_seconds()
        await set_within(event, seconds)


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, so long at the most; whether it is set.

    Not by asyncio.wait_for: in Python 3.11 that swallows a cancellation that meets the event (gh-86296),
    and a loop that was told to end would go on for ever.
    """
    try:
        async with asyncio.timeout(max(seconds, 0)):
            return await event.wait()
    except TimeoutError:
        return False
