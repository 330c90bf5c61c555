"""A Service as Kubernetes has it: one address, and each connection goes to whoever takes it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import suppress
from typing import Self


class Service:
    """Carries each connection to the next of the `backends` (HOST:PORT) that accepts it."""

    def __init__(self, backends: Sequence[str]) -> None:
        self._backends = backends
        self._turn = itertools.count()
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        while self._writers:
            for writer in list(self._writers):
                writer.transport.abort()
            await asyncio.sleep(0)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if found := await self._connect():
                back, there = found
                self._writers.add(there)
                await asyncio.gather(_pump(reader, there), _pump(back, writer))
                self._writers.discard(there)
        finally:
            writer.close()
            self._writers.discard(writer)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        first = next(self._turn)
        for offset in range(len(self._backends)):
            host, _, port = self._backends[(first + offset) % len(self._backends)].partition(":")
            with suppress(OSError):
                return await asyncio.open_connection(host, int(port))
        return None


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    sink.close()
