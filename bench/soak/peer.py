"""The peer of the soak: h2 as a strict server, which writes down what it takes and what it answers.

A process of its own: `python -m bench.soak.peer KEY CHAIN PUSHES SEED BOOK`. It prints its port. When
standard input ends, it writes its record to the file BOOK, prints its counts as JSON, and ends.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import h2.errors
import h2.events
import h2.exceptions
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.settings import SettingCodes
from hyperframe.frame import GoAwayFrame

from bench.soak.answers import ANSWERS
from bench.soak.books import Record
from bench.soak.faults import Faults

GREATEST: Final = 2**31 - 1
STREAM_LIMITS: Final = (1, 8, 100, 1_000)
WINDOWS: Final = (300, 3_000, 65_535)
TABLES: Final = (0, 256, 4_096)
FROZEN_FOR: Final = 10.0  # seconds after which a frozen connection is cut
FAREWELL: Final = 1.0  # seconds between GOAWAY and the end


class Book:
    """What all connections share."""

    def __init__(self, pushes: int, seed: int) -> None:
        self.record = Record.empty(pushes)
        self.faults = Faults(seed)
        self.violations: Counter[str] = Counter()
        self.connections = 0


class Peer(asyncio.Protocol):
    """One connection."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._loop = asyncio.get_running_loop()
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="ascii"))
        self._transport: asyncio.Transport
        self._open: dict[int, int] = {}  # stream: push
        self._highest = 0  # stream that was taken for processing
        self._last = GREATEST  # stream that will be processed
        self._deaf = False  # frozen, or gone

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._book.connections += 1
        self._h2.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 1_000
        self._h2.initiate_connection()
        self._flush()

    def connection_lost(self, _error: Exception | None) -> None:
        self._deaf = True

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self._book.violations[f"{type(error).__name__}: {error}"] += 1
            self._flush()
            self._cut()
            return
        # For h2 a stream that a later event resets is closed already: nobody can answer it.
        gone = {event.stream_id for event in events if isinstance(event, h2.events.StreamReset)}
        for event in events:
            if not self._deaf and not (isinstance(event, h2.events.StreamEnded) and event.stream_id in gone):
                self._hear(event)
        self._flush()

    def _hear(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            fields = dict(cast("list[tuple[str, str]]", event.headers))
            self._open[event.stream_id] = int(fields["apns-id"].replace("-", ""), 16)
        elif isinstance(event, h2.events.DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self._complete(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self._open.pop(event.stream_id, None)

    def _complete(self, stream: int) -> None:
        """A whole request is here. (h2 has compared its length with what was announced.)"""
        number = self._open[stream]
        if stream > self._last:
            return  # our GOAWAY said that it will not be processed
        faults = self._book.faults
        fault = faults.of_push()
        if fault == "refuses the stream":
            self._reset(stream, h2.errors.ErrorCodes.REFUSED_STREAM)
        else:
            self._book.record.take(number)
            self._highest = max(self._highest, stream)
            self._process(stream, number, fault)
        whole = faults.of_connection()
        if whole is not None:
            self._fail(whole)

    def _process(self, stream: int, number: int, fault: str | None) -> None:
        if fault == "answers slowly":
            self._loop.call_later(self._book.faults.delay(), self._answer_late, stream, number)
        elif fault == "resets the stream after processing":
            self._reset(stream, h2.errors.ErrorCodes.INTERNAL_ERROR)
        elif fault != "never answers":
            self._answer(stream, number, self._book.faults.error() if fault else 0)

    def _answer_late(self, stream: int, number: int) -> None:
        if not self._deaf and stream in self._open:
            self._answer(stream, number, 0)
            self._flush()

    def _answer(self, stream: int, number: int, which: int) -> None:
        answer = ANSWERS[which]
        fields = [(":status", str(answer.status)), ("apns-id", f"{number:032x}"), *answer.fields]
        size = sum(map(len, answer.pieces))
        if size > self._h2.local_flow_control_window(stream):
            self._book.violations["the sender gives no window back"] += 1
        self._h2.send_headers(stream, fields, end_stream=not answer.pieces)
        for left, piece in enumerate(answer.pieces, 1 - len(answer.pieces)):
            self._h2.send_data(stream, piece, end_stream=left == 0)
        self._open.pop(stream)
        self._book.record.answer(number, which)

    def _reset(self, stream: int, code: h2.errors.ErrorCodes) -> None:
        self._open.pop(stream)
        self._h2.reset_stream(stream, code)

    def _fail(self, fault: str) -> None:
        """Do to the whole connection what its turn is."""
        does: dict[str, Callable[[], object]] = {
            "goes away, and finishes what it took": lambda: self._go_away(GREATEST),
            "goes away at once, and drops what it did not take": lambda: self._go_away(self._highest),
            "resets the connection": self._cut,
            "closes the connection": self._close,
            "freezes": self._freeze,
            "changes the stream limit": lambda: self._change(
                SettingCodes.MAX_CONCURRENT_STREAMS, STREAM_LIMITS
            ),
            "changes the window of streams": lambda: self._change(SettingCodes.INITIAL_WINDOW_SIZE, WINDOWS),
            "changes the header table": lambda: self._change(SettingCodes.HEADER_TABLE_SIZE, TABLES),
        }
        does[fault]()

    def _change(self, setting: SettingCodes, values: tuple[int, ...]) -> None:
        self._h2.update_settings({setting: self._book.faults.one_of(values)})

    def _go_away(self, last: int) -> None:
        """Say it past h2, which would take no more frames: what is not above `last` is still done.

        And before the answers that are ready: the sender must keep their streams.
        """
        self._last = min(self._last, last)
        frame = GoAwayFrame(0, last_stream_id=self._last, error_code=0)
        self._transport.write(frame.serialize())
        self._loop.call_later(FAREWELL, self._close)

    def _freeze(self) -> None:
        self._deaf = True
        self._transport.pause_reading()
        self._loop.call_later(FROZEN_FOR, self._transport.abort)

    def _close(self) -> None:
        if not self._deaf:
            self._flush()
            self._deaf = True
            self._transport.close()

    def _cut(self) -> None:
        self._deaf = True
        self._transport.abort()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)


async def serve(key: str, chain: str, pushes: int, seed: int, path: str) -> None:
    book = Book(pushes, seed)
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    context.set_alpn_protocols(["h2"])
    server = await loop.create_server(lambda: Peer(book), "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()
    await asyncio.to_thread(Path(path).write_bytes, book.record.to_bytes())
    said: dict[str, Any] = {
        "connections": book.connections,
        "faults": book.faults.counts,
        "violations": book.violations,
    }
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]))
