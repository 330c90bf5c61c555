"""Open pages stay up to date: a stream tells each one which of its parts look different now.

Nothing is kept for a page that is away: each stream begins with all parts, so a page that comes back after
a break or a restart is right again at once. What a part looks like is worked out once for all who look at
the same page, at most once in a second. Format: WHATWG HTML, section 9.2 "Server-sent events".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

import structlog
from aiohttp import web

from bridge.clock import set_within
from bridge.telemetry import Metrics

log = structlog.get_logger()

Parts: TypeAlias = Mapping[str, str]
"""The parts of a page, by name, as HTML."""

_STREAMS: Final = 64
_PACE: Final = 1.0
"""Seconds between two updates of a page, at least."""

_SHARE: Final = 4
"""Of the time that it took to work out a page's parts, at least so many times as long is rest."""

_REST: Final = 3.0
"""Seconds of rest at the most."""

_REFRESH: Final = 15.0
"""Seconds after which a page is worked out anew without news: ages, connections, who is on call."""

_WRITE: Final = 10.0
"""Seconds that a browser may take to read what was written."""


@dataclass(slots=True)
class _Board:
    """The parts of one page for all who look at it.

    `seen` is the generation that they are of; they were begun at `began_at` and ready at `made_at`.
    """

    make: Callable[[], Awaitable[Parts]]
    parts: Parts = field(default_factory=dict)
    seen: int = -1
    began_at: float = -_REFRESH
    made_at: float = -_REFRESH
    rests_until: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    viewers: int = 0


class Live:
    """The open streams. `wake` after every commit."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._boards: dict[tuple[str, ...], _Board] = {}
        self._woken: set[asyncio.Event] = set()
        self._closing = asyncio.Event()
        self._generation = 0

    def wake(self, _: datetime | None = None) -> None:
        """Something has changed."""
        self._generation += 1
        for event in self._woken:
            event.set()

    def close(self) -> None:
        """End every stream: the listener stops."""
        self._closing.set()
        self.wake()

    async def stream(
        self,
        request: web.Request,
        key: tuple[str, ...],
        make: Callable[[], Awaitable[Parts]],
        finish: Callable[[str], str],
        stands: Callable[[], bool],
    ) -> web.StreamResponse:
        """Tell a page what has changed until it goes, or who looks may not any more (`stands`).

        Pages of one `key` look the same, but for `finish`.
        """
        if len(self._woken) >= _STREAMS or self._closing.is_set():
            raise web.HTTPServiceUnavailable(text="too many pages are open; this one is not live")
        woken = asyncio.Event()
        self._woken.add(woken)
        board = self._boards.setdefault(key, _Board(make))
        board.viewers += 1
        self._metrics.viewers.set(len(self._woken))
        try:
            return await self._serve(request, self._tell(board, woken, finish, stands))
        finally:
            self._woken.discard(woken)
            board.viewers -= 1
            if not board.viewers:
                self._boards.pop(key, None)
            self._metrics.viewers.set(len(self._woken))

    async def _serve(self, request: web.Request, texts: AsyncGenerator[str, None]) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",  # nginx would hold events back
            }
        )
        await response.prepare(request)
        try:
            async with aclosing(texts):
                async for text in texts:
                    async with asyncio.timeout(_WRITE):
                        await response.write(text.encode())
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()  # it does not read: it would not read the end either
        except ConnectionError:
            pass  # a page that is closed is no error
        except Exception:  # the answer has begun: its end is all that can be said, and the page comes again
            log.exception("a page's stream broke off", path=request.path)
        return response

    async def _tell(
        self,
        board: _Board,
        woken: asyncio.Event,
        finish: Callable[[str], str],
        stands: Callable[[], bool],
    ) -> AsyncGenerator[str, None]:
        yield ": welcome\nretry: 1000\n\n"
        told: dict[str, str] = {}
        while not self._closing.is_set() and stands():
            woken.clear()
            parts = await self._current(board)
            for name, html in parts.items():
                if told.get(name) != html:
                    told[name] = html
                    yield _event(name, finish(html))
            await set_within(self._closing, _PACE)
            if not await set_within(woken, _REFRESH):
                yield ": still here\n\n"

    async def _current(self, board: _Board) -> Parts:
        """Give the parts as they are; worked out by whoever comes first, with a rest before the next time.

        Those that were begun after one had asked will do: of what came later one is woken once more.
        """
        asked = time.monotonic()
        async with board.lock:
            age = time.monotonic() - board.made_at
            if board.began_at >= asked or (board.seen == self._generation and age < _REFRESH / 2):
                return board.parts
            await set_within(self._closing, board.rests_until - time.monotonic())
            generation, began = self._generation, time.monotonic()
            try:
                board.parts = await board.make()
                board.seen, board.began_at, board.made_at = generation, began, time.monotonic()
            finally:  # where it failed, or who asked went away, the next one makes it
                now = time.monotonic()
                board.rests_until = now + min((now - began) * _SHARE, _REST)
            return board.parts


def _event(name: str, html: str) -> str:
    data = "\n".join(f"data: {line}" for line in html.splitlines())
    return f"event: {name}\n{data}\n\n"
