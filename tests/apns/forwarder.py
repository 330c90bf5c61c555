"""A stretch of network between client and server, which can be cut without a word to either."""

from __future__ import annotations

import asyncio
from typing import Self

from listener import Listener, streams
from peer import cancelled


class Forwarder:
    """Carries octets both ways. After `cut`, nothing more comes through on the connections there are."""

    def __init__(self, port: int) -> None:
        self.target = port
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> Self:
        self._server = Listener(streams(self._carry), end=self._end)
        await self._server.__aenter__()
        self.url = f"https://127.0.0.1:{self._server.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.__aexit__()

    def cut(self) -> None:
        """No octet, no FIN, no RST: the sockets stay as they are, and nobody reads them."""
        cancelled(self._pumps)
        for writer in self._writers:
            writer.transport.pause_reading()

    def _end(self) -> int:
        for writer in self._writers:
            writer.transport.abort()
        return cancelled(self._pumps)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers.append(back)
        for source, sink in ((reader, back), (there, writer)):
            pump = asyncio.create_task(self._pump(source, sink))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65_536):
                sink.write(data)
        except ConnectionError:
            pass
        sink.close()
