"""Hears what other bridges on the same PostgreSQL have committed, so that this one looks at once.

A LISTEN connection that has died says nothing of it: it is asked in short intervals to hear a word of its
own. While there is none, whoever waits is woken each second: a poll stands behind the notifications.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final

import structlog

from bridge.store.postgres import CHANNEL, Postgres
from bridge.store.topics import News, everything, heard

_CHECK: Final = 2.0
"""Seconds between two round trips."""

_ANSWER: Final = 2.0
"""Seconds that a word may take there and back."""

_POLL: Final = 1.0

log = structlog.get_logger()


class Listener:
    """Calls `wake` with what another bridge than `me` has committed, and with everything when it may have."""

    def __init__(
        self, database: Postgres, me: str, wake: Callable[[News], None], steer: Callable[[datetime], None]
    ) -> None:
        self._database = database
        self._me = me
        self._wake = wake
        self._steer = steer
        self._echo = asyncio.Event()
        self._numbers = count(1)
        self._task: asyncio.Task[None] | None = None
        self._polling = False
        self.hears = asyncio.Event()
        """Set while a word of its own comes back."""

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._run(), name="store-listener")

    async def stop(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as error:  # noqa: BLE001 - whatever it died of, the next one is made
                if not self._polling:
                    log.warning("nothing is heard of other bridges: polling", error=repr(error))
            self._polling = True
            self.hears.clear()
            self._wake(everything())
            await asyncio.sleep(_POLL)

    async def _listen(self) -> None:
        connection = await self._database.connect()
        try:
            async with asyncio.timeout(_ANSWER):
                await connection.add_listener(CHANNEL, self._heard)
            while True:
                async with asyncio.timeout(_ANSWER):
                    await self._round_trip(connection)
                if not self.hears.is_set():
                    self.hears.set()
                    self._polling = False
                    self._wake(everything())  # nobody knows what was said before
                await asyncio.sleep(_CHECK)
        finally:
            connection.terminate()

    async def _round_trip(self, connection: Any) -> None:
        self._echo.clear()
        word = f"{self._me} {next(self._numbers)}"
        at = await connection.fetchval("SELECT pg_notify($1, $2), clock_timestamp()", CHANNEL, word, column=1)
        self._steer(at.astimezone(UTC))
        await self._echo.wait()

    def _heard(self, _connection: Any, _process: int, _channel: str, word: str) -> None:
        name, _, echo = word.partition(" ")
        if name.partition(";")[0] == self._me:
            self._echo.set()
        elif not echo:
            self._wake(heard(name))
