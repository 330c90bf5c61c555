"""TLS on the server's side, over memory buffers.

asyncio's own TLS keeps a connection to itself until the handshake is done, so that a client that
never finishes it could neither be counted nor be closed at shutdown.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any, Final

import structlog

_CHUNK: Final = 65_536
_log = structlog.get_logger()


class TlsProtocol(asyncio.Protocol):
    """A connection: subclasses get `opened`, `received` and `closed`, and call `send` and `close`."""

    transport: asyncio.Transport

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._open = False

    def opened(self, certificate: dict[str, Any] | None) -> None:
        """Begin, after the handshake; `certificate` is the client's, None if it showed none."""

    def received(self, data: bytes) -> None:
        """Take in plain bytes."""

    def closed(self) -> None:
        """Clean up; called once when the connection is gone, also where the handshake never ended."""

    def send(self, data: bytes) -> None:
        """Send plain bytes; what cannot be sent any more is dropped."""
        if data and self._open and not self.transport.is_closing():
            self._tls.write(data)
            self._flush()

    def close(self) -> None:
        """Send what is waiting, say goodbye, and close."""
        if self.transport.is_closing():
            return
        if self._open:
            # The peer has not said goodbye yet, which raises; ours is in the buffer all the same.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()
        self.transport.close()

    def abort(self) -> None:
        """Break the connection off without a word."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._incoming.write(data)
        try:
            if self._open or self._shake_hands():
                self._read()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLZeroReturnError:
            self.close()  # the peer has said goodbye
        except ssl.SSLError as error:
            _log.info("TLS failed", error=str(error))
            self._flush()
            self.transport.close()

    def eof_received(self) -> bool:
        """See asyncio.Protocol; False: a client that is gone gets no more."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """See asyncio.Protocol."""
        self.closed()

    def _shake_hands(self) -> bool:
        self._tls.do_handshake()
        self._flush()
        if self._tls.selected_alpn_protocol() != "h2":
            _log.info("not HTTP/2", alpn=self._tls.selected_alpn_protocol())
            self.transport.close()
            return False
        self._open = True
        self.opened(self._tls.getpeercert() or None)
        return True

    def _read(self) -> None:
        while not self.transport.is_closing():
            data = self._tls.read(_CHUNK)
            if not data:
                self.close()  # the peer has said goodbye
                return
            self.received(data)

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self.transport.write(data)
