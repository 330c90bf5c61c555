"""The servers of these tests leave nothing open that a later test would be blamed for."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from typing import Any

import pytest
import uvloop
from apnsworld import World
from forwarder import Forwarder
from peer import Peer, RawLink, raw_peer

TURNS = range(8)
"""Turns of the loop from a client's connect to the end of the server: from before the accept to the handshake."""


async def mute(_: RawLink) -> None:
    await asyncio.Event().wait()


SERVERS: dict[str, Callable[[World, int], AbstractAsyncContextManager[Any]]] = {
    "h2": lambda world, _: Peer(world.server_context()),
    "octets in TLS": lambda world, _: raw_peer(world.server_context(), mute),
    "octets": lambda _, __: raw_peer(None, mute),
    "forwarder": lambda _, port: Forwarder(port),
}


def hello() -> bytes:
    """Give what a client of TLS says first."""
    says = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), says, server_hostname="127.0.0.1")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return says.read()


@contextmanager
def nothing_left_open() -> Iterator[None]:
    gc.collect()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield
        gc.collect()
    assert [str(one.message) for one in warned] == []


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("says", [b"", hello()], ids=["nothing", "hello"])
@pytest.mark.parametrize("server", SERVERS)
def test_a_server_that_ends_while_a_client_connects_leaves_nothing_open(
    world: World, server: str, says: bytes, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def connect(turns: int, deaf: int, stack: ExitStack) -> None:
        async with SERVERS[server](world, deaf) as it:
            there = ("127.0.0.1", int(it.url.rpartition(":")[2]))
            stack.enter_context(socket.create_connection(there)).sendall(says)
            for _ in range(turns):
                await asyncio.sleep(0)

    with nothing_left_open():
        for turns in TURNS:
            with ExitStack() as stack, asyncio.Runner(loop_factory=loop) as runner:
                deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
                runner.run(connect(turns, deaf, stack))
