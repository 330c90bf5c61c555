"""The ways to APNs: DNS, addresses that are dead, proxies, TLS."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import logging
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apnsworld import QUICK, Connect, World, push, within
from peer import Peer, RawLink, raw_peer

from bridge.apns import HOSTS, Transport
from bridge.apns.dial import Proxy, _in_turn, tls_context
from bridge.pushes import Accepted, Retryable

TCP = (socket.AF_INET, socket.SOCK_STREAM, 6, "")


async def tunnel(link: RawLink, port: int, requests: list[bytes], reply: bytes) -> None:
    request = await link.reader.readuntil(b"\r\n\r\n")
    requests.append(request)
    link.send(reply)
    if b" 200 " not in reply:
        return
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                sink.write(data)
        sink.close()

    try:
        await asyncio.gather(pump(link.reader, writer), pump(reader, link.writer))
    finally:
        writer.transport.abort()


async def test_a_proxy_is_asked_with_connect_and_credentials(
    connect: Connect, server_context: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    requests: list[bytes] = []
    async with Peer(server_context) as peer:

        async def script(link: RawLink) -> None:
            await tunnel(link, peer.port, requests, b"HTTP/1.0 200 OK\r\nVia: x\r\n\r\n")

        async with raw_peer(None, script) as proxy:
            transport = await connect(peer.url, proxy=f"http://bridge:s%40cret@127.0.0.1:{proxy.port}")
            assert await within(transport.send(push())) == Accepted()
            await transport.close(1)
        lines = requests[0].decode().split("\r\n")
        assert lines[0] == f"CONNECT 127.0.0.1:{peer.port} HTTP/1.1"
        assert f"Host: 127.0.0.1:{peer.port}" in lines
        expected = base64.b64encode(b"bridge:s@cret").decode()
        assert f"Proxy-Authorization: Basic {expected}" in lines
    assert "s@cret" not in caplog.text + repr(transport._plan)
    assert expected not in caplog.text + repr(transport._plan)


@pytest.mark.parametrize(
    "reply",
    [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"nonsense\r\n\r\n", b"", b"x" * 20_000],
)
async def test_a_proxy_that_refuses_is_named_in_the_error(
    connect: Connect, unused_port: int, reply: bytes
) -> None:
    async def script(link: RawLink) -> None:
        await tunnel(link, 0, [], reply)

    async with raw_peer(None, script) as proxy:
        transport = await connect(f"https://127.0.0.1:{unused_port}", proxy=f"http://127.0.0.1:{proxy.port}")
        assert not transport.usable
        assert "proxy" in transport.last_error
        outcome = await within(transport.send(push(timeout=0.02)))
        assert outcome == Retryable("Timeout", None, certainly_not_processed=True)


@pytest.mark.parametrize(
    "url", ["https://proxy", "http://", "proxy:3128", "http://u:secret@h:port", "http://h/x"]
)
def test_a_proxy_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="a proxy is written") as caught:
        Proxy.parse(url)
    assert "secret" not in str(caught.value)


async def test_a_proxy_that_accepts_and_says_nothing_is_given_up_and_asked_again(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    async with Peer(server_context) as peer:

        async def script(link: RawLink) -> None:
            if proxy.count == 1:
                await asyncio.Event().wait()
            await tunnel(link, peer.port, [], b"HTTP/1.1 200 OK\r\n\r\n")

        async with raw_peer(None, script) as proxy:
            timing = dataclasses.replace(QUICK, address=0.2)
            transport = await connect(peer.url, proxy=f"http://127.0.0.1:{proxy.port}", timing=timing)
            assert transport.last_error == "DialError: the proxy did not answer CONNECT within 0.2 s"
            assert await within(transport.send(push())) == Accepted()


# --- names and addresses ----------------------------------------------------------------------


@dataclasses.dataclass
class Names:
    """A DNS that says what the test wants."""

    addresses: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    asked: list[str] = dataclasses.field(default_factory=list)

    async def lookup(self, host: str, port: int, **_: object) -> list[Any]:
        if host == "127.0.0.1":  # uvloop asks once more, when it connects
            return [(*TCP, (host, port))]
        self.asked.append(host)
        return [(*TCP, address) for address in self.addresses]


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    found = Names()
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found.lookup)
    return found


@pytest.fixture
def black_hole() -> Iterator[int]:
    """Give a port that swallows every attempt to connect: its queue is full and nobody accepts."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield full.getsockname()[1]


async def test_the_dns_is_asked_anew_for_each_connect(
    connect: Connect, server_context: ssl.SSLContext, names: Names
) -> None:
    async with Peer(server_context) as peer:
        names.addresses = [("127.0.0.1", peer.port)]
        transport = await connect("https://localhost:1")
        assert await within(transport.send(push())) == Accepted()
        peer.links[0].writer.transport.abort()
        await within(peer.connected.get())
        await within(peer.connected.get())
        assert await within(transport.send(push(1))) == Accepted()
        assert names.asked == ["localhost", "localhost"]


async def test_addresses_that_refuse_are_passed_over_at_once(
    connect: Connect, server_context: ssl.SSLContext, unused_port: int, names: Names
) -> None:
    async with Peer(server_context) as peer:
        names.addresses = [("127.0.0.1", unused_port)] * 3 + [("127.0.0.1", peer.port)]
        never = dataclasses.replace(QUICK, stagger=60.0)
        transport = await connect("https://localhost:1", timing=never)
        assert await within(transport.send(push())) == Accepted()


async def test_dead_addresses_do_not_eat_the_time_to_connect(
    connect: Connect, server_context: ssl.SSLContext, black_hole: int, names: Names
) -> None:
    async with Peer(server_context) as peer:
        names.addresses = [("127.0.0.1", black_hole)] * 5 + [("127.0.0.1", peer.port)]
        patient = dataclasses.replace(QUICK, address=60.0, connect=60.0, stagger=0.01)
        transport = await connect("https://localhost:1", timing=patient)
        assert await within(transport.send(push())) == Accepted()


async def test_when_every_address_is_dead_the_error_says_so(
    connect: Connect, black_hole: int, names: Names
) -> None:
    names.addresses = [("127.0.0.1", black_hole)] * 2
    timing = dataclasses.replace(QUICK, address=0.05, stagger=0.01)
    transport = await connect("https://localhost:1", timing=timing)
    assert transport.last_error == "DialError: no connection to 127.0.0.1 within 0.05 s"
    outcome = await within(transport.send(push(timeout=0.02)))
    assert outcome == Retryable("Timeout", None, certainly_not_processed=True)


async def test_a_name_without_addresses_is_an_error_and_no_more(connect: Connect, names: Names) -> None:
    transport = await connect("https://localhost:1")
    assert transport.last_error == "OSError: no address for localhost"


@pytest.mark.parametrize("stage", ["TLS", "SETTINGS"])
async def test_an_address_that_connects_and_is_silent_is_not_the_first_one_for_ever(
    connect: Connect, server_context: ssl.SSLContext, names: Names, stage: str
) -> None:
    async def mute(link: RawLink) -> None:
        await asyncio.Event().wait()

    silent = raw_peer(server_context if stage == "SETTINGS" else None, mute)
    async with silent as bad, Peer(server_context) as peer:
        names.addresses = [("127.0.0.1", bad.port), ("127.0.0.1", peer.port)]
        transport = await connect("https://localhost:1", timing=dataclasses.replace(QUICK, address=0.2))
        assert stage in str(transport.last_error)
        assert await within(transport.send(push())) == Accepted()


def test_the_families_take_turns() -> None:
    six, four = socket.AF_INET6, socket.AF_INET
    found = [
        (family, 1, 6, "", (name, 443)) for family, name in [(six, "a"), (six, "b"), (six, "c"), (four, "d")]
    ]
    assert [info[4][0] for info in _in_turn(found, 0)] == ["a", "d", "b", "c"]
    assert [info[4][0] for info in _in_turn(found, 5)] == ["d", "b", "c", "a"]
    assert _in_turn([], 3) == []


# --- who is there -----------------------------------------------------------------------------


async def test_a_client_certificate_takes_the_place_of_the_token(
    world: World, server_context: ssl.SSLContext
) -> None:
    server_context.load_verify_locations(world.ca_file)
    server_context.verify_mode = ssl.CERT_REQUIRED
    async with Peer(server_context) as peer:
        transport = Transport.with_certificate(
            certificate_file=world.client_file,
            topic="com.example.app.voip",
            url=peer.url,
            ca_file=world.ca_file,
            timing=QUICK,
        )
        try:
            await within(transport.start())
            outcomes = await within(asyncio.gather(*(transport.send(push(n)) for n in range(10))))
            assert outcomes == [Accepted()] * 10
            assert all("authorization" not in request.headers for request in peer.requests)
            assert transport.token_age(0) is None
        finally:
            await transport.close(1)


async def test_a_server_that_wants_a_certificate_gets_no_push_without_one(
    connect: Connect, world: World, server_context: ssl.SSLContext
) -> None:
    server_context.load_verify_locations(world.ca_file)
    server_context.verify_mode = ssl.CERT_REQUIRED
    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        assert not transport.usable
        assert transport.last_error
        outcome = await within(transport.send(push(timeout=0.02)))
        assert outcome == Retryable("Timeout", None, certainly_not_processed=True)
        assert not peer.requests


@pytest.mark.parametrize("change", ["unknown authority", "no h2", "wrong name"])
async def test_a_server_that_is_not_the_right_one_gets_no_push(
    connect: Connect, world: World, change: str, tmp_path: Path
) -> None:
    import trustme

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = trustme.CA()
    name = "example.com" if change == "wrong name" else "127.0.0.1"
    authority.issue_cert(name).configure_cert(context)
    trusted = str(tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(trusted)
    context.set_alpn_protocols(["http/1.1"] if change == "no h2" else ["h2"])
    async with Peer(context) as peer:
        ca_file = world.ca_file if change == "unknown authority" else trusted
        transport = await connect(peer.url, ca_file=ca_file)
        assert not transport.usable
        outcome = await within(transport.send(push(timeout=0.02)))
        assert outcome == Retryable("Timeout", None, certainly_not_processed=True)
        assert not peer.requests


def test_old_tls_is_not_spoken(world: World) -> None:
    context = tls_context(world.ca_file)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    old = [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"]
    assert old
    assert all(name.startswith("ECDHE") for name in old)


def test_each_environment_has_its_host(world: World) -> None:
    transport = Transport.with_key(key_pem=world.key_pem, key_id="k", team_id="t", topic="x.voip")
    assert transport._plan.address("production") == HOSTS["production"] == ("api.push.apple.com", 443)
    assert transport._plan.address("sandbox") == ("api.sandbox.push.apple.com", 443)
    assert not transport.usable


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1", "https://", "https://h:port", "127.0.0.1:443", "https://h/x"]
)
def test_an_address_that_is_none_is_refused(world: World, url: str) -> None:
    with pytest.raises(ValueError, match="the address of APNs is written"):
        world.transport(url)
