"""The receiving half of a connection: what each frame of the peer means (RFC 9113 sections 5 and 6)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from aioapns.connection import AuthorizationHeaderProvider

from bridge.apns import framing
from bridge.apns.exchange import Exchange, MalformedError
from bridge.apns.flow import ReceiveWindow, grown
from bridge.apns.framing import ErrorCode, FrameReader, Setting, ViolationError
from bridge.apns.headers import AnswerDecoder
from bridge.apns.streams import Streams

log = logging.getLogger(__name__)

# Answers after which Apple wants another connection.
SPENT: Final = frozenset({"IdleTimeout", "UnrelatedKeyIdInToken", "Shutdown"})


class Receiving(Streams):
    """Reads, and settles pushes by their stream's id, whatever the answer says."""

    def __init__(
        self,
        apns_topic: str,
        loop: asyncio.AbstractEventLoop | None = None,
        on_connection_lost: Callable[[Any], object] | None = None,
        auth_provider: AuthorizationHeaderProvider | None = None,
    ) -> None:
        super().__init__(apns_topic, loop, on_connection_lost, auth_provider)
        self._reader = FrameReader()
        self._decoder = AnswerDecoder()
        self._receive = ReceiveWindow()
        self._table_size = 4_096  # section 6.5.2
        # Section 3.4: a server begins with SETTINGS; until then nothing else has a handler.
        self._handlers: dict[int, Callable[[int, int, bytes, int], None]] = {
            framing.SETTINGS: self._on_first_settings
        }

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the reader knows its own needs
        """Lend the frame reader's own buffer: no copy in between."""
        return self._reader.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Take what the peer sent. Whatever it is, only this connection can suffer."""
        if self._over:
            return
        self.pulse.heard()
        answered = self.answered
        try:
            self._take(nbytes)
        except ViolationError as error:
            log.warning("APNs broke the protocol: %s", error)
            self.end(f"ProtocolError: {error}", error.code)
        except Exception as error:  # noqa: BLE001 - a mistake of ours must end here, with every push settled
            log.error("error in the APNs connection: %s", type(error).__name__)  # noqa: TRY400 - frames hold tokens
            self.end("InternalError", ErrorCode.INTERNAL_ERROR)
        self._answered_at_once = self.answered - answered
        if self._answered_at_once:
            self.pulse.answered()
        if self._changed:
            self._changed = False
            self.on_change()

    def _take(self, received: int) -> None:
        handlers = self._handlers
        for kind, flags, stream_id, payload, size in self._reader.frames(received):
            handler = handlers.get(kind)
            if handler is not None:
                handler(flags, stream_id, payload, size)
            elif framing.SETTINGS in handlers and len(handlers) == 1:
                raise ViolationError(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
            else:  # section 5.5: unknown types are ignored
                self._noise.count()
            if self._over:
                return

    # --- streams --------------------------------------------------------------------------

    def _on_headers(self, flags: int, stream_id: int, block: bytes, _size: int) -> None:
        fields = self._decoder.decode(block)  # also where nobody waits: it keeps both tables the same
        exchange = self._streams.get(stream_id)
        if exchange is None:
            self._stray(stream_id, "HEADERS")
            return
        ends = flags & framing.END_STREAM != 0
        try:
            exchange.take_headers(fields, ends=ends)
        except MalformedError as error:
            self._malformed(exchange, ErrorCode.PROTOCOL_ERROR, str(error))
            return
        if ends:
            self._complete(exchange)

    def _on_data(self, flags: int, stream_id: int, payload: bytes, size: int) -> None:
        credit = self._receive.take(size)
        if credit:
            self._reply(framing.window_update(0, credit))
        ends = bool(flags & framing.END_STREAM)
        if not payload and not ends:
            self._noise.count()
        exchange = self._streams.get(stream_id)
        if exchange is None:
            self._stray(stream_id, "DATA")
            return
        try:
            exchange.take_body(payload)
            self._count_body(exchange, size, ends=ends)
        except MalformedError as error:
            self._malformed(exchange, ErrorCode.PROTOCOL_ERROR, str(error))
            return
        except ViolationError as error:  # of the stream's window: a stream error (section 5.2.1)
            self._malformed(exchange, error.code, str(error))
            return
        if ends:
            self._complete(exchange)
        elif exchange.endless:
            self._malformed(exchange, ErrorCode.CANCEL, "an endless body")

    def _count_body(self, exchange: Exchange, size: int, *, ends: bool) -> None:
        window = exchange.receive
        if window is None:
            window = exchange.receive = ReceiveWindow()
        credit = window.take(size)
        if credit and not ends:
            self._write(framing.window_update(exchange.stream_id, credit))

    def _on_rst_stream(self, _flags: int, stream_id: int, payload: bytes, _size: int) -> None:
        exchange = self._streams.get(stream_id)
        if exchange is None:
            self._refuse_idle(stream_id, "RST_STREAM")
            return
        code = framing.long(payload)
        refused = code == ErrorCode.REFUSED_STREAM  # section 8.7: not processed
        unfinished = exchange.left > 0
        self._forget(exchange)
        exchange.fail("StreamRefused" if refused else "StreamReset", certain=refused or unfinished)

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes, _size: int) -> None:
        self._noise.count()
        increment = framing.long(payload) & framing.STREAM_MASK
        if not stream_id:
            if not increment:
                raise ViolationError(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
            self._windows.connection = grown(self._windows.connection, increment)
            self._send_unfinished()
            return
        exchange = self._streams.get(stream_id)
        if exchange is None:
            self._refuse_idle(stream_id, "WINDOW_UPDATE")
            return
        try:
            exchange.window = grown(exchange.window, increment)
        except ViolationError as error:  # section 6.9.1: of a stream's window, a stream error
            self._malformed(exchange, error.code, str(error))
            return
        if not increment:  # section 6.9: likewise
            self._malformed(exchange, ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        elif exchange.left:
            self._send_body(exchange)

    def _on_priority(self, _flags: int, _stream_id: int, _payload: bytes, _size: int) -> None:
        self._noise.count()  # section 5.3.2: deprecated, and it may come for any stream

    def _complete(self, exchange: Exchange) -> None:
        """Settle a push whose answer is whole."""
        if exchange.left:  # section 8.1: answered early; the rest of the body has no reader
            self._reset_stream(exchange, ErrorCode.CANCEL)
        else:
            self._forget(exchange)
        result = exchange.answer()
        self.answered += 1
        self._noise.forgive()
        if self.limit.trial:
            self.limit.judge(result.status, result.description)
        exchange.settle(result)
        if result.description in SPENT:
            self.leave(result.description or "")

    def _malformed(self, exchange: Exchange, code: ErrorCode, why: str) -> None:
        log.warning("APNs broke one stream: %s", why)
        exchange.fail("MalformedAnswer", certain=exchange.left > 0)
        self._reset_stream(exchange, code)

    def _refuse_idle(self, stream_id: int, what: str) -> None:
        """Refuse a frame for a stream that never was (section 5.1)."""
        self._noise.count()
        if not stream_id & 1 or stream_id >= self._next:
            raise ViolationError(ErrorCode.PROTOCOL_ERROR, f"{what} on an idle stream")

    def _stray(self, stream_id: int, what: str) -> None:
        """Judge HEADERS or DATA of no open stream: late for one that we reset, else a violation."""
        self._refuse_idle(stream_id, what)
        if stream_id not in self._reset:
            raise ViolationError(ErrorCode.STREAM_CLOSED, f"{what} on a closed stream")

    # --- the connection -------------------------------------------------------------------

    def _on_first_settings(self, flags: int, stream_id: int, payload: bytes, size: int) -> None:
        if flags & framing.ACK:
            raise ViolationError(ErrorCode.PROTOCOL_ERROR, "the first SETTINGS are an acknowledgement")
        self._handlers.update(
            {
                framing.DATA: self._on_data,
                framing.HEADERS: self._on_headers,
                framing.PRIORITY: self._on_priority,
                framing.RST_STREAM: self._on_rst_stream,
                framing.SETTINGS: self._on_settings,
                framing.PING: self._on_ping,
                framing.GOAWAY: self._on_goaway,
                framing.WINDOW_UPDATE: self._on_window_update,
            }
        )
        self._on_settings(flags, stream_id, payload, size)
        self.limit.begin()
        if not self.ready.done():
            self.ready.set_result(None)

    def _on_settings(self, flags: int, _stream_id: int, payload: bytes, _size: int) -> None:
        self._noise.count()
        if flags & framing.ACK:
            return
        for name, value in framing.parse_settings(payload):
            self._apply(name, value)
        self._reply(framing.frame(framing.SETTINGS, framing.ACK, 0))  # section 6.5.3
        self._send_unfinished()

    def _apply(self, name: int, value: int) -> None:
        if name == Setting.HEADER_TABLE_SIZE:
            self._table_shrunk = self._table_shrunk or value < self._table_size
            self._table_size = value
        elif name == Setting.ENABLE_PUSH and value:
            raise ViolationError(ErrorCode.PROTOCOL_ERROR, "a server cannot enable pushes")
        elif name == Setting.MAX_CONCURRENT_STREAMS:
            self.limit.set_peer(value)
        elif name == Setting.INITIAL_WINDOW_SIZE:
            change = self._windows.set_initial(value)
            for exchange in self._streams.values():  # section 6.9.2
                exchange.window = grown(exchange.window, change)
        elif name == Setting.MAX_FRAME_SIZE:
            if not framing.DEFAULT_FRAME_SIZE <= value <= framing.GREATEST_FRAME_SIZE:
                raise ViolationError(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE of {value}")
            self._frame_limit = value

    def _on_ping(self, flags: int, _stream_id: int, payload: bytes, _size: int) -> None:
        self._noise.count()
        if flags & framing.ACK:
            self.pulse.acknowledged(payload)
            self._changed = True  # pushes may wait for a connection that is no longer doubtful
        else:
            self._reply(framing.frame(framing.PING, framing.ACK, 0, payload))

    def _on_goaway(self, _flags: int, _stream_id: int, payload: bytes, _size: int) -> None:
        """Section 6.8: what lies above the last stream id was not and will not be processed."""
        self._noise.count()
        last = framing.long(payload) & framing.STREAM_MASK
        code = framing.code_name(framing.long(payload, 4))
        said = payload[8:136].decode("ascii", "replace")
        log.info("APNs goes away: %s %s", code, "".join(filter(str.isprintable, said)))
        for exchange in [held for held in self._streams.values() if held.stream_id > last]:
            self._forget(exchange)
            exchange.fail("GoAway", certain=True)
        self.leave(f"GoAway: {code}")

    def _send_unfinished(self) -> None:
        for exchange in list(self._unfinished.values()):
            self._send_body(exchange)
        self._changed = True
