from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import apnsworld
import pytest
import uvloop
from apnsworld import Connect, MakePush, World

from bridge.apns import Transport

LoopFactory: TypeAlias = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, LoopFactory]:
    """Run each test here on both event loops."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("apns"))


@pytest.fixture
def server_context(world: World) -> ssl.SSLContext:
    return world.server_context()


@pytest.fixture
async def connect(world: World) -> AsyncIterator[Connect]:
    """Start a transport, and close it with the test."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(url: str, **options: Any) -> Transport:
            transport = world.transport(url, **options)
            stack.push_async_callback(transport.close, 0)
            await transport.start()
            return transport

        yield start


@pytest.fixture(name="push")
def make_push() -> MakePush:
    return apnsworld.push


@pytest.fixture
def unused_port() -> int:
    """Give a port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port
