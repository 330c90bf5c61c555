"""More than can be done at once: refused quickly, and not at the cost of anybody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
from appworld import World, until
from yarl import URL

from bridge import front
from bridge.store import Tx
from bridge.web.guard import Limits


@asynccontextmanager
async def held(world: World) -> AsyncIterator[None]:
    """Keep the ledger's writer busy."""
    opened, began = asyncio.Event(), asyncio.Event()

    async def slow(_: Tx) -> None:
        began.set()
        await opened.wait()

    task = asyncio.create_task(world.bridge.store.write(slow))
    await began.wait()
    try:
        yield
    finally:
        opened.set()
        await task


@pytest.fixture
async def tenants(stage: World) -> World:
    """A bridge with two sources."""
    stage.config["sources"] = [{"name": "eu"}, {"name": "us"}]
    await stage.start()
    return stage


@pytest.fixture
async def flood(tenants: World) -> AsyncIterator[Any]:
    """Posts as many webhooks at once as it is asked for, over a connection each."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def post(source: str, body: bytes) -> tuple[int, str]:
            url = f"{tenants.url}/webhook/{source}"
            async with session.post(url, data=body) as answer:
                await answer.read()
                return answer.status, answer.headers.get("Retry-After", "")

        def begin(source: str, count: int, **fields: Any) -> list[asyncio.Task[tuple[int, str]]]:
            bodies = (
                tenants.message(tenants.alert(f"{source}{number}"), **fields) for number in range(count)
            )
            return [asyncio.create_task(post(source, body)) for body in bodies]

        yield begin


async def test_one_tenants_flood_is_put_off_and_leaves_room_for_anothers(tenants: World, flood: Any) -> None:
    async with held(tenants):
        many = flood("eu", 500)
        await until(lambda: sum(task.done() for task in many) == 500 - 384, "they are not put off at once")
        (other,) = flood("us", 1)
        await until(lambda: tenants.bridge.store.waiting > 384, "the other's does not get in")
    assert (await other)[0] == 200
    answers = await asyncio.gather(*many)
    assert sorted(set(answers)) == [(200, ""), (503, "1")]
    assert len(await tenants.incidents()) == 100, "as many as a listing shows"
    assert [status for status, _ in await asyncio.gather(*flood("eu", 100))] == [200] * 100


async def test_bodies_that_are_decided_on_take_no_more_memory_than_there_is_for_them(
    stage: World, tenants: World, flood: Any
) -> None:
    """Four of the largest at once, and of one source two; they are as large as that says, not smaller."""
    size = 900_000
    stage.config["max_body_size"] = "1MiB"
    assert (await stage.reload()).status == 200
    async with held(tenants):
        many = flood("eu", 5, padding="x" * size)
        await until(lambda: sum(task.done() for task in many) == 3)
        others = flood("us", 2, padding="x" * size)
        await until(lambda: sum(task.done() for task in others) == 1)
    assert sorted(status for status, _ in await asyncio.gather(*many)) == [200, 200, 503, 503, 503]
    assert sorted(status for status, _ in await asyncio.gather(*others)) == [200, 503]


async def test_a_flood_of_webhooks_holds_up_no_ring(tenants: World, flood: Any) -> None:
    """What pages goes by a lane of its own through the ledger's writer."""
    await tenants.settled()
    async with held(tenants):
        many = flood("eu", 300)
        await until(lambda: tenants.bridge.store.waiting >= 300)
        claim = asyncio.create_task(tenants.bridge.sender._claim(tenants.bridge.sender._free_ways()))
        await until(lambda: tenants.bridge.store.waiting > 300)
    await claim
    assert sum(task.done() for task in many) <= 128
    assert {status for status, _ in await asyncio.gather(*many)} == {200}


@pytest.mark.parametrize("listener", ["web", "phone"])
async def test_a_body_that_does_not_come_is_cut_off_on_both_listeners(
    world: World, listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.stop()
    monkeypatch.setattr(front, "Limits", lambda connections: Limits(connections, body=0.05))
    bridge = await world.start()
    await world.settled()
    url = URL(bridge.bound.web[0] if listener == "web" else bridge.bound.phone)
    path = b"/webhook" if listener == "web" else b"/api/v1/enrol"
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"POST " + path + b" HTTP/1.1\r\nHost: b\r\nContent-Length: 100\r\n\r\n{")
    with suppress(ConnectionError):
        async with asyncio.timeout(30):
            assert await reader.read() == b""
    writer.close()
    assert world.metric("connections_cut_total", listener=listener, reason="slow body") == 1
    assert (await world.get("/-/ready")).status == 200
