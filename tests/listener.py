"""A TCP server of the tests that has every connection in its care from accept to end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Self

PATIENCE = 30.0  # seconds; only a failing test waits that long
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """Serves each connection with a protocol of the factory's, on a free port of 127.0.0.1 or on the given one.

    asyncio's own server loses what it has just accepted when it is closed (3.11: `Server._attach` fails and the
    socket stays open), and nobody can end a connection of it whose handshake goes on. Either is collected
    in some later test, as a warning. `end` is asked to end what is served, until all is over; it gives
    whether there was anything.
    """

    def __init__(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        context: ssl.SSLContext | None = None,
        *,
        port: int = 0,
        end: Callable[[], object] = lambda: None,
    ) -> None:
        self._factory = factory
        self._context = context
        self._end = end
        self._listening = socket.create_server(("127.0.0.1", port))
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self._accepted: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._listening, self._accept)
        return self

    async def __aexit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._listening)
        self._listening.close()
        for one in self._accepted:
            with contextlib.suppress(OSError):  # it is over already
                one.shutdown(socket.SHUT_RDWR)
        async with asyncio.timeout(PATIENCE):
            while self._end() or self._tasks or self._open():  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.001)

    def _open(self) -> bool:
        return any(one.fileno() >= 0 for one in self._accepted)

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            accepted, _ = self._listening.accept()
            accepted.setblocking(False)
            # As asyncio does it, but not for this socket: it was not made by asyncio.
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._accepted.append(accepted)
            task = asyncio.create_task(self._connect(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the handshake failed
            loop = asyncio.get_running_loop()
            await loop.connect_accepted_socket(self._factory, accepted, ssl=self._context)


def streams(serve: Serve) -> Callable[[], asyncio.BaseProtocol]:
    """Serve connections with a reader and a writer, as `asyncio.start_server` does."""

    def factory() -> asyncio.BaseProtocol:
        return asyncio.StreamReaderProtocol(asyncio.StreamReader(), serve)

    return factory
