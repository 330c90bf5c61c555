"""The same trouble for two clients: what aioapns does in it, and ours must not.

Ours must have no fault; aioapns must show the one that is named beside the trouble, so that it is known
to be a trouble.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from typing import Final

import pytest
from aioapns import PushType
from apnsworld import World
from clients import CLIENTS
from forwarder import Forwarder
from h2.settings import SettingCodes
from peer import PATIENCE, Peer, RawLink, accept, raw_peer
from troubles import TROUBLES, Report, until_accepted

from bridge.apns.messages import MorePushType

MEMORY_LIMIT: Final = 16_000_000  # octets at the height of any trouble, both sides together


@contextlib.asynccontextmanager
async def report_of(
    world: World, context: ssl.SSLContext, client: str, peer_settings: dict[SettingCodes, int]
) -> AsyncIterator[Report]:
    async with (
        Peer(context, settings=peer_settings) as peer,
        Forwarder(peer.port) as network,
        CLIENTS[client](world, network.url, ready=True) as subject,
    ):
        report = Report(subject, peer, cut=network.cut)
        try:
            yield report
        finally:
            await report.end()


@pytest.mark.parametrize("name", TROUBLES)
async def test_ours_has_no_fault_in_trouble(world: World, server_context: ssl.SSLContext, name: str) -> None:
    meet, _, peer_settings = TROUBLES[name]
    tracemalloc.start()
    try:
        async with report_of(world, server_context, "ours", peer_settings) as report:
            await meet(report)
            assert await report.judge() == set()
            assert tracemalloc.get_traced_memory()[1] < MEMORY_LIMIT
            report.peer.script = accept
            await until_accepted(report, 1_000)
    finally:
        tracemalloc.stop()


@pytest.mark.asyncio(loop_factories=["asyncio"])
@pytest.mark.parametrize("name", TROUBLES)
async def test_aioapns_has_the_fault(world: World, server_context: ssl.SSLContext, name: str) -> None:
    meet, fault, peer_settings = TROUBLES[name]
    async with report_of(world, server_context, "aioapns", peer_settings) as report:
        await meet(report)
        async with asyncio.timeout(PATIENCE):
            while fault not in await report.judge():  # noqa: ASYNC110 - a fault is no event
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("through", ["proxy", "server"])
@pytest.mark.parametrize("client", CLIENTS)
async def test_who_connects_to_somebody_mute_holds_up_all_senders_of_aioapns_and_none_of_ours(
    world: World, client: str, through: str
) -> None:
    async def mute(link: RawLink) -> None:
        await asyncio.Event().wait()

    async with raw_peer(None, mute) as nobody:
        proxy = f"http://127.0.0.1:{nobody.port}" if through == "proxy" else None
        async with CLIENTS[client](world, nobody.url, proxy) as subject:
            sends = [asyncio.create_task(subject.send(number)) for number in range(20)]
            done, hung = await asyncio.wait(sends, timeout=subject.patience)
            for send in hung:
                send.cancel()
            await asyncio.gather(*hung, return_exceptions=True)
            assert [send.result() for send in done] == ["certain"] * (20 if client == "ours" else 0)


def test_push_types_of_apple_that_aioapns_does_not_name_are_ours_to_name() -> None:
    for name in ("LOCATION", "PUSHTOTALK"):
        assert not hasattr(PushType, name)
        assert hasattr(MorePushType, name)
