"""The least that can be done in Python under aioapns' public interface: the bound of ours, no client.

It sends as ours does (one header block, encoded once; one write for many requests) and settles a
push when a HEADERS frame of its stream begins with `:status 200`. It checks nothing, reads no header,
knows no windows, limits, deadlines, errors or second connection.
"""

from __future__ import annotations

import asyncio
import ssl
import struct

from aioapns import APNs, NotificationRequest, PushType
from aioapns.common import NotificationResult

from bench.clients.measure import TOPIC, Job, Send, push_id, run, token
from bridge.apns import framing
from bridge.apns.headers import RequestEncoder
from bridge.apns.streams import WRITE_LIMIT

_HEAD = struct.Struct(">BHBBL")
_STATUS_200 = 0x88  # RFC 7541, appendix A
_ACCEPTED = NotificationResult("", "200")


class Least(asyncio.BufferedProtocol):
    """Frames, and nothing else of HTTP/2."""

    def __init__(self, job: Job) -> None:
        self.loop = asyncio.get_running_loop()
        self.ready = self.loop.create_future()
        self._buffer = memoryview(bytearray(framing.BUFFER_SIZE))
        self._held = 0
        self._next = 1
        self._waiting: dict[int, asyncio.Future[NotificationResult]] = {}
        self._out: list[bytes] = []
        self._flush_due = False
        self._body = job.body()
        block = RequestEncoder(f"127.0.0.1:{job.port}").block(
            token(0), push_id(0), TOPIC, "voip", 10, job.authorization, 0, None, len(self._body)
        )
        self._before, rest = block.split(token(0).encode())
        self._between, self._end = rest.split(push_id(0).encode())
        self._size = len(block)

    async def send_notification(self, request: NotificationRequest) -> NotificationResult:
        """Stand in for aioapns' pool."""
        stream_id, out, body = self._next, self._out, self._body
        self._next += 2
        future: asyncio.Future[NotificationResult] = self.loop.create_future()
        self._waiting[stream_id] = future
        out += (
            framing.head(framing.HEADERS, framing.END_HEADERS, stream_id, self._size),
            self._before,
            request.device_token.encode(),
            self._between,
            request.notification_id.encode(),
            self._end,
            framing.head(framing.DATA, framing.END_STREAM, stream_id, len(body)),
            body,
        )
        if len(out) >= 2 * WRITE_LIMIT:  # twice as many pieces to a request
            self._flush()
        elif not self._flush_due:
            self._flush_due = True
            self.loop.call_soon(self._flush)
        return await future

    def _flush(self) -> None:
        self._flush_due = False
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        transport.write(framing.PREFACE + framing.settings({framing.Setting.ENABLE_PUSH: 0}))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - it knows its own needs
        return self._buffer[self._held :]

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self._buffer[: self._held + nbytes])
        at = 0
        while len(data) - at >= framing.HEADER_SIZE:
            _, size, kind, flags, stream_id = _HEAD.unpack_from(data, at)
            stop = at + framing.HEADER_SIZE + size
            if stop > len(data):
                break
            if kind == framing.HEADERS and data[at + framing.HEADER_SIZE] == _STATUS_200:
                self._waiting.pop(stream_id).set_result(_ACCEPTED)
            elif kind == framing.SETTINGS and not flags:
                self._transport.write(framing.frame(framing.SETTINGS, framing.ACK, 0))
                self.ready.set_result(None)
            at = stop
        self._held = len(data) - at
        self._buffer[: self._held] = data[at:]


async def connect(job: Job) -> Send:
    context = ssl.create_default_context(cafile=job.ca_file)
    context.set_alpn_protocols(["h2"])
    client = APNs(
        key=job.key_pem, key_id="ABCDE12345", team_id="TEAM567890", topic=TOPIC, ssl_context=context
    )
    least = Least(job)
    await least.loop.create_connection(lambda: least, "127.0.0.1", job.port, ssl=context)
    await least.ready
    client.pool = least  # type: ignore[assignment]  # has the one method that is used

    async def send(number: int) -> bool:
        request = NotificationRequest(
            device_token=token(number),
            message={},
            notification_id=push_id(number),
            time_to_live=0,
            priority=10,
            push_type=PushType.VOIP,
        )
        return (await client.send_notification(request)).is_successful

    return send


if __name__ == "__main__":
    run(connect)
