"""When a connection writes: alone at once, together in one write, and much while more is made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aioapns.connection import AuthorizationHeaderProvider
from apnsworld import push
from test_apns_fuzz import Wire, feed

from bridge.apns import framing
from bridge.apns.connection import Connection
from bridge.apns.exchange import Exchange
from bridge.apns.framing import Setting
from bridge.apns.messages import PushNotification, PushResult

SETTINGS = framing.settings({Setting.MAX_CONCURRENT_STREAMS: 1_000})


class Writes(Wire):
    """Keeps each write by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.each: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.each.append(data)

    def requests(self) -> list[int]:
        """Give how many requests began in each write, and forget them."""
        counts = [
            sum(frame[0] == framing.HEADERS for frame in framing.FrameReader().feed(data))
            for data in self.each
        ]
        self.each.clear()
        return counts


@pytest.fixture
async def wire() -> Writes:
    return Writes()


@pytest.fixture
async def connection(wire: Writes) -> AsyncIterator[Connection]:
    connection = Connection("x.voip")
    connection.connection_made(wire)
    feed(connection, SETTINGS)
    await asyncio.sleep(0)
    wire.each.clear()
    yield connection
    connection.end("done", at_once=True)


def notification(number: int = 0) -> PushNotification:
    return PushNotification(
        device_token=f"{number:064x}",
        payload=b"{}",
        deadline=asyncio.get_running_loop().time() + 60,
        notification_id=push(number).apns_id,
    )


def send(connection: Connection, count: int) -> list[asyncio.Task[PushResult]]:
    return [asyncio.create_task(connection.send_notification(notification(n))) for n in range(count)]


def answer(connection: Connection, stream_ids: range) -> None:
    """Answer these in one read."""
    feed(
        connection,
        b"".join(framing.header_frames(one, b"\x88", framing.END_STREAM, 16_384) for one in stream_ids),
    )


async def test_a_push_alone_is_written_before_the_turn_of_the_loop_ends(
    connection: Connection, wire: Writes
) -> None:
    exchange = Exchange(notification(), asyncio.get_running_loop().create_future())
    connection.open(exchange)
    assert wire.requests() == [1]


async def test_much_is_written_while_more_is_made_and_the_rest_in_one_write(
    connection: Connection, wire: Writes
) -> None:
    """What the peer has to do doubles with each write, up to the limit of one."""
    sends = send(connection, 64 + 48 + 6)
    await asyncio.sleep(0)
    assert wire.requests() == [1, 4, 5, 10, 20, 40]
    await asyncio.sleep(0)
    assert wire.requests() == [38]
    answer(connection, range(1, 2 * len(sends), 2))
    assert {(await one).status for one in sends} == {"200"}


async def test_senders_that_come_back_together_share_a_write(connection: Connection, wire: Writes) -> None:
    first = send(connection, 3)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wire.requests() == [1, 2]
    answer(connection, range(1, 6, 2))
    await asyncio.gather(*first)
    second = send(connection, 3)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wire.requests() == [3]
    answer(connection, range(7, 12, 2))
    await asyncio.gather(*second)


async def test_a_push_sent_again_with_a_new_token_has_it_though_the_write_began_with_the_old(
    wire: Writes,
) -> None:
    class Provider(AuthorizationHeaderProvider):
        header = "bearer old"

        def get_header(self) -> str:
            return self.header

    connection = Connection("x.voip", auth_provider=Provider())
    connection.connection_made(wire)
    feed(connection, SETTINGS)
    first, again = (Exchange(notification(n), connection.loop.create_future()) for n in range(2))
    again.authorization = "bearer new"
    connection.open(first)
    connection.open(again)
    await asyncio.sleep(0)
    assert first.authorization == "bearer old"
    assert b"bearer old" in b"".join(wire.each)
    assert b"bearer new" in b"".join(wire.each)
    connection.end("done", at_once=True)
