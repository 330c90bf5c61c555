"""The bridge's own sign of life: an outside service notices when it stops (rule 12)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import aiohttp
import structlog

from bridge.clock import Clock
from bridge.telemetry import Metrics

log = structlog.get_logger()

_EVERY: Final = timedelta(minutes=1)
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)


_REFUSED: Final = b"OK ("
"""How healthchecks.io says with status 200 that it took nothing: "OK (not found)", "OK (rate limited)"."""


class SignOfLife:
    """GETs `url` each minute, as healthchecks.io takes it, unless `reasons` gives reasons not to."""

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        reasons: Callable[[], Awaitable[list[str]]],
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._url = url
        self._session = session
        self._reasons = reasons
        self._clock = clock
        self._metrics = metrics

    async def run(self) -> None:
        """Go on until cancelled."""
        never = asyncio.Event()
        while True:
            await self.beat()
            await self._clock.wait(never, self._clock.now() + _EVERY)

    async def beat(self) -> None:
        """Ping once, or withhold the ping and say why. Raises nothing."""
        try:
            reasons = await self._reasons()
        except Exception as error:  # noqa: BLE001 - a ledger that cannot be read is the best reason
            reasons = [repr(error)]
        if reasons:
            self._metrics.heartbeat.labels("withheld").inc()
            log.error("heartbeat withheld", reasons=reasons)
            return
        problem = await self._ping()
        if problem:
            log.warning("heartbeat failed", problem=problem)
        self._metrics.heartbeat.labels("failed" if problem else "sent").inc()

    async def _ping(self) -> str:
        """Give what went wrong, "" if nothing. The URL stays out of it: whoever has it can be the bridge."""
        try:
            async with self._session.get(self._url, timeout=_TIMEOUT, allow_redirects=False) as response:
                if not 200 <= response.status < 300:
                    return f"HTTP {response.status}"
                refused = (await response.content.read(64)).startswith(_REFUSED)
                return "the service says that it took nothing: is the URL right?" if refused else ""
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return type(error).__name__
