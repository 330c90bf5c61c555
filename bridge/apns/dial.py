"""From an address to an open connection: DNS, proxy, TLS.

Every call asks the DNS anew and tries each address with a limit of its own, so that one dead
address does not use up the whole time. A proxy is asked with CONNECT (RFC 9110 section 9.3.6).
TLS is what RFC 9113 section 9.2 asks for: 1.2 or newer, ALPN "h2", and of the old ciphers only
those with ephemeral keys and authenticated encryption.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from bridge.apns.connection import Connection

REPLY_LIMIT: Final = 16_384  # octets of a proxy's reply
_OK: Final = re.compile(rb"HTTP/1\.[01] 2[0-9][0-9][ \r]")


class DialError(Exception):
    """No connection, for a reason that is not the operating system's."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy; `authorization` is the whole value of its field, or None."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Read http://[user:password@]host[:port]. Raises ValueError, which never quotes the password."""
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if parts.scheme != "http" or not host or parts.path not in {"", "/"} or parts.query:
            raise ValueError("a proxy is written http://[user:password@]host[:port]")
        authorization = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + base64.b64encode(pair.encode()).decode()
        return cls(host, port or 3128, authorization)


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Make the context for APNs: the system's authorities, or those of `ca_file` alone. Raises OSError."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(["h2"])
    return context


async def dial(factory: Callable[[], Connection], context: ssl.SSLContext, proxy: Proxy | None) -> Connection:
    """Open a connection and wait for the peer's SETTINGS. Raises OSError or DialError; leaves nothing open.

    The time limit is the caller's: cancel it.
    """
    connection = factory()
    try:
        await _connect(connection, context, proxy)
        await connection.ready
    except BaseException:
        connection.end("NotConnected", at_once=True)
        raise
    if connection.reason is not None:
        raise DialError(connection.reason)
    return connection


async def _connect(connection: Connection, context: ssl.SSLContext, proxy: Proxy | None) -> None:
    loop, timing = connection.loop, connection.TIMING
    host, port = (connection.APNS_SERVER, connection.APNS_PORT) if proxy is None else (proxy.host, proxy.port)
    raw = await _open_socket(loop, host, port, timing.address)
    if proxy is not None:
        try:
            await _tunnel(loop, raw, connection, proxy)
        except BaseException:
            raw.close()
            raise
    # From here on the socket is the event loop's to close, whatever happens.
    transport, _ = await loop.create_connection(
        lambda: connection,
        sock=raw,
        ssl=context,
        server_hostname=connection.APNS_SERVER,
        ssl_handshake_timeout=timing.connect,
        ssl_shutdown_timeout=timing.close,
    )
    secured = transport.get_extra_info("ssl_object")
    if secured is None or secured.selected_alpn_protocol() != "h2":
        raise DialError("the peer does not speak HTTP/2 (ALPN)")


async def _open_socket(loop: asyncio.AbstractEventLoop, host: str, port: int, limit: float) -> socket.socket:
    """Connect to the first address that answers."""
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError = OSError(f"no address for {host}")
    for family, kind, protocol, _, address in found:
        raw = socket.socket(family, kind, protocol)
        try:
            raw.setblocking(False)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(limit):
                await loop.sock_connect(raw, address)
        except OSError as error:  # TimeoutError is one
            raw.close()
            failure = error
        except BaseException:
            raw.close()
            raise
        else:
            return raw
    raise failure


async def _tunnel(
    loop: asyncio.AbstractEventLoop, raw: socket.socket, connection: Connection, proxy: Proxy
) -> None:
    """Ask the proxy for a tunnel. Reads no octet beyond its reply: what follows is TLS."""
    host = connection.APNS_SERVER
    target = f"[{host}]:{connection.APNS_PORT}" if ":" in host else f"{host}:{connection.APNS_PORT}"
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if proxy.authorization is not None:
        request += f"Proxy-Authorization: {proxy.authorization}\r\n"
    await loop.sock_sendall(raw, (request + "\r\n").encode())
    reply = b""
    while b"\r\n\r\n" not in reply:
        # TLS begins with our hello, so a proxy that behaves sends nothing past its reply.
        piece = await loop.sock_recv(raw, 4_096)
        reply += piece
        if not piece or len(reply) > REPLY_LIMIT:
            raise DialError("the proxy did not answer in HTTP")
    if _OK.match(reply) is None:
        status = re.match(rb"HTTP/1\.[01] ([0-9]{3})", reply)
        raise DialError(f"the proxy refused: {status[1].decode() if status else 'no status'}")
    if not reply.endswith(b"\r\n\r\n"):
        raise DialError("the proxy sent more than a reply")
