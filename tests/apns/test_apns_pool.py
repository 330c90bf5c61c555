"""The pool: who takes the next push, and when it connects."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
from collections import Counter

import pytest
from apnsworld import QUICK, Connect, push, within
from h2.settings import SettingCodes
from peer import PATIENCE, Link, Peer, Request, silence

from bridge.apns import Transport, framing
from bridge.pushes import Accepted, Retryable


async def open_all(peer: Peer, transport: Transport, count: int) -> None:
    """Wait until there are so many connections, and each has had its first good answer."""
    for _ in range(count):
        await within(peer.connected.get())
    peer.script = silence
    first = [asyncio.create_task(transport.send(push(900 + number))) for number in range(count)]
    for _ in range(count):
        request = await peer.next()
        request.link.answer(request)
    assert await within(asyncio.gather(*first)) == [Accepted()] * count
    peer.requests.clear()


async def test_pushes_go_to_the_connection_with_the_most_free_streams(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    async with Peer(server_context, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 20}) as peer:
        transport = await connect(peer.url, max_connections=3, warm=3)
        await open_all(peer, transport, 3)
        sends = [asyncio.create_task(transport.send(push(number))) for number in range(30)]
        held = [await peer.next() for _ in range(30)]
        counts = Counter(id(request.link) for request in held)
        assert sorted(counts.values()) == [10, 10, 10]
        emptied = held[0].link
        for request in held:
            if request.link is emptied:
                request.link.answer(request)
        await asyncio.wait(sends, return_when=asyncio.FIRST_COMPLETED)
        sends += [asyncio.create_task(transport.send(push(number))) for number in range(30, 40)]
        late = [await peer.next() for _ in range(10)]
        assert {id(request.link) for request in late} == {id(emptied)}
        for request in held + late:
            if request.link is not emptied or request in late:
                request.link.answer(request)
        assert await within(asyncio.gather(*sends)) == [Accepted()] * 40


async def test_a_connection_that_does_not_answer_its_ping_gets_no_push_meanwhile(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    async with Peer(server_context) as peer:
        timing = dataclasses.replace(QUICK, idle=0.4, suspicion=60.0, ping=60.0)
        transport = await connect(peer.url, max_connections=2, warm=2, timing=timing)
        mute = await within(peer.connected.get())
        mute.writer.transport.pause_reading()
        await within(peer.connected.get())
        pool = transport._pools[0]
        async with asyncio.timeout(PATIENCE):
            while not any(connection.pulse.doubtful for connection in pool.connections):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
        outcomes = [await within(transport.send(push(number))) for number in range(5)]
        assert outcomes == [Accepted()] * 5
        assert mute not in {request.link for request in peer.requests}


async def test_each_failure_doubles_the_wait_up_to_a_limit_and_chance_spreads_it(
    connect: Connect, unused_port: int
) -> None:
    timing = dataclasses.replace(QUICK, back_off=0.1, back_off_limit=5.0)
    transport = await connect(f"https://127.0.0.1:{unused_port}", timing=timing)
    pool = transport._pools[0]
    for failures, longest in [(1, 0.1), (2, 0.2), (5, 1.6), (6, 3.2), (7, 5.0), (500, 5.0)]:
        pool._failures = failures
        waits = {pool._back_off() for _ in range(50)}
        assert all(longest / 2 <= wait <= longest for wait in waits)
        assert len(waits) > 1


async def test_connections_that_die_young_and_useless_count_as_failures(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    def go(link: Link) -> None:
        link.raw(framing.goaway(0, framing.ErrorCode.NO_ERROR, ""))

    async with Peer(server_context, greet=go) as peer:
        timing = dataclasses.replace(QUICK, stable=60.0, back_off_limit=0.1)
        transport = await connect(peer.url, timing=timing)
        for _ in range(4):
            await within(peer.connected.get())
        pool = transport._pools[0]
        assert pool._failures + pool._short_lives >= 3
        assert pool._back_off() >= timing.back_off
        peer.greet = None
        assert await within(transport.send(push())) == Accepted()


async def test_what_one_server_does_holds_up_no_push_to_another(
    connect: Connect, server_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Peer(server_context, silence) as production, Peer(server_context) as sandbox:
        from bridge.apns import HOSTS

        for name, peer in (("production", production), ("sandbox", sandbox)):
            monkeypatch.setitem(HOSTS, name, ("127.0.0.1", peer.port))
        transport = await connect(None)
        stuck = asyncio.create_task(transport.send(push(1, timeout=0.5)))
        outcome = await within(transport.send(push(2, environment="sandbox")))
        assert outcome == Accepted()
        assert await within(stuck) == Retryable("Timeout", None, certainly_not_processed=False)


async def test_a_thousand_pushes_over_four_connections_arrive_once_each(
    connect: Connect, server_context: ssl.SSLContext
) -> None:
    def script(link: Link, request: Request) -> None:
        asyncio.get_running_loop().call_soon(link.answer, request)

    async with Peer(server_context, script, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 50}) as peer:
        transport = await connect(peer.url, max_connections=4, warm=1)
        outcomes = await within(
            asyncio.gather(*(transport.send(push(n, timeout=30.0)) for n in range(1_000)))
        )
        assert outcomes == [Accepted()] * 1_000
        names = Counter(request.headers["apns-id"] for request in peer.requests)
        assert set(names.values()) == {1}
        assert len(names) == 1_000
        assert 1 < len(peer.links) <= 4


@pytest.mark.asyncio(loop_factories=["asyncio"])  # uvloop's clock cannot be moved
async def test_each_push_ends_at_its_own_deadline(
    connect: Connect, server_context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    real, ahead = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real() + ahead)
    async with Peer(server_context, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2}) as peer:
        timing = dataclasses.replace(QUICK, suspicion=1e6, idle=1e6, ping=1e6)
        transport = await connect(peer.url, timing=timing)
        assert await within(transport.send(push())) == Accepted()
        await peer.next()
        peer.script = silence
        limits = [3_000.0, 1_000.0, 4_000.0, 2_000.0]  # two are sent, two wait
        sends = [asyncio.create_task(transport.send(push(n, timeout=s))) for n, s in enumerate(limits, 1)]
        for _ in range(2):
            await peer.next()
        for seconds, number in sorted((seconds, number) for number, seconds in enumerate(limits)):
            ahead = seconds - 500
            await asyncio.sleep(0)
            assert not sends[number].done()
            ahead = seconds + 1
            outcome = await sends[number]
            assert isinstance(outcome, Retryable)
            assert outcome.reason == "Timeout"
        assert transport.waiting == 0
