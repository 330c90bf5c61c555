"""A TCP proxy whose connections can be cut, frozen and refused; also the one address of several."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Self


class Proxy:
    """Carries each connection to the next of the `backends` (HOST:PORT) that accepts it.

    Frozen, it takes connections and octets, and carries none of them, nor their end.
    """

    def __init__(self, backends: Sequence[str]) -> None:
        self._backends = backends
        self._turn = itertools.count()
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refuses = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.url = f"http://{self.address}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.freeze(frozen=False)
        self.refuse()
        while self._tasks:
            self.cut()
            await asyncio.wait(self._tasks, timeout=1.0)

    def cut(self) -> None:
        """Break all connections off, with a reset."""
        for writer in list(self._writers):
            _reset(writer)

    def refuse(self, *, refuses: bool = True) -> None:
        """Break all connections off, and new ones at once; or take them again."""
        self._refuses = refuses
        if refuses:
            self.cut()

    def freeze(self, *, frozen: bool = True) -> None:
        """Carry nothing any more; or go on where it stopped."""
        if frozen:
            self._flows.clear()
        else:
            self._flows.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        there = None
        try:
            await self._flows.wait()
            if self._refuses:
                _reset(writer)
            elif found := await self._connect():
                back, there = found
                self._writers.add(there)
                await asyncio.gather(self._pump(reader, there), self._pump(back, writer))
        finally:
            for one in (writer, there):
                if one is not None:
                    one.close()
                    with suppress(OSError):
                        await one.wait_closed()
                    self._writers.discard(one)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        first = next(self._turn)
        for offset in range(len(self._backends)):
            host, _, port = self._backends[(first + offset) % len(self._backends)].rpartition(":")
            with suppress(OSError):
                return await asyncio.open_connection(host, int(port))
        return None

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Carry one direction to its end; a reset goes on as a reset."""
        try:
            while data := await source.read(65_536):
                await self._flows.wait()
                sink.write(data)
                await sink.drain()
            await self._flows.wait()
            sink.close()
        except OSError:
            _reset(sink)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, with a reset and not with a friendly end."""
    with suppress(OSError):
        there = writer.get_extra_info("socket")
        there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
