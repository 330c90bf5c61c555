"""From an address to an open connection: DNS, proxy, TLS.

Every call asks the DNS anew. The addresses race, each with a little start over the next
(RFC 8305), and each step has a limit of its own: neither one dead address nor a mute proxy uses up
the whole time. A proxy is asked with CONNECT (RFC 9110 section 9.3.6).
TLS is what RFC 9113 section 9.2 asks for: 1.2 or newer, ALPN "h2", and of the old ciphers only
those with ephemeral keys and authenticated encryption.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, TypeAlias
from urllib.parse import unquote, urlsplit

from bridge.apns.connection import Connection
from bridge.apns.limits import Timing

REPLY_LIMIT: Final = 16_384  # octets of a proxy's reply
Info: TypeAlias = tuple[Any, Any, int, str, Any]  # as `getaddrinfo` gives it
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


async def dial(
    factory: Callable[[], Connection], context: ssl.SSLContext, proxy: Proxy | None, first: int = 0
) -> Connection:
    """Open a connection and wait for the peer's SETTINGS. Raises OSError or DialError; leaves nothing open.

    `first` turns the order of the addresses, so that one that connects and then is silent is not the
    first one for ever. The time limit over all is the caller's: cancel it.
    """
    connection = factory()
    timing = connection.TIMING
    try:
        raw = await _reach(connection, proxy, first)
        # From here on the socket is the event loop's to close, whatever happens.
        async with limit(timing.address, "the peer did not complete the TLS handshake"):
            await _secure(connection, raw, context)
        async with limit(timing.address, "the peer did not send SETTINGS"):
            await connection.ready
    except BaseException:
        connection.end("NotConnected", at_once=True)
        raise
    if connection.reason is not None:
        raise DialError(connection.reason)
    return connection


@contextlib.asynccontextmanager
async def limit(seconds: float, what: str) -> AsyncIterator[None]:
    """Raise DialError that begins with `what` when the time is over."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise DialError(f"{what} within {seconds:g} s") from None


async def _reach(connection: Connection, proxy: Proxy | None, first: int) -> socket.socket:
    """Connect to the host itself, or through the proxy."""
    loop, timing = connection.loop, connection.TIMING
    if proxy is None:
        return await _open_socket(loop, connection.APNS_SERVER, connection.APNS_PORT, timing, first)
    raw = await _open_socket(loop, proxy.host, proxy.port, timing, first)
    try:
        async with limit(timing.address, "the proxy did not answer CONNECT"):
            await _tunnel(loop, raw, connection, proxy)
    except BaseException:
        raw.close()
        raise
    return raw


async def _secure(connection: Connection, raw: socket.socket, context: ssl.SSLContext) -> None:
    timing = connection.TIMING
    transport, _ = await connection.loop.create_connection(
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


async def _open_socket(
    loop: asyncio.AbstractEventLoop, host: str, port: int, timing: Timing, first: int
) -> socket.socket:
    """Connect to the address that answers first; each starts when those before it failed or linger."""
    rest = _in_turn(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM), first)
    failure: BaseException = OSError(f"no address for {host}")
    racing: set[asyncio.Task[socket.socket]] = set()
    try:
        while rest or racing:
            if rest:
                racing.add(loop.create_task(_try(loop, rest.pop(0), timing.address)))
            patience = timing.stagger if rest else None
            done, racing = await asyncio.wait(racing, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = task.exception()
                if error is None:
                    racing |= done - {task}
                    return task.result()
                failure = error
    finally:
        for task in racing:
            task.cancel()
            task.add_done_callback(_discard)
    raise failure


def _in_turn(found: Sequence[Info], first: int) -> list[Info]:
    """Order addresses: as the system does, with the families by turns, beginning `first` places later."""
    seen: Counter[int] = Counter()
    places = []
    for info in found:
        places.append((seen[info[0]], info))
        seen[info[0]] += 1
    ordered = [info for _, info in sorted(places, key=itemgetter(0))]
    start = first % len(ordered) if ordered else 0
    return ordered[start:] + ordered[:start]


async def _try(loop: asyncio.AbstractEventLoop, info: Info, seconds: float) -> socket.socket:
    family, kind, protocol, _, address = info
    raw = socket.socket(family, kind, protocol)
    try:
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with limit(seconds, f"no connection to {address[0]}"):
            await loop.sock_connect(raw, address)
    except BaseException:
        raw.close()
        raise
    return raw


def _discard(task: asyncio.Task[socket.socket]) -> None:
    """Close the socket of one that lost the race."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


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
