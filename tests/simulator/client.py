"""A sender that does exactly what a test tells it, right or wrong, over a real TLS connection."""

from __future__ import annotations

import asyncio
import json
import ssl
from dataclasses import dataclass, field
from typing import Any, Self

import h2.config
import h2.connection
import h2.events
import h2.settings

from bridge.simulator import Simulator


@dataclass
class Response:
    """What came back on one stream; `reset` is the code of a RST_STREAM."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    reset: int | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def status(self) -> int:
        return int(self.headers[":status"])

    @property
    def reason(self) -> str | None:
        return json.loads(self.body)["reason"] if self.body else None


class Sender:
    """One connection; `async with Sender(sim) as sender`."""

    def __init__(self, sim: Simulator, *, certificate: str | None = None, window: int | None = None) -> None:
        self.sim = sim
        self.certificate = certificate
        self.window = window
        self.responses: dict[int, Response] = {}
        self.goaway: h2.events.ConnectionTerminated | None = None
        self.pongs = 0
        self.changed = asyncio.Condition()
        self.gone = asyncio.Event()

    async def __aenter__(self) -> Self:
        context = ssl.create_default_context(cafile=self.sim.ca_file)
        context.set_alpn_protocols(["h2"])
        if self.certificate is not None:
            context.load_cert_chain(self.certificate)
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.sim.apns.port, ssl=context)
        # Nothing is checked on the way out: a test may want to break the rules.
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        if self.window is not None:
            self.h2.local_settings = h2.settings.Settings(
                initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: self.window}
            )
        self.h2.initiate_connection()
        self.flush()
        self.task = asyncio.create_task(self.read())
        await self.until(lambda: self.limit is not None)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)

    @property
    def limit(self) -> int | None:
        """The stream limit that the server has told."""
        return self.h2.remote_settings.get(h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS)

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    async def until(self, reached: Any) -> None:
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(reached)

    async def read(self) -> None:
        try:
            while data := await self.reader.read(65536):
                for event in self.h2.receive_data(data):
                    self.take(event)
                self.flush()
                async with self.changed:
                    self.changed.notify_all()
        except ConnectionError:
            pass
        finally:
            self.gone.set()
            for response in self.responses.values():
                response.done.set()

    def take(self, event: h2.events.Event) -> None:
        response = self.responses.get(getattr(event, "stream_id", None) or 0, Response())
        match event:
            case h2.events.ResponseReceived(headers=headers):
                response.headers = dict(headers)
            case h2.events.DataReceived(data=data):
                response.body += data
            case h2.events.StreamEnded():
                response.done.set()
            case h2.events.StreamReset(error_code=code):
                response.reset = code
                response.done.set()
            case h2.events.ConnectionTerminated():
                self.goaway = event
            case h2.events.PingAckReceived():
                self.pongs += 1

    def begin(self, headers: list[tuple[str, str]], body: bytes | None) -> Response:
        """Send a request without waiting; with body None its stream stays open."""
        number = self.h2.get_next_available_stream_id()
        self.responses[number] = response = Response()
        self.h2.send_headers(number, headers, end_stream=body == b"")
        if body:
            for start in range(0, len(body), 16_384):
                part = body[start : start + 16_384]
                self.h2.send_data(number, part, end_stream=start + 16_384 >= len(body))
        self.flush()
        return response

    async def send(self, headers: list[tuple[str, str]], body: bytes) -> Response:
        """Send a request and give what came back; a connection that went leaves it empty."""
        response = self.begin(headers, body)
        async with asyncio.timeout(10):
            await response.done.wait()
        return response
