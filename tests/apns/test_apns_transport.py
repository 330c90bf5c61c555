"""The transport as a whole: token, TLS, proxy, DNS, liveness, closing, and what it says about itself."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import logging
import ssl
import weakref
from typing import Any

import jwt
import pytest
from aioapns import APNs, NotificationRequest, PushType
from apnsworld import QUICK, Connect, World, push, within
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from peer import PATIENCE, Link, Peer, Request, accept, refuse, silence

from bridge.apns import framing
from bridge.apns.connection import Connection
from bridge.apns.dial import tls_context
from bridge.apns.token import ProviderToken
from bridge.pushes import Accepted, Misconfigured, Outcome, Quarantined, Rejected, Retryable

# --- the provider token -----------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.boot = 1_000.0
        self.wall = 1_750_000_000.0

    def pass_(self, seconds: float) -> None:
        self.boot += seconds
        self.wall += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def provider(world: World, clock: Clock) -> ProviderToken:
    return ProviderToken(
        world.key_pem, "ABCDE12345", "TEAM567890", elapsed=lambda: clock.boot, wall=lambda: clock.wall
    )


def test_the_token_is_what_apple_wants(world: World, provider: ProviderToken, clock: Clock) -> None:
    scheme, token = provider.get_header().split(" ")
    public = load_pem_private_key(world.key_pem.encode(), None).public_key()
    claims = jwt.decode(token, public, algorithms=["ES256"], options={"verify_iat": False})
    assert scheme == "bearer"
    assert claims == {"iss": "TEAM567890", "iat": 1_750_000_000}
    assert jwt.get_unverified_header(token)["kid"] == "ABCDE12345"
    assert jwt.get_unverified_header(token)["alg"] == "ES256"
    assert provider.age(clock.wall + 5) == 5


def test_the_token_is_kept_for_fifty_minutes(provider: ProviderToken, clock: Clock) -> None:
    assert provider.age(0) is None
    first = provider.get_header()
    clock.pass_(49 * 60)
    assert provider.get_header() == first
    clock.pass_(60)
    assert provider.get_header() != first


def test_no_jump_of_the_wall_clock_renews_the_token_within_twenty_minutes(
    provider: ProviderToken, clock: Clock
) -> None:
    first = provider.get_header()
    clock.wall += 86_400
    clock.boot += 19 * 60
    assert provider.get_header() == first
    clock.boot += 60
    second = provider.get_header()
    assert second != first
    clock.wall -= 172_800
    clock.boot += 20 * 60
    assert provider.get_header() != second


def test_an_expired_token_is_replaced_once_and_not_within_twenty_minutes(
    provider: ProviderToken, clock: Clock
) -> None:
    first = provider.get_header()
    clock.pass_(60)
    assert not provider.replace(first)
    clock.pass_(20 * 60)
    assert provider.replace(first)
    second = provider.get_header()
    assert second != first
    assert provider.replace(first)  # another push that was under way with the old one
    assert provider.get_header() == second
    assert not provider.replace(second)


@pytest.mark.parametrize(
    "text", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
)
def test_a_key_that_is_none_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="private key") as caught:
        ProviderToken(text, "k", "t")
    assert "AAAA" not in str(caught.value)


async def test_an_expired_provider_token_is_renewed_and_the_push_sent_again_once(
    connect: Connect, server_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        provider = transport._plan.provider
        first = provider.get_header()
        elapsed = provider._elapsed
        monkeypatch.setattr(provider, "_elapsed", lambda: elapsed() + 21 * 60)
        wall = provider._wall
        monkeypatch.setattr(provider, "_wall", lambda: wall() + 21 * 60)

        def script(link: Link, request: Request) -> None:
            if request.headers["authorization"] == first:
                refuse(403, "ExpiredProviderToken")(link, request)
            else:
                accept(link, request)

        peer.script = script
        outcomes = await within(asyncio.gather(*(transport.send(push(number)) for number in range(5))))
        assert outcomes == [Accepted()] * 5
        assert len({request.headers["authorization"] for request in peer.requests}) == 2


async def test_a_token_that_stays_expired_is_an_outcome_and_mints_no_other(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    async with Peer(server_context, refuse(403, "ExpiredProviderToken")) as peer:
        transport = await connect(peer.url)
        outcomes = await within(asyncio.gather(*(transport.send(push(number)) for number in range(5))))
        assert outcomes == [Retryable("ExpiredProviderToken")] * 5
        assert len({request.headers["authorization"] for request in peer.requests}) == 1
        assert len(peer.requests) == 5


async def test_too_many_token_updates_mint_no_other_and_repeat_nothing(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    async with Peer(server_context, refuse(429, "TooManyProviderTokenUpdates")) as peer:
        transport = await connect(peer.url)
        assert await within(transport.send(push())) == Retryable("TooManyProviderTokenUpdates")
        assert len(peer.requests) == 1


# --- answers that end a connection ------------------------------------------------------------


@pytest.mark.parametrize(("status", "reason"), [(400, "IdleTimeout"), (403, "UnrelatedKeyIdInToken")])
async def test_an_answer_that_asks_for_a_new_connection_gets_one(
    connect: Connect, server_context: ssl.SSLContext, status: int, reason: str
) -> None:
    async with Peer(server_context, refuse(status, reason)) as peer:
        transport = await connect(peer.url)
        assert await within(transport.send(push())) == Retryable(reason)
        await within(peer.links[0].gone.wait())
        peer.script = accept
        assert await within(transport.send(push(1))) == Accepted()
        assert peer.requests[1].link is not peer.requests[0].link


# --- before need, and liveness ----------------------------------------------------------------


async def test_connections_are_open_before_the_first_push(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url, max_connections=4, warm=2)
        for _ in range(2):
            await within(peer.connected.get())
        assert transport.usable
        assert transport.last_error is None
        assert not peer.requests


async def test_an_idle_connection_is_pinged_and_kept(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url, timing=dataclasses.replace(QUICK, idle=0.02))
        for _ in range(3):
            await within(peer.pinged.get())
        assert await within(transport.send(push())) == Accepted()
        assert len(peer.links) == 1


async def test_a_peer_that_died_while_idle_is_replaced_before_the_next_push(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    async with Peer(server_context) as peer:
        await_two = dataclasses.replace(QUICK, idle=0.05, ping=0.1)
        transport = await connect(peer.url, timing=await_two)
        first = await within(peer.connected.get())
        first.writer.transport.pause_reading()
        second = await within(peer.connected.get())
        assert await within(transport.send(push())) == Accepted()
        assert peer.requests[0].link is second


async def test_goaway_after_an_idle_hour_costs_the_next_push_nothing(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        first = await within(peer.connected.get())
        first.raw(framing.goaway(0, framing.ErrorCode.NO_ERROR, '{"reason":"IdleTimeout"}'))
        await within(peer.connected.get())
        assert await within(transport.send(push())) == Accepted()


async def test_a_timed_out_push_makes_the_connection_prove_that_it_lives(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    async with Peer(server_context, silence) as peer:
        transport = await connect(peer.url)
        await within(transport.send(push(timeout=0.02)))
        assert await within(peer.pinged.get()) is peer.links[0]


# --- the end ----------------------------------------------------------------------------------


async def test_closing_waits_for_answers_and_takes_no_more_pushes(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    async with Peer(server_context, silence) as peer:
        transport = await connect(peer.url)
        sending = asyncio.create_task(transport.send(push()))
        held = await peer.next()
        closing = asyncio.create_task(transport.close(PATIENCE))
        await asyncio.sleep(0)
        refused = await within(transport.send(push(1)))
        assert refused == Retryable("ShuttingDown", None, certainly_not_processed=True)
        held.link.answer(held)
        assert await within(sending) == Accepted()
        await within(closing)
        await within(held.link.gone.wait())
        assert held.link.goaway is not None
        assert transport.open_connections == 0
        assert not transport.usable


async def test_what_has_no_answer_when_closing_ends_has_an_outcome(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    async with Peer(server_context, silence) as peer:
        transport = await connect(peer.url)
        tasks = [asyncio.create_task(transport.send(push(number))) for number in range(3)]
        await peer.next()
        await within(transport.close(0.02))
        assert await within(asyncio.gather(*tasks)) == [
            Retryable("ShuttingDown", None, certainly_not_processed=False),
            Retryable("ShuttingDown", None, certainly_not_processed=True),
            Retryable("ShuttingDown", None, certainly_not_processed=True),
        ]
        await within(transport.close(1))


# --- what is said and what is not -------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"token": "../../etc"}, Quarantined("BadDeviceToken")),
        ({"token": ""}, Quarantined("BadDeviceToken")),
        ({"token": "ab\r\nx: y"}, Quarantined("BadDeviceToken")),
        ({"topic": "a\nb"}, Misconfigured("BadTopic")),
        ({"apns_id": "not an id"}, Rejected("BadMessageId")),
        ({"collapse_id": "x\0"}, Rejected("BadCollapseId")),
    ],
)
async def test_what_cannot_be_said_is_refused_before_it_is_sent(
    connect: Connect, server_context: ssl.SSLContext, changes: Any, expected: Outcome
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        assert await within(transport.send(push(**changes))) == expected
        assert await within(transport.send(push(1))) == Accepted()
        assert len(peer.requests) == 1


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
async def test_a_push_without_time_is_timed_out_at_once(
    connect: Connect, server_context: ssl.SSLContext, limit: float
) -> None:
    async with Peer(server_context, silence) as peer:
        transport = await connect(peer.url)
        outcome = await within(transport.send(push(timeout=limit)))
        assert outcome.reason == "Timeout"


async def test_a_push_without_limit_is_sent_all_the_same(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        assert await within(transport.send(push(timeout=float("inf")))) == Accepted()


async def test_no_token_and_no_key_is_ever_logged(
    connect: Connect, server_context: ssl.SSLContext, caplog: pytest.LogCaptureFixture, world: World
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "ab" * 32
    async with Peer(server_context, refuse(400, "BadDeviceToken")) as peer:
        transport = await connect(peer.url)
        await within(transport.send(push(token=secret)))
        peer.script = lambda link, request: link.raw(b"\xff" * 100)
        await within(transport.send(push(token=secret)))
        peer.script = silence
        await within(transport.send(push(token=secret, timeout=0.02)))
        authorization = peer.requests[0].headers["authorization"].removeprefix("bearer ")
    said = "\n".join(
        record.getMessage() for record in caplog.records if record.name.startswith(("bridge", "aioapns"))
    )
    assert said
    for hidden in (secret, authorization, world.key_pem.splitlines()[1]):
        assert hidden not in said
        assert hidden not in repr(transport._plan)


# --- aioapns' own pool --------------------------------------------------------------


async def test_our_protocol_serves_under_the_pool_of_aioapns(
    world: World, server_context: ssl.SSLContext
) -> None:
    async with Peer(server_context) as peer:
        client = APNs(
            key=world.key_pem,
            key_id="k",
            team_id="t",
            topic="com.example.app.voip",
            ssl_context=tls_context(world.ca_file),
            max_connection_attempts=1,
        )
        client.pool.protocol_class = Connection.to("127.0.0.1", peer.port, QUICK)
        requests = [
            NotificationRequest(
                device_token=f"{n:04x}", message={"aps": {}}, time_to_live=30, push_type=PushType.VOIP
            )
            for n in range(20)
        ]
        results = await within(asyncio.gather(*(client.send_notification(one) for one in requests)))
        assert all(result.is_successful for result in results)
        assert json.loads(peer.requests[0].body) == {"aps": {}}
        closed = [connection.closed for connection in client.pool.connections]
        client.pool.close()
        await within(asyncio.gather(*closed))


async def test_a_pool_gives_out_a_connection_as_aioapns_pools_do(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    async with Peer(server_context, silence) as peer:
        transport = await connect(peer.url)
        pool = transport._pools[0]
        assert await within(pool.acquire()) is pool.connections[0]
        sending = asyncio.create_task(transport.send(push()))
        held = await peer.next()
        taking = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0)
        assert not taking.done()
        held.link.answer(held)
        assert await within(taking) is pool.connections[0]
        assert await within(sending) == Accepted()


@pytest.mark.asyncio(loop_factories=["asyncio"])  # uvloop keeps its buffers elsewhere
async def test_the_buffers_of_a_lost_connection_do_not_wait_for_the_garbage_collector(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        assert await within(transport.send(push())) == Accepted()
        connection: Connection = transport._pools[0].connections[0]
        buffers = weakref.ref(connection._transport._ssl_protocol)
        gc.disable()
        try:
            connection.end("Test")
            await within(connection.closed)
            await asyncio.sleep(0)  # the loop lets go of the callback that it is in
            assert buffers() is None
        finally:
            gc.enable()
