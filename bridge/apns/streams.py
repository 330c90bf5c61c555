"""The sending half of a connection: its streams, what is written for them, and how they end.

RFC 9113 sections 5.1 (states), 5.1.2 (concurrency), 5.4 (errors), 6.9 (flow control), 8.1 (requests).
`receiving` adds what the peer says, `connection` what pools and the event loop see.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Final

from aioapns.connection import AuthorizationHeaderProvider

from bridge.apns import framing
from bridge.apns.exchange import Exchange
from bridge.apns.flow import SendWindows
from bridge.apns.framing import ErrorCode, Setting, ViolationError
from bridge.apns.headers import LIST_LIMIT, SIZE_UPDATE, RequestEncoder
from bridge.apns.limits import Noise, StreamLimit, Timing
from bridge.apns.pulse import Pulse

LAST_STREAM: Final = 2**31 - 1  # section 5.1.1
RESET_REMEMBERED: Final = 4_096  # streams that we reset and for which an answer may still come
PIECES: Final = 4  # of one request
WRITE_LEAST: Final = 4 * PIECES  # worth a write, if the peer has no more than that to do
WRITE_LIMIT: Final = 48 * PIECES  # worth one in any case
REPLIES_LIMIT: Final = 1_000  # to a peer that does not read
DEFAULT_PORT: Final = 443
_OURS: Final = {Setting.ENABLE_PUSH: 0, Setting.MAX_HEADER_LIST_SIZE: LIST_LIMIT}


class Streams(asyncio.BufferedProtocol):
    """State of a connection and all that it writes. Names without underscore are for pool and line."""

    APNS_SERVER: ClassVar[str] = "api.push.apple.com"
    APNS_PORT: ClassVar[int] = DEFAULT_PORT
    TIMING: ClassVar[Timing] = Timing()

    def __init__(
        self,
        apns_topic: str,
        loop: asyncio.AbstractEventLoop | None = None,
        on_connection_lost: Callable[[Any], object] | None = None,
        auth_provider: AuthorizationHeaderProvider | None = None,
    ) -> None:
        self.apns_topic = apns_topic
        self.loop = loop or asyncio.get_running_loop()
        self.on_connection_lost = on_connection_lost
        self.auth_provider = auth_provider
        self.on_change: Callable[[], object] = _nothing
        self.reason: str | None = None  # why it takes no more pushes; None while it does
        self.answered = 0  # pushes that got a status here
        self.ready: asyncio.Future[None] = self.loop.create_future()  # done at SETTINGS, or at the end
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self.limit = StreamLimit(trusted=auth_provider is None)
        self.pulse = Pulse(
            self.loop,
            self.TIMING,
            ping=self._ping,
            busy=lambda: len(self._streams),
            dead=lambda: self.end("PeerSilent", at_once=True),
            suspected=self._changed_now,
        )
        self._transport: asyncio.Transport | None = None
        self._abort_timer: asyncio.TimerHandle | None = None
        self._over = False  # nothing more is read or written
        self._answered_at_once = 0  # pushes that the last read settled: so many may follow at once
        self._changed = False  # there may be more room than before
        self._streams: dict[int, Exchange] = {}
        self._unfinished: dict[int, Exchange] = {}  # whose body waits for a window, oldest first
        self._reset: dict[int, None] = {}
        self._next = 1
        self._handed_over = -1  # the last stream that went to the transport
        self._out: list[bytes] = []
        self._authorization: str | None = None  # asked for once for each write
        self._flush_due = False
        self._paused = False
        self._unread = 0  # replies that were written while the peer did not read
        self._table_shrunk = False
        self._frame_limit = framing.DEFAULT_FRAME_SIZE
        self._windows = SendWindows()
        self._noise = Noise(self.loop)
        host = f"[{self.APNS_SERVER}]" if ":" in self.APNS_SERVER else self.APNS_SERVER
        self._encoder = RequestEncoder(host if self.APNS_PORT == DEFAULT_PORT else f"{host}:{self.APNS_PORT}")
        self._write(framing.PREFACE + framing.settings(_OURS))

    @property
    def in_flight(self) -> int:
        """Streams without a result."""
        return len(self._streams)

    @property
    def free(self) -> int:
        """Streams that may be opened now; below 1 means none."""
        if self.reason is not None or self._paused:
            return 0
        return self.limit.value - len(self._streams)

    def room(self, exchange: Exchange) -> int:
        """Give the free streams if this push can go out whole, or in no better way; else 0.

        A body that does not fit would hold a stream without progress, so it waits. Except where
        waiting cannot help: it is larger than a stream's first window, or nothing is in flight, so that
        no answer can move the peer to give credit.
        """
        if self.reason is not None or self._paused:
            return 0
        size, windows, streams = len(exchange.notification.payload), self._windows, self._streams
        if size > windows.connection and streams and (size <= windows.initial or windows.connection <= 0):
            return 0
        return self.limit.value - len(streams)

    def open(self, exchange: Exchange) -> None:
        """Open a stream for a push that has `room`."""
        exchange.connection = self
        exchange.stream_id = stream_id = self._next
        exchange.window = self._windows.initial
        self._next = stream_id + 2
        self._streams[stream_id] = exchange
        block, payload, windows = self._block(exchange), exchange.notification.payload, self._windows
        size, most = len(payload), self._frame_limit
        if 0 < size <= windows.initial and size <= windows.connection and size <= most >= len(block):
            # What nearly every push comes to.
            exchange.sent = size
            exchange.window -= size
            windows.connection -= size
            self._out += framing.request(stream_id, block, payload)
        else:
            flags = 0 if payload else framing.END_STREAM
            self._out.append(framing.header_frames(stream_id, block, flags, most))
            self._send_body(exchange)
        ready, streams = len(self._out), len(self._streams)
        quiet = streams == 1 and self._answered_at_once <= 1  # nobody to share a write with
        starving = ready * 2 >= streams * PIECES  # the peer has no more to do than what lies here
        if quiet or ready >= WRITE_LIMIT or (starving and ready >= WRITE_LEAST):
            self._flush()
        elif not self._flush_due:
            self._flush_soon()
        if self._next > LAST_STREAM:
            self.leave("StreamsUsedUp")

    def _block(self, exchange: Exchange) -> bytes:
        wanted = exchange.notification
        if exchange.authorization is None and self.auth_provider is not None:
            if self._authorization is None:
                self._authorization = self.auth_provider.get_header()
            exchange.authorization = self._authorization
        block = self._encoder.block(
            wanted.device_token,
            wanted.notification_id,
            wanted.apns_topic or self.apns_topic,
            None if wanted.push_type is None else wanted.push_type._value_,  # `value` takes its time
            wanted.priority,
            exchange.authorization,
            wanted.expiration,
            wanted.collapse_key,
            len(wanted.payload),
        )
        if self._table_shrunk:  # section 4.3.1: the next block must say that it knows
            self._table_shrunk = False
            block = SIZE_UPDATE + block
        return block

    def drop(self, exchange: Exchange) -> None:
        """Nobody waits for this push any more: cancel its stream, touch no other."""
        if self._streams.get(exchange.stream_id) is exchange:
            self._reset_stream(exchange, ErrorCode.CANCEL)
            self._notify()

    def expire(self, exchange: Exchange) -> None:
        """Its time is up: settle and cancel it, and ask the peer whether it lives."""
        exchange.fail("Timeout", certain=exchange.left > 0)
        self.drop(exchange)
        self.pulse.suspect()

    def leave(self, reason: str) -> None:
        """Take no more pushes; those in flight may finish, then the connection closes."""
        if self.reason is None:
            self.reason = reason
            if self.on_connection_lost is not None:
                self.on_connection_lost(self)
            self._notify()
        if not self._streams:
            self.end(reason)

    def end(self, reason: str, code: ErrorCode = ErrorCode.NO_ERROR, *, at_once: bool = False) -> None:
        """Close now: say why (section 6.8), and fail what is in flight."""
        if self._over:
            return
        transport = self._transport
        if transport is not None and not at_once:
            if any(stream_id > self._handed_over for stream_id in self._streams):
                self._out.clear()  # what was not written shall not be: it counts as never sent
            self._out.append(framing.goaway(0, code, reason))
            self._flush()
        self._finish_all(reason)
        if transport is None:
            return
        if at_once:
            transport.abort()
            return
        transport.close()
        # A peer that does not read would keep a closing transport for ever.
        self._abort_timer = self.loop.call_later(self.TIMING.close, transport.abort)

    def _finish_all(self, reason: str) -> None:
        """Settle every push of this connection."""
        self._over = True
        self.pulse.stop()
        streams = list(self._streams.values())
        self._streams.clear()
        self._unfinished.clear()
        self._out.clear()
        for exchange in streams:
            unsent = exchange.left > 0 or exchange.stream_id > self._handed_over
            exchange.fail(reason.partition(":")[0], certain=unsent)
        self.leave(reason)
        if not self.ready.done():
            self.ready.set_result(None)
        self._notify()

    def _forget(self, exchange: Exchange) -> None:
        """Take a stream away that has its result."""
        self._streams.pop(exchange.stream_id, None)
        if self._unfinished:
            self._unfinished.pop(exchange.stream_id, None)
        self._changed = True
        if self.reason is not None and not self._streams:
            self.loop.call_soon(self.end, self.reason)

    def _reset_stream(self, exchange: Exchange, code: ErrorCode) -> None:
        self._write(framing.rst_stream(exchange.stream_id, code))
        self._reset[exchange.stream_id] = None
        if len(self._reset) > RESET_REMEMBERED:
            del self._reset[next(iter(self._reset))]
        self._forget(exchange)

    def _send_body(self, exchange: Exchange) -> None:
        """Send as much of the body as both windows allow (section 6.9.1)."""
        payload, windows = exchange.notification.payload, self._windows
        while exchange.sent < len(payload):
            left = len(payload) - exchange.sent
            size = min(left, exchange.window, windows.connection, self._frame_limit)
            if size <= 0:
                self._unfinished[exchange.stream_id] = exchange
                return
            flags = framing.END_STREAM if size == left else 0
            piece = payload if size == len(payload) else payload[exchange.sent : exchange.sent + size]
            self._write(framing.head(framing.DATA, flags, exchange.stream_id, size) + piece)
            exchange.sent += size
            exchange.window -= size
            windows.connection -= size
        self._unfinished.pop(exchange.stream_id, None)

    def _ping(self, payload: bytes) -> None:
        self._write(framing.frame(framing.PING, 0, 0, payload))

    def _write(self, data: bytes) -> None:
        self._out.append(data)
        if not self._flush_due:
            self._flush_soon()

    def _flush_soon(self) -> None:
        """Write once for each turn of the loop."""
        self._flush_due = True
        self.loop.call_soon(self._flush)

    def _reply(self, data: bytes) -> None:
        """Write what the peer's own frames ask for; one that asks and does not read would fill our memory."""
        if self._paused:
            self._unread += 1
            if self._unread > REPLIES_LIMIT:
                raise ViolationError(ErrorCode.ENHANCE_YOUR_CALM, "a peer that asks and does not read")
        self._write(data)

    def _flush(self) -> None:
        self._flush_due = False
        self._authorization = None
        transport = self._transport
        if transport is None or self._over or not self._out:
            return
        data = b"".join(self._out)
        self._out.clear()
        if not transport.is_closing():
            self._handed_over = self._next - 2
            transport.write(data)

    def _changed_now(self) -> None:
        self.on_change()

    def _notify(self) -> None:
        """Let the pool look again, though not from within what it is doing now."""
        self.loop.call_soon(self.on_change)


def _nothing() -> None:
    """Stand in until a pool listens."""
