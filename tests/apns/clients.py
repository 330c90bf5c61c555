"""Two clients that are asked the same: ours, and aioapns as it comes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import ssl
from collections.abc import AsyncIterator
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from aioapns import APNs, NotificationRequest, PushType
from aioapns.connection import APNsTLSClientProtocol
from apnsworld import QUICK, World, push
from peer import PATIENCE

from bridge.apns import Transport
from bridge.pushes import Accepted, Retryable

DEADLINE: Final = 0.4  # seconds that each push has; aioapns knows of none
GRACE: Final = 0.4  # seconds past it, after which a push of aioapns counts as hung
# PINGs so soon that a dead peer is found while a test waits.
ALERT: Final = dataclasses.replace(QUICK, suspicion=0.05, ping=0.6)


class Client(Protocol):
    """`send` gives a word: accepted, refused, unknown, certain (not processed), timed out; or it raises."""

    name: str
    patience: float

    async def send(self, number: int, size: int = 10, deadline: float = DEADLINE) -> str: ...

    @property
    def kept(self) -> int:
        """Give the pushes of which something is still kept."""


class Ours:
    name = "ours"
    patience = PATIENCE

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    async def send(self, number: int, size: int = 10, deadline: float = DEADLINE) -> str:
        outcome = await self.transport.send(push(number, payload=body(size), timeout=deadline))
        if isinstance(outcome, Accepted):
            return "accepted"
        if not isinstance(outcome, Retryable):
            return "refused"
        if outcome.certainly_not_processed:
            return "certain"
        return "timed out" if outcome.reason == "Timeout" else "unknown"

    @property
    def kept(self) -> int:
        pool = self.transport._pools[0]
        return len(pool._line._live) + sum(len(connection._streams) for connection in pool.connections)


class Stock:
    name = "aioapns"
    patience = DEADLINE + GRACE

    def __init__(self, client: APNs) -> None:
        self.client = client

    async def send(self, number: int, size: int = 10, deadline: float = DEADLINE) -> str:
        wanted = push(number)
        result = await self.client.send_notification(
            NotificationRequest(
                device_token=wanted.token,
                message={"aps": "x" * max(0, size - 10)},
                notification_id=wanted.apns_id,
                time_to_live=0,
                priority=10,
                push_type=PushType.VOIP,
            )
        )
        return "accepted" if result.is_successful else "refused"

    @property
    def kept(self) -> int:
        return sum(len(connection.request_streams) for connection in self.client.pool.connections)


def body(size: int) -> bytes:
    return b'{"aps":"%s"}' % (b"x" * max(0, size - 10))


@contextlib.asynccontextmanager
async def ours(
    world: World, url: str, proxy: str | None = None, *, ready: bool = False
) -> AsyncIterator[Client]:
    """Two connections, which are open first if the test says `ready`."""
    transport = world.transport(url, proxy=proxy, max_connections=2, warm=2, timing=ALERT)
    starting = asyncio.create_task(transport.start())
    try:
        async with asyncio.timeout(PATIENCE):
            while ready and transport.open_connections < 2:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.001)
        yield Ours(transport)
    finally:
        await transport.close(0)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)


@contextlib.asynccontextmanager
async def stock(
    world: World, url: str, proxy: str | None = None, *, ready: bool = False
) -> AsyncIterator[Client]:
    """aioapns with the settings it comes with, but for the address, ALPN, and one connection."""
    made: list[Any] = []

    class Local(APNsTLSClientProtocol):
        APNS_SERVER = "127.0.0.1"
        APNS_PORT = urlsplit(url).port or 443

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    context = ssl.create_default_context(cafile=world.ca_file)
    context.set_alpn_protocols(["h2"])
    client = APNs(
        key=world.key_pem,
        key_id="ABCDE12345",
        team_id="TEAM567890",
        topic="com.example.app.voip",
        max_connections=1,
        ssl_context=context,
        proxy_host=None if proxy is None else urlsplit(proxy).hostname,
        proxy_port=None if proxy is None else urlsplit(proxy).port,
    )
    client.pool.protocol_class = Local
    try:
        yield Stock(client)
    finally:
        for protocol in made:
            if protocol.inactivity_timer is not None:
                protocol.inactivity_timer.cancel()
            if protocol.transport is not None:
                protocol.transport.abort()
        await asyncio.sleep(0)


CLIENTS: Final = {"ours": ours, "aioapns": stock}
