"""Servers to test against: one that h2 keeps honest, and one that sends whatever octets a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingReceived,
    RequestReceived,
    StreamEnded,
    StreamReset,
)
from h2.settings import SettingCodes
from listener import PATIENCE, Listener, streams

from bridge.apns import framing


def cancelled(tasks: set[asyncio.Task[None]]) -> int:
    """Cancel them all; give how many there were."""
    return sum(task.cancel() for task in tasks)


@dataclass
class Request:
    """What arrived on one stream."""

    link: Link
    stream_id: int
    headers: dict[str, str]
    body: bytes = b""
    whole: bool = False
    reset: int | None = None


@dataclass(eq=False)
class Link:
    """One connection, seen from the server."""

    h2: H2Connection
    writer: asyncio.StreamWriter
    requests: dict[int, Request] = field(default_factory=dict)
    open: int = 0
    most_open: int = 0
    pings: int = 0
    goaway: ConnectionTerminated | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def change(self, **settings: int) -> None:
        """Announce other settings; h2 holds the client to them once it has acknowledged them."""
        self.h2.update_settings({SettingCodes[name]: value for name, value in settings.items()})
        self.flush()

    def raw(self, data: bytes) -> None:
        self.flush()
        self.writer.write(data)

    def answer(self, request: Request, status: int = 200, body: bytes = b"", **headers: str) -> None:
        fields = [(":status", str(status)), ("apns-id", request.headers.get("apns-id", ""))]
        fields += [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.h2.send_headers(request.stream_id, fields, end_stream=not body)
        if body:
            self.h2.send_data(request.stream_id, body, end_stream=True)
        self.open -= 1
        self.flush()


Script = Callable[[Link, Request], Awaitable[None] | None]


def accept(link: Link, request: Request) -> None:
    link.answer(request)


def silence(link: Link, request: Request) -> None:
    """Never answer."""


def refuse(status: int, reason: str, **more: Any) -> Script:
    import json

    def script(link: Link, request: Request) -> None:
        link.answer(request, status, json.dumps({"reason": reason, **more}).encode())

    return script


class Peer:
    """An APNs that follows RFC 9113 as far as h2 does; `script` answers each whole request."""

    def __init__(
        self,
        context: ssl.SSLContext,
        script: Script = accept,
        *,
        settings: dict[SettingCodes, int] | None = None,
        credit: bool = True,
        greet: Callable[[Link], None] | None = None,
    ) -> None:
        self.context = context
        self.script = script
        self.settings = settings or {}
        self.credit = credit
        self.greet = greet
        self.links: list[Link] = []
        self.requests: list[Request] = []
        self.arrived: asyncio.Queue[Request] = asyncio.Queue()
        self.resets: asyncio.Queue[Request] = asyncio.Queue()
        self.connected: asyncio.Queue[Link] = asyncio.Queue()
        self.pinged: asyncio.Queue[Link] = asyncio.Queue()
        self.frozen = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = Listener(streams(self._serve), self.context, end=lambda: cancelled(self._tasks))
        await self._server.__aenter__()
        self.port = self._server.port
        self.url = f"https://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for link in self.links:
            if link.writer.transport is not None:
                link.writer.transport.abort()
        await self._server.__aexit__()

    async def next(self) -> Request:
        return await asyncio.wait_for(self.arrived.get(), PATIENCE)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        config = H2Configuration(client_side=False, header_encoding="utf-8")
        link = Link(H2Connection(config=config), writer)
        link.h2.update_settings(self.settings)
        link.h2.local_settings.acknowledge()
        link.h2.initiate_connection()
        self.links.append(link)
        try:
            link.flush()
            if self.greet is not None:
                self.greet(link)
            self.connected.put_nowait(link)
            while data := await reader.read(65_536):
                await self._take(link, data)
                link.flush()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            link.gone.set()
            writer.transport.abort()
            self._tasks.discard(task)

    async def _take(self, link: Link, data: bytes) -> None:
        for event in link.h2.receive_data(data):
            if isinstance(event, RequestReceived):
                request = Request(link, event.stream_id, dict(event.headers))
                link.requests[event.stream_id] = request
                link.open += 1
                link.most_open = max(link.most_open, link.open)
            elif isinstance(event, DataReceived):
                link.requests[event.stream_id].body += event.data
                if self.credit:
                    link.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, StreamEnded):
                await self._whole(link, link.requests[event.stream_id])
            elif isinstance(event, StreamReset):
                link.open -= 1
                link.requests[event.stream_id].reset = int(event.error_code)
                self.resets.put_nowait(link.requests[event.stream_id])
            elif isinstance(event, PingReceived):
                link.pings += 1
                self.pinged.put_nowait(link)
            elif isinstance(event, ConnectionTerminated):
                link.goaway = event

    async def _whole(self, link: Link, request: Request) -> None:
        request.whole = True
        self.requests.append(request)
        self.arrived.put_nowait(request)
        done = self.script(link, request)
        if done is not None:
            await done


class RawLink:
    """One connection of a client that gets octets of the test's choice."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._frames = framing.FrameReader()
        self._ready: list[framing.Frame] = []

    def send(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    def greet(self, values: dict[framing.Setting, int] | None = None) -> None:
        self.send(framing.settings(values or {}))

    async def frame(self, *kinds: int) -> framing.Frame | None:
        """Give the next frame of these kinds; None at the end."""
        while True:
            while self._ready:
                found = self._ready.pop(0)
                if not kinds or found[0] in kinds:
                    return found
            async with asyncio.timeout(PATIENCE):  # wait_for of 3.11 can swallow a cancellation
                data = await self.reader.read(65_536)
            if not data:
                return None
            self._ready += list(self._frames.feed(data))

    async def goaway_code(self) -> int | None:
        found = await self.frame(framing.GOAWAY)
        return None if found is None else framing.long(found[3], 4)


RawScript = Callable[[RawLink], Awaitable[None]]


@contextlib.asynccontextmanager
async def raw_peer(context: ssl.SSLContext | None, script: RawScript) -> AsyncIterator[RawServer]:
    """Run a server which reads the client's preface and then does as the script says."""
    server = RawServer(script, preface=context is not None)
    async with Listener(streams(server.serve), context, end=lambda: cancelled(server.tasks)) as listening:
        server.port = listening.port
        server.url = f"https://127.0.0.1:{server.port}"
        yield server


class RawServer:
    port = 0
    url = ""

    def __init__(self, script: RawScript, *, preface: bool) -> None:
        self.script = script
        self.preface = preface
        self.tasks: set[asyncio.Task[None]] = set()
        self.count = 0
        self.failure: BaseException | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.count += 1
        try:
            if self.preface:
                assert await reader.readexactly(len(framing.PREFACE)) == framing.PREFACE
            await self.script(RawLink(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except Exception as error:  # noqa: BLE001 - the test asks for it
            self.failure = error
        finally:
            writer.transport.abort()
            self.tasks.discard(task)
