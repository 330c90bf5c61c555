"""Who connects: not too many at once, and nobody who keeps us waiting.

aiohttp closes a connection that is idle, or does not finish a request's head, after its keep-alive time. The
rest is here: a body that does not come, a client that does not read its answer, and more connections
than there is room for. Then the one goes that was idle for the longest, so that whoever has something
to say gets in.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.typedefs import Handler

KEEP_ALIVE: Final = 75.0
"""Seconds that a connection may be idle, or take for a request's head: longer than proxies keep theirs."""

HEADERS: Final = 64
"""Headers of a request, of at most 8,190 bytes each."""

_HANDSHAKE: Final = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Connections at once, and seconds: for a body to come, and for a client to go on reading."""

    connections: int
    body: float = 30.0
    reading: float = 30.0


def open_files() -> int:
    """Raise the limit on open files as far as we may; gives it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 2**20


class Guards:
    """The connections of one listener. `on_cut` is told why one was cut off."""

    def __init__(self, limits: Limits, on_cut: Callable[[str], None]) -> None:
        self.limits = limits
        self._on_cut = on_cut
        self._open: dict[Any, Guard] = {}

    def __len__(self) -> int:
        return len(self._open)

    def accept(self, server: web.Server) -> Guard:
        """Make the protocol of a connection that comes."""
        return Guard(self, server())

    def enter(self, guard: Guard) -> bool:
        """Let a connection in; False: there is no room, and nobody who could go."""
        if len(self._open) >= self.limits.connections and not self._make_room():
            self._on_cut("no room")
            return False
        self._open[guard.handler] = guard
        return True

    def leave(self, guard: Guard) -> None:
        """It is closed."""
        self._open.pop(guard.handler, None)

    def _make_room(self) -> bool:
        idle = [guard for guard in self._open.values() if not guard.busy]
        going = idle or [guard for guard in self._open.values() if guard.unfinished]
        if not going:
            return False
        min(going, key=lambda guard: guard.since).cut("crowded out")
        return True

    def cut(self, guard: Guard, why: str) -> None:
        """A connection was cut off."""
        self.leave(guard)
        self._on_cut(why)

    @property
    def middleware(self) -> Any:
        """What tells the connections of their requests: it has to be the outermost."""

        @web.middleware
        async def watched(request: web.Request, handler: Handler) -> web.StreamResponse:
            guard = self._open.get(request.protocol)
            if guard is None:
                return await handler(request)
            guard.begin(request)
            try:
                return await handler(request)
            finally:
                guard.end()

        return watched


class Guard(asyncio.Protocol):
    """Stands before aiohttp's protocol of one connection. `since`: when it became idle, or busy."""

    def __init__(self, guards: Guards, handler: Any) -> None:
        self.handler = handler
        self.busy = False
        self.since = 0.0
        self._guards = guards
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._request: web.Request | None = None
        self._body: asyncio.TimerHandle | None = None
        self._reading: asyncio.TimerHandle | None = None

    @property
    def unfinished(self) -> bool:
        """Whether the body of its request has not come yet."""
        return self._request is not None and not self._request.content.is_eof()

    def begin(self, request: web.Request) -> None:
        """A request's head is there."""
        self._request, self.busy, self.since = request, True, self._loop.time()
        if self.unfinished:
            self._body = self._loop.call_later(self._guards.limits.body, self._late)

    def end(self) -> None:
        """The request is answered, but for what the client has still to read."""
        self._request, self.busy, self.since = None, False, self._loop.time()
        if self._body is not None:
            self._body.cancel()

    def _late(self) -> None:
        if self.unfinished:
            self.cut("slow body")

    def cut(self, why: str) -> None:
        """Cut the connection off."""
        if self._transport is not None:
            self._guards.cut(self, why)
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.since = self._loop.time()
        real = cast("asyncio.Transport", transport)
        if not self._guards.enter(self):
            real.abort()
            return
        self._transport = real
        self.handler.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return
        self._transport = None
        self._guards.leave(self)
        for timer in (self._body, self._reading):
            if timer is not None:
                timer.cancel()
        self.handler.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.handler.data_received(data)

    def eof_received(self) -> bool | None:
        return bool(self.handler.eof_received())

    def pause_writing(self) -> None:
        self._reading = self._loop.call_later(self._guards.limits.reading, self.cut, "slow reader")
        self.handler.pause_writing()

    def resume_writing(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self.handler.resume_writing()


class GuardedSite(web.TCPSite):
    """A TCPSite whose connections are guarded."""

    __slots__ = ("_guards",)

    def __init__(
        self, runner: web.AppRunner, guards: Guards, host: str | None, port: int, **more: Any
    ) -> None:
        super().__init__(runner, host, port, **more)
        self._guards = guards

    async def start(self) -> None:
        """Listen."""
        await super(web.TCPSite, self).start()
        server = cast("web.Server", self._runner.server)  # it is there once the runner is set up
        self._server = await asyncio.get_running_loop().create_server(
            partial(self._guards.accept, server),
            self._host,
            self._port,
            ssl=self._ssl_context,
            backlog=self._backlog,
            ssl_handshake_timeout=_HANDSHAKE if self._ssl_context else None,
        )

    async def stop(self) -> None:
        """Listen no more; who has been accepted gets an answer, or is closed with the others.

        Python 3.11 forgets a connection that it accepts in the very turn of the loop in which the server is
        closed: the client would wait until the process has ended.
        """
        if isinstance(self._server, asyncio.Server):
            for listening in self._server.sockets:
                asyncio.get_running_loop().remove_reader(listening)
            for _ in range(2):
                await asyncio.sleep(0)
        await super().stop()
