"""APNs over HTTP/2: connections, streams and their limit, and what can go wrong on the way.

Sources: RFC 9113; Apple, "Sending notification requests to APNs" (one stream until the
sender is known). There is no task and no queue here: bytes come in, bytes go out.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import structlog
from hyperframe.frame import GoAwayFrame

from bridge.simulator.agenda import Agenda, Entry
from bridge.simulator.rules import Request
from bridge.simulator.service import Reply, Service, Trust
from bridge.simulator.tls import TlsProtocol

STREAMS_BEFORE_TRUST: Final = 1
STREAMS: Final = 1000
_BODY_KEPT: Final = 8192  # more than any limit, so that the judge sees a body that is too large
_GRACE: Final = 1.0  # seconds for a client to take the goodbye before it is cut off
_log = structlog.get_logger()


class _H2(h2.connection.H2Connection):
    """h2 would end the connection of a client that opens too many streams; APNs refuses the stream alone."""

    @property
    def open_inbound_streams(self) -> int:
        _ = super().open_inbound_streams  # h2 clears its closed streams away on this occasion
        return 0


@dataclass(slots=True)
class _Stream:
    headers: list[tuple[str, str]]
    body: bytearray = field(default_factory=bytearray)
    timer: Entry | None = None
    unsent: bytes | None = None


class ApnsConnection(TlsProtocol):
    """One connection of a sender."""

    def __init__(self, server: ApnsServer) -> None:
        super().__init__(server.context)
        self._server = server
        self._h2 = _H2(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self._h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS_BEFORE_TRUST,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 8000,
            },
        )
        self._streams: dict[int, _Stream] = {}
        self._limit = STREAMS_BEFORE_TRUST
        self._trust = Trust()
        self._last_stream: int | None = None  # that of a GOAWAY already sent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._server.adopt(self)

    def opened(self, certificate: dict[str, Any] | None) -> None:
        """Greet; a sender with a certificate is known from the first moment."""
        self._trust.certificate = certificate is not None
        self._h2.initiate_connection()
        self._raise_limit()
        self.flush()

    def received(self, data: bytes) -> None:
        """Take in frames; a client that breaks the protocol is told so and left."""
        try:
            for event in self._h2.receive_data(data):
                if self.transport.is_closing():
                    return
                self._on(event)
        except h2.exceptions.ProtocolError as error:
            _log.info("protocol error", error=str(error))
            self.flush()
            self.close()
            return
        self.flush()
        self._close_when_done()

    def closed(self) -> None:
        """Forget the streams: nobody is there to be answered."""
        for stream in self._streams.values():
            if stream.timer is not None:
                stream.timer.cancel()
        self._streams.clear()
        self._server.forget(self)

    def flush(self) -> None:
        """Send what is ready, unless the server is frozen."""
        if not self._server.frozen:
            self.send(self._h2.data_to_send())

    def go_away(self, reason: str, *, last_stream: int | None = None, error_code: int = 0) -> None:
        """Send GOAWAY; streams up to `last_stream` (default: the newest) are answered, then it closes.

        Written by hand: h2 takes no more frames after its own GOAWAY. Apple puts the reason in as JSON.
        """
        if not self._open or self._last_stream is not None:
            return
        self._last_stream = self._h2.highest_inbound_stream_id if last_stream is None else last_stream
        detail = json.dumps({"reason": reason}).encode()
        frame = GoAwayFrame(
            stream_id=0, last_stream_id=self._last_stream, error_code=error_code, additional_data=detail
        )
        self.flush()
        self.send(frame.serialize())
        for number in [number for number in self._streams if number > self._last_stream]:
            self._forget_stream(number)
        self._close_when_done()

    def _on(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=int(number), headers=list(headers)):
                self._begin(number, headers)
            case h2.events.DataReceived(
                stream_id=int(number), data=bytes(data), flow_controlled_length=length
            ):
                self._collect(number, data, length or 0)
            case h2.events.StreamEnded(stream_id=int(number)):
                self._end(number)
            case h2.events.StreamReset(stream_id=int(number)):
                self._forget_stream(number)
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                for number in list(self._streams):
                    self._send_body(number)
            case h2.events.ConnectionTerminated():
                self.close()

    def _begin(self, number: int, headers: list[Any]) -> None:
        if self._last_stream is not None and number > self._last_stream:
            return  # RFC 9113 section 6.8: the client knows that this one is not processed
        if len(self._streams) >= self._limit:
            self._h2.reset_stream(number, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        self._streams[number] = _Stream([(_text(name), _text(value)) for name, value in headers])

    def _collect(self, number: int, data: bytes, length: int) -> None:
        stream = self._streams.get(number)
        if stream is not None and len(stream.body) < _BODY_KEPT:
            stream.body += data
        self._h2.acknowledge_received_data(length, number)

    def _end(self, number: int) -> None:
        stream = self._streams.get(number)
        if stream is None:
            return
        reply = self._server.service.handle(Request(stream.headers, bytes(stream.body)), self._trust)
        if reply.delay > 0:
            stream.timer = self._server.agenda.after(reply.delay, lambda: self._answer_late(number, reply))
        else:
            self._answer(number, reply)

    def _answer_late(self, number: int, reply: Reply) -> None:
        self._answer(number, reply)
        self.flush()
        self._close_when_done()

    def _answer(self, number: int, reply: Reply) -> None:
        answer = reply.answer
        if answer.manner == "drop":
            self.abort()
        elif answer.manner == "reset":
            self._h2.reset_stream(number, answer.error_code)
            self._forget_stream(number)
        elif answer.manner == "answer":
            self._h2.send_headers(number, answer.headers(reply.apns_id), end_stream=not answer.body)
            self._streams[number].unsent = answer.body
            self._send_body(number)
            self._raise_limit()

    def _send_body(self, number: int) -> None:
        """Send the answer's body once it fits the client's window."""
        body = self._streams[number].unsent
        if body is None:
            return
        if body:
            if self._h2.local_flow_control_window(number) < len(body):
                return
            self._h2.send_data(number, body, end_stream=True)
        self._forget_stream(number)

    def _raise_limit(self) -> None:
        if self._trust.established and self._limit < STREAMS:
            self._limit = STREAMS
            self._h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS})

    def _forget_stream(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream is not None and stream.timer is not None:
            stream.timer.cancel()

    def _close_when_done(self) -> None:
        if self._last_stream is not None and not self._streams and not self._server.frozen:
            self.close()


def _text(value: Any) -> str:
    """Decode a header name or value; bytes that are not UTF-8 survive, to be judged as they are."""
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else str(value)


class ApnsServer:
    """Listens, and keeps the connections. `frozen`: it hears nothing and says nothing, not even to a PING."""

    def __init__(self, service: Service, context: ssl.SSLContext, agenda: Agenda) -> None:
        self.service = service
        self.context = context
        self.agenda = agenda
        self.frozen = False
        self.connections: set[ApnsConnection] = set()
        self.accepted = 0
        self._server: asyncio.Server | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def port(self) -> int:
        """Give the port on which it listens."""
        if self._server is None:
            raise RuntimeError("the server is not listening")
        return int(self._server.sockets[0].getsockname()[1])

    async def listen(self, host: str, port: int) -> None:
        """Accept connections from now on; port 0 = a free one. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, host, port)

    async def close(self) -> None:
        """Say goodbye to every sender, end every connection, and come back when all are gone."""
        if self._server is None:
            return
        # What was accepted in this turn of the loop is taken first: Python 3.11 would leave it open for ever.
        for listening in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listening)
        for _ in range(2):
            await asyncio.sleep(0)
        self._server.close()
        self.freeze(frozen=False)
        self.each(lambda connection: connection.go_away("Shutdown"))
        self.each(lambda connection: connection.close())
        try:
            async with asyncio.timeout(_GRACE):
                await self._empty.wait()
        except TimeoutError:
            self.each(lambda connection: connection.abort())
            await self._empty.wait()
        await self._server.wait_closed()

    def each(self, action: Callable[[ApnsConnection], None]) -> int:
        """Do something with each connection; gives their number."""
        connections = list(self.connections)
        for connection in connections:
            action(connection)
        return len(connections)

    def freeze(self, *, frozen: bool) -> None:
        """Stop hearing and speaking, or take up again where it stopped."""
        self.frozen = frozen
        self.each(self._set_reading)

    def forget(self, connection: ApnsConnection) -> None:
        """Take note that a connection is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    def adopt(self, connection: ApnsConnection) -> None:
        """Take note of a new connection."""
        self.accepted += 1
        self.connections.add(connection)
        self._empty.clear()
        if self.frozen:
            connection.transport.pause_reading()

    def _accept(self) -> ApnsConnection:
        return ApnsConnection(self)

    def _set_reading(self, connection: ApnsConnection) -> None:
        if connection.transport.is_closing():
            return
        if self.frozen:
            connection.transport.pause_reading()
        else:
            connection.transport.resume_reading()
            connection.flush()
