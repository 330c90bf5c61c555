"""Connections that keep us waiting are cut off, and those that have something to say get in."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web

from bridge.web.guard import GuardedSite, Guards, Limits

POST = b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: b\r\n\r\n"
ANSWER = b"x" * 10


class Server:
    """A guarded server that reads bodies, and gives as much as it is asked for."""

    def __init__(self, limits: Limits) -> None:
        self.cut: Counter[str] = Counter()
        self.changed = asyncio.Event()
        self.guards = Guards(limits, self._cut)
        self.port = 0
        self.began = 0
        self.failed: list[BaseException] = []

    def _cut(self, why: str) -> None:
        self.cut[why] += 1
        self.changed.set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.began += 1
        self.changed.set()
        await request.read()
        return web.Response(body=ANSWER)

    async def much(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 100_000)
        except OSError as error:
            self.failed.append(error)
            self.changed.set()
            raise

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, limit=2**16)

    async def happened(self, why: str) -> None:
        async with asyncio.timeout(30):
            while not self.cut[why]:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def served(limits: Limits, keep_alive: float = 30.0) -> AsyncIterator[Server]:
    server = Server(limits)
    app = web.Application(middlewares=[server.guards.middleware])
    app.add_routes([web.route("*", "/", server.answer), web.get("/much", server.much)])
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(app, shutdown_timeout=1, keepalive_timeout=keep_alive)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await GuardedSite(runner, server.guards, "127.0.0.1", 0).start()
        server.port = runner.addresses[0][1]
        yield server


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Read until the connection is closed, however."""
    found = b""
    async with asyncio.timeout(30):
        try:
            while data := await reader.read(2**16):
                found += data
        except ConnectionError:
            pass
    return found


async def ask(server: Server, *parts: bytes) -> tuple[Any, Any]:
    reader, writer = await server.open()
    for part in parts:
        writer.write(part)
        await writer.drain()
    return reader, writer


async def answered(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(30):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(ANSWER))
    return head


async def test_a_body_that_does_not_come_is_cut_off() -> None:
    async with served(Limits(10, body=0.05)) as server:
        reader, writer = await ask(server, POST, b"half")
        assert await ended(reader) == b""
        assert server.cut == {"slow body": 1}
        assert len(server.guards) == 0
        writer.close()


async def test_a_body_that_comes_in_time_is_not_and_the_connection_goes_on() -> None:
    async with served(Limits(10, body=30)) as server:
        reader, writer = await ask(server, POST, b"half")
        writer.write(b" abody" + GET)
        for _ in range(2):
            assert (await answered(reader)).startswith(b"HTTP/1.1 200")
        assert server.cut == {}
        writer.close()


async def test_a_client_that_does_not_read_its_answer_is_cut_off() -> None:
    async with served(Limits(10, reading=0.05)) as server:
        raw = socket.create_connection(("127.0.0.1", server.port))
        with raw:
            raw.sendall(GET.replace(b"/ ", b"/much "))
            await server.happened("slow reader")
        assert len(server.guards) == 0


@pytest.mark.parametrize("sent", [b"", GET[:20]], ids=["nothing", "half a head"])
async def test_a_client_that_asks_for_nothing_is_cut_off(sent: bytes) -> None:
    async with served(Limits(10), keep_alive=0.05) as server:
        reader, writer = await ask(server, sent)
        assert await ended(reader) == b""
        writer.close()


async def test_where_it_is_full_the_longest_idle_goes_and_the_newcomer_is_served() -> None:
    async with served(Limits(3)) as server:
        idle = [await ask(server, GET) for _ in range(3)]
        for reader, _ in idle:
            await answered(reader)
        idle[0][1].write(GET)  # it is the one that was idle for the shortest time now
        await answered(idle[0][0])
        reader, writer = await ask(server, GET)
        assert (await answered(reader)).startswith(b"HTTP/1.1 200")
        assert await ended(idle[1][0]) == b""
        assert server.cut == {"crowded out": 1}
        assert len(server.guards) == 3
        for _, other in (*idle, (reader, writer)):
            other.close()


async def test_where_all_are_busy_one_whose_body_has_not_come_goes() -> None:
    async with served(Limits(2)) as server:
        slow = [await ask(server, POST) for _ in range(2)]
        async with asyncio.timeout(30):
            while server.began < 2:
                await server.changed.wait()
                server.changed.clear()
        reader, writer = await ask(server, GET)
        assert (await answered(reader)).startswith(b"HTTP/1.1 200")
        assert await ended(slow[0][0]) == b""
        assert server.cut == {"crowded out": 1}
        for _, other in (*slow, (reader, writer)):
            other.close()


async def test_where_nobody_can_go_the_newcomer_is_turned_away() -> None:
    async with served(Limits(1)) as server:
        reader, writer = await ask(server, GET.replace(b"/ ", b"/much "))
        async with asyncio.timeout(30):
            await reader.readuntil(b"\r\n\r\n")
        other, closing = await ask(server, GET)
        assert await ended(other) == b""
        assert server.cut == {"no room": 1}
        assert len(server.guards) == 1
        writer.close()
        closing.close()


@pytest.mark.parametrize("turns", range(5))
async def test_who_connects_while_the_server_ends_is_not_kept_waiting(turns: int) -> None:
    async with served(Limits(10)) as server:
        client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        for _ in range(turns):
            await asyncio.sleep(0)
    with client, suppress(ConnectionError):
        assert await asyncio.to_thread(client.recv, 1) == b""
