"""One HTTP/2 connection to APNs, as a protocol of asyncio: what pools and the event loop see of it.

It can serve as `protocol_class` of aioapns' own pools too. It never waits and never raises
towards the event loop: each push it took gets its result from an answer, from the clock of
its line, or from the end of the connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from aioapns import NotificationRequest

from bridge.apns.exchange import Exchange
from bridge.apns.limits import Timing
from bridge.apns.line import Line
from bridge.apns.messages import UNANSWERED, PushResult, complete
from bridge.apns.receiving import Receiving

if TYPE_CHECKING:
    from typing import Self


class Connection(Receiving):
    """The client's side of one connection. Subclass with `APNS_SERVER` and `APNS_PORT`, or use `to`."""

    _line: Line | None = None

    @classmethod
    def to(cls, host: str, port: int, timing: Timing | None = None) -> type[Self]:
        """Give the class of connections to one address."""
        values = {"APNS_SERVER": host, "APNS_PORT": port, "TIMING": timing or cls.TIMING}
        return cast("type[Self]", type(cls.__name__, (cls,), values))

    async def send_notification(self, request: NotificationRequest) -> PushResult:
        """Send over this very connection: the way in for a pool that is not ours."""
        wanted = complete(request, self.loop.time())
        wanted.apns_topic = wanted.apns_topic or self.apns_topic
        if self.reason is not None:
            return PushResult(wanted.notification_id, UNANSWERED, self.reason, certainly_not_processed=True)
        if self._line is None:
            self._line = Line(self.loop, lambda exchange: self if self.room(exchange) > 0 else None)
            self.on_change = self._serve_own_line
        return await self._line.run(Exchange(wanted, self.loop.create_future()))

    def _serve_own_line(self) -> None:
        if self._line is not None:
            if self.reason is not None:
                self._line.fail_waiting(self.reason)
            self._line.pump()

    @property
    def is_busy(self) -> bool:
        """Whether it takes no more pushes. A full one does: they wait in line."""
        return self.reason is not None

    def close(self) -> None:
        """Close when the pushes in flight are done; at once if there are none."""
        self.leave("Closed")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin. With a proxy, octets may have come before this call."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from asyncio's
        if self._over:
            self._transport.abort()
            return
        self.pulse.start()
        self._flush()

    def eof_received(self) -> None:
        """Let the transport close: nothing can be answered any more."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Settle what is left, whoever ended it."""
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        if not self._over:
            self._finish_all("ConnectionLost" if exc is None else f"ConnectionLost: {type(exc).__name__}")
        # We hold each other in circles, which are not collected soon; TLS's buffers shall not wait for that.
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        """Open no more streams: the socket is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on."""
        self._paused = False
        self._unread = 0
        self._notify()
