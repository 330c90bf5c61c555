"""aioapns' pools, with connections of ours: who takes the next push, and when to connect.

One task connects, for whoever waits (single flight), with a back-off that grows with each
failure and is spread at random. It never holds up a push that another connection can take.
Some connections are open before anybody needs them; more are opened while all are full.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from functools import partial
from typing import TYPE_CHECKING

from aioapns import NotificationRequest
from aioapns.connection import APNsBaseConnectionPool, APNsCertConnectionPool, APNsKeyConnectionPool

from bridge.apns.connection import Connection
from bridge.apns.dial import DialError, Proxy, dial, limit
from bridge.apns.exchange import Exchange
from bridge.apns.limits import refuses_sender
from bridge.apns.line import Line
from bridge.apns.messages import UNANSWERED, PushNotification, PushResult, complete
from bridge.apns.streams import Streams
from bridge.apns.token import ProviderToken

log = logging.getLogger(__name__)


class Pooling(APNsBaseConnectionPool):
    """What both pools share. `prepare` must follow the constructor of aioapns."""

    if TYPE_CHECKING:
        connections: list[Connection]  # type: ignore[assignment]  # aioapns' list of its own protocols

    def prepare(
        self,
        address: type[Connection],
        context: ssl.SSLContext,
        *,
        warm: int,
        proxy: Proxy | None,
        provider: ProviderToken | None,
    ) -> None:
        """Say where to connect, how, and how many connections to keep open ahead of need."""
        self.protocol_class = address  # type: ignore[assignment]  # has all that is used of aioapns' class
        self.ssl_context = context
        self.loop = asyncio.get_running_loop()
        self.connections = []
        self.last_error: str | None = None
        self.refused: str | None = None  # the reason, while APNs refuses who we are
        self.tried = asyncio.Event()  # set when the first attempt to connect is over
        self._address = address
        self._proxy = proxy
        self._provider = provider
        self._warm = min(warm, self.max_connections)
        self._line = Line(self.loop, self._choose)
        self._opened: dict[Connection, float] = {}  # those that are not closed yet, also outside the pool
        self._failures = 0  # attempts to connect that failed, in a row
        self._short_lives = 0  # connections that died young and useless, in a row
        self._takers = 0
        self._room: asyncio.Future[None] = self.loop.create_future()
        self._closing = False
        self._connector: asyncio.Task[None] | None = None

    # --- sending --------------------------------------------------------------------------

    async def send_notification(self, request: NotificationRequest) -> PushResult:
        """Give what became of the push, by its deadline. Raises nothing but CancelledError.

        It is sent once. Only where APNs calls the provider token expired, which says that
        nothing was done, it is sent again with a new one.
        """
        wanted = request if isinstance(request, PushNotification) else complete(request, self.loop.time())
        wanted.apns_topic = wanted.apns_topic or self.apns_topic
        if self._closing:
            return PushResult(
                wanted.notification_id, UNANSWERED, "ShuttingDown", certainly_not_processed=True
            )
        exchange = Exchange(wanted, self.loop.create_future())
        self._line.enter(exchange)
        try:
            result = await exchange.future
        finally:
            self._line.leave(exchange)
        if result.status == "200":
            self.refused = None
            return result
        provider = self._provider
        expired = result.description == "ExpiredProviderToken"
        if expired and provider is not None and provider.replace(exchange.authorization):
            again = Exchange(wanted, self.loop.create_future())
            again.authorization = provider.get_header()
            result = await self._line.run(again)
        if result.status != UNANSWERED:
            self.refused = result.description if refuses_sender(result.status, result.description) else None
        return result

    async def acquire(self) -> Connection:  # type: ignore[override]  # ours instead of aioapns' protocols
        """Wait for a connection with a free stream, as aioapns' pools do. Pushes stand in line instead."""
        self._takers += 1
        try:
            while True:
                for connection in self.connections:
                    if connection.free > 0:
                        return connection
                self._connect_if_needed()
                if self._room.done():
                    self._room = self.loop.create_future()
                await asyncio.shield(self._room)
        finally:
            self._takers -= 1

    def _choose(self, exchange: Exchange) -> Connection | None:
        """Name the connection with the most free streams; one that may be dead gets nothing."""
        chosen, most = None, 0
        for connection in self.connections:
            room = connection.room(exchange)
            if room > most and not connection.pulse.doubtful:
                chosen, most = connection, room
        if chosen is None:
            self._connect_if_needed()
        return chosen

    def _on_change(self) -> None:
        """Something changed in a connection: there may be room, or one too few."""
        if not self._room.done():
            self._room.set_result(None)
        self._line.pump()
        self._connect_if_needed()

    # --- connecting -----------------------------------------------------------------------

    def open_ahead(self) -> None:
        """Open the connections that nobody needs yet."""
        self._connect_if_needed()

    async def create_connection(self) -> Connection:  # type: ignore[override]  # see `acquire`
        """Open one, within the time limit. Raises OSError, DialError, or ValueError for a strange name."""
        factory = partial(
            self._address, self.apns_topic or "", self.loop, self.discard_connection, self._provider
        )
        context = self.ssl_context
        if context is None:
            raise DialError("no TLS context")
        async with limit(self._address.TIMING.connect, "no connection"):
            connection = await dial(factory, context, self._proxy, self._failures)
        connection.on_change = self._on_change
        return connection

    def discard_connection(self, connection: Streams) -> None:  # type: ignore[override]  # see `acquire`
        """Take a connection out that goes away, dies or is closed; it finishes what it has by itself."""
        if connection not in self.connections:
            return
        self.connections.remove(connection)
        self.last_error = connection.reason
        born = self._opened.get(connection, 0.0)
        young = self.loop.time() - born < self._address.TIMING.stable
        self._short_lives = self._short_lives + 1 if young and not connection.answered else 0
        if not self._closing:
            log.info("APNs connection left: %s", connection.reason)
        self.loop.call_soon(self._connect_if_needed)

    def _connect_if_needed(self) -> None:
        if self._connector is not None and not self._connector.done():
            return
        if len(self.connections) < self._wanted():
            self._connector = self.loop.create_task(self._connect())

    def _wanted(self) -> int:
        """Count the connections that there should be now."""
        doubtful = sum(connection.pulse.doubtful for connection in self.connections)
        wanted = max(self._warm, min(1, self._takers)) + doubtful
        if self._line.head is not None and not any(
            connection.free > 0 or connection.limit.trial for connection in self.connections
        ):
            wanted = max(wanted, len(self.connections) + 1)
        if self._closing and self._line.head is None:
            return 0
        return min(wanted, self.max_connections + doubtful)

    async def _connect(self) -> None:
        """Connect until there are enough. The only place that does."""
        while len(self.connections) < self._wanted():
            if self._failures or self._short_lives:
                await asyncio.sleep(self._back_off())
            try:
                connection = await self.create_connection()
            except (OSError, DialError, ValueError) as error:
                self._failures += 1
                self.last_error = f"{type(error).__name__}: {error}"
                log.warning("cannot connect to APNs: %s", self.last_error)
            else:
                self._admit(connection)
            self.tried.set()

    def _admit(self, connection: Connection) -> None:
        self._failures = 0
        self.connections.append(connection)
        self._opened[connection] = self.loop.time()
        connection.closed.add_done_callback(lambda _: self._opened.pop(connection, None))
        self._on_change()

    def _back_off(self) -> float:
        timing = self._address.TIMING
        doublings = min(self._failures + self._short_lives - 1, 16)
        longest: float = min(timing.back_off_limit, timing.back_off * 2**doublings)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing

    # --- the end and the state ------------------------------------------------------------

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 - what is left then has an outcome too
        """Take no more pushes, wait up to `timeout` seconds for those there are, close everything."""
        self._closing = True
        try:
            async with asyncio.timeout(timeout):
                await self._line.emptied()
        except TimeoutError:
            self._line.fail_waiting("ShuttingDown")
        if self._connector is not None:
            self._connector.cancel()
            await asyncio.wait([self._connector])
        closed = [connection.closed for connection in self._opened]
        for connection in list(self._opened):
            connection.end("ShuttingDown")
        if closed:
            await asyncio.wait(closed, timeout=2 * self._address.TIMING.close)
        self._line.close()

    def close(self) -> None:
        """Close without waiting, as aioapns' pools do."""
        self._closing = True
        for connection in list(self.connections):
            connection.close()

    @property
    def usable(self) -> bool:
        """Whether a push could go out now, as far as anybody can know."""
        sound = any(not connection.pulse.doubtful for connection in self.connections)
        return sound and self.refused is None

    @property
    def in_flight(self) -> int:
        """Streams without an answer, also on connections that are leaving."""
        return sum(connection.in_flight for connection in self._opened)

    @property
    def waiting(self) -> int:
        """Pushes for which there was no room yet."""
        return self._line.waiting


class KeyPool(Pooling, APNsKeyConnectionPool):  # type: ignore[misc]  # see `Pooling.acquire`
    """Connections that show a provider token with each push."""


class CertificatePool(Pooling, APNsCertConnectionPool):  # type: ignore[misc]  # likewise
    """Connections that show a VoIP Services certificate when they open."""
