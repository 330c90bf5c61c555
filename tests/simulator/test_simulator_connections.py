from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bridge.simulator import Simulator, scripted
from bridge.simulator.identity import issue_client_certificate

from .client import Sender
from .conftest import Bridge, Time

REFUSED_STREAM = 7


async def test_one_stream_until_a_good_token_was_answered_then_a_thousand(
    sender: Sender, bridge: Bridge
) -> None:
    assert sender.limit == 1
    assert (await bridge.push(sender, authorization="bearer rubbish")).status == 403
    assert sender.limit == 1
    # A good token suffices; the request itself may be wrong.
    assert (await bridge.push(sender, apns_id="x")).reason == "BadMessageId"
    await sender.until(lambda: sender.limit == 1000)


async def test_a_surplus_stream_is_refused_and_the_connection_lives(sender: Sender, bridge: Bridge) -> None:
    first = sender.begin(bridge.headers(), None)
    sender.h2.remote_settings.max_concurrent_streams = 100  # a client that does not care
    sender.h2.remote_settings.acknowledge()
    surplus = await bridge.push(sender)
    assert surplus.reset == REFUSED_STREAM
    sender.h2.send_data(1, bridge.call(), end_stream=True)
    sender.flush()
    async with asyncio.timeout(10):
        await first.done.wait()
    assert first.status == 200


async def test_a_hundred_pushes_at_once_are_all_answered(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    await bridge.push(sender)
    await sender.until(lambda: sender.limit == 1000)
    answers = await asyncio.gather(*(bridge.push(sender) for _ in range(100)))
    assert {answer.status for answer in answers} == {200}
    assert len(sim.phone("alice").pushes.items) == 101


async def test_a_client_certificate_stands_in_for_a_provider_token(
    sim: Simulator, bridge: Bridge, tmp_path: Path
) -> None:
    file = tmp_path / "client.pem"
    file.write_bytes(issue_client_certificate(Path(sim.ca_file).parent, "sender"))
    async with Sender(sim, certificate=str(file)) as sender:
        await sender.until(lambda: sender.limit == 1000)
        assert (await bridge.push(sender, authorization=None)).status == 200
        assert (await bridge.push(sender, authorization="bearer rubbish")).reason == "InvalidProviderToken"


async def test_the_body_of_an_error_waits_for_the_senders_window(sim: Simulator, bridge: Bridge) -> None:
    async with Sender(sim, window=0) as sender:
        response = sender.begin(bridge.headers(apns_id="x"), bridge.call())
        await sender.until(lambda: response.headers)
        assert response.body == b""
        sender.h2.increment_flow_control_window(1000, 1)
        sender.flush()
        async with asyncio.timeout(10):
            await response.done.wait()
        assert response.reason == "BadMessageId"


async def test_goaway_says_why_and_streams_begun_before_it_are_answered(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    response = sender.begin(bridge.headers(), None)
    await _arrived(sender)
    sim.faults.go_away("Shutdown")
    await sender.until(lambda: sender.goaway)
    assert sender.goaway is not None
    assert json.loads(sender.goaway.additional_data or b"") == {"reason": "Shutdown"}
    assert sender.goaway.last_stream_id == 1
    # h2 as a client takes no more after a GOAWAY, so the rest of the request goes by hand.
    body = bridge.call()
    sender.writer.write(len(body).to_bytes(3, "big") + b"\x00\x01" + (1).to_bytes(4, "big") + body)
    await asyncio.wait_for(sender.gone.wait(), 10)
    assert [one.answer.status for one in sim.service.answered] == [200]
    assert response.done.is_set()


async def test_streams_above_the_last_one_of_a_goaway_are_not_processed(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    sender.begin(bridge.headers(), None)
    await _arrived(sender)
    sim.faults.go_away(last_stream=0, error_code=11)
    await asyncio.wait_for(sender.gone.wait(), 10)
    assert sender.goaway is not None
    assert (sender.goaway.last_stream_id, int(sender.goaway.error_code or 0)) == (0, 11)
    assert not sim.service.answered


async def test_dropped_connections_are_gone_at_once(sender: Sender, sim: Simulator) -> None:
    assert sim.faults.drop() == 1
    await asyncio.wait_for(sender.gone.wait(), 10)
    assert sender.goaway is None


async def test_a_frozen_apns_says_nothing_until_it_thaws(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    sim.faults.freeze()
    response = sender.begin(bridge.headers(), bridge.call())
    sender.h2.ping(b"12345678")
    sender.flush()
    async with asyncio.timeout(10):
        # A new connection is not even greeted, though TCP takes it.
        _, writer = await asyncio.open_connection("127.0.0.1", sim.apns.port)
        writer.close()
        await writer.wait_closed()
    assert not response.done.is_set()
    assert not sim.service.answered
    sim.faults.freeze(frozen=False)
    await asyncio.wait_for(response.done.wait(), 10)
    assert response.status == 200
    await sender.until(lambda: sender.pongs == 1)


async def test_expired_tokens_are_stale_and_a_new_one_is_welcome(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    assert (await bridge.push(sender)).status == 200
    sim.faults.expire_tokens()
    answer = await bridge.push(sender)
    assert (answer.status, answer.reason) == (403, "ExpiredProviderToken")
    assert (await bridge.push(sender, authorization=f"bearer {bridge.token()}")).status == 200


@pytest.mark.parametrize(
    ("wish", "status", "reason", "delivered"),
    [
        ({"reason": "InternalServerError"}, 500, "InternalServerError", False),
        ({"reason": "Unregistered", "timestamp": 1764072000000}, 410, "Unregistered", False),
        ({"status": 503, "reason": "ServiceUnavailable", "retry_after": 2}, 503, "ServiceUnavailable", False),
        ({"status": 502}, 502, None, False),
        ({"reason": "ServiceUnavailable", "delivered": True}, 503, "ServiceUnavailable", True),
    ],
)
async def test_apns_answers_what_it_was_told_to(
    sender: Sender,
    bridge: Bridge,
    sim: Simulator,
    wish: dict[str, Any],
    status: int,
    reason: str | None,
    delivered: bool,
) -> None:
    sim.faults.answer(scripted(wish), times=2)
    for _ in range(2):
        answer = await bridge.push(sender)
        assert (answer.status, answer.reason) == (status, reason)
        assert answer.headers.get("retry-after") == ("2" if "retry_after" in wish else None)
    assert len(sim.phone("alice").pushes.items) == (2 if delivered else 0)
    if "timestamp" in wish:
        assert json.loads(answer.body)["timestamp"] == wish["timestamp"]
    assert (await bridge.push(sender)).status == 200


async def test_a_lost_answer_leaves_the_push_on_the_phone(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    sim.faults.answer(scripted({"manner": "drop", "delivered": True}))
    response = await bridge.push(sender)
    assert response.headers == {}
    assert (await sim.phone("alice").wait_for_push()).fate == "rang"


async def test_a_reset_stream_leaves_the_connection_in_use(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    sim.faults.answer(scripted({"manner": "reset", "delivered": False}))
    assert (await bridge.push(sender)).reset == REFUSED_STREAM
    assert (await bridge.push(sender)).status == 200


async def test_an_answer_that_never_comes_holds_its_stream_alone(
    sender: Sender, bridge: Bridge, sim: Simulator
) -> None:
    await bridge.push(sender)
    await sender.until(lambda: sender.limit == 1000)
    sim.faults.answer(scripted({"manner": "never"}))
    silent = sender.begin(bridge.headers(), bridge.call())
    assert (await bridge.push(sender)).status == 200
    assert not silent.done.is_set()


async def test_a_client_that_breaks_the_protocol_is_told_so(sender: Sender, sim: Simulator) -> None:
    sender.writer.write(b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x")  # DATA on stream 0
    await asyncio.wait_for(sender.gone.wait(), 10)
    assert sender.goaway is not None
    assert sender.goaway.error_code == 1


async def test_a_header_name_in_capitals_breaks_the_protocol(sender: Sender, bridge: Bridge) -> None:
    response = await sender.send([*bridge.headers(), ("Apns-Extra", "x")], bridge.call())
    assert (response.headers, response.reset) in [({}, 1), ({}, None)]


async def test_apns_survives_clients_that_vanish_at_any_point(sim: Simulator, bridge: Bridge) -> None:
    async with Sender(sim) as sender:
        sender.begin(bridge.headers(), None)
        await _arrived(sender)
        sender.writer.transport.abort()
    sim.phone("alice").profile.behaviour = "slow"
    async with Sender(sim) as sender:
        sender.begin(bridge.headers(), bridge.call())
        await sim.phone("alice").wait_for_push()
        sender.writer.transport.abort()
    bridge.time.pass_(seconds=10)
    sim.phone("alice").profile.behaviour = "normal"
    async with Sender(sim) as sender:
        assert (await bridge.push(sender)).status == 200


async def test_a_client_without_http2_is_let_go(sim: Simulator) -> None:
    context = ssl.create_default_context(cafile=sim.ca_file)
    context.set_alpn_protocols(["http/1.1"])
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.apns.port, ssl=context)
    assert await reader.read() == b""
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_rubbish_in_place_of_tls_is_let_go(sim: Simulator) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", sim.apns.port)
    writer.write(b"POST / HTTP/1.1\r\n\r\n" * 100)
    await reader.read()
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_shutdown_ends_every_connection_and_leaves_no_task(time: Time) -> None:
    before = asyncio.all_tasks()
    async with Simulator(phones=["alice"], clock=time) as sim:
        half_open = socket.create_connection(("127.0.0.1", sim.apns.port))  # never shakes hands
        bridge = Bridge(sim, time)
        sim.phone("alice").profile.behaviour = "slow"
        sender = await Sender(sim).__aenter__()
        waiting = sender.begin(bridge.headers(), bridge.call())
        await sim.phone("alice").wait_for_push()
    await asyncio.wait_for(sender.gone.wait(), 10)
    assert sender.goaway is not None
    assert json.loads(sender.goaway.additional_data or b"") == {"reason": "Shutdown"}
    assert waiting.headers == {}
    half_open.close()
    await sender.__aexit__()
    assert asyncio.all_tasks() == before
    assert sim.apns.connections == set()


@pytest.mark.parametrize("turns", range(5))
async def test_who_connects_while_apns_ends_is_not_kept_waiting(turns: int) -> None:
    async with Simulator() as sim:
        client = socket.create_connection(("127.0.0.1", sim.apns.port), timeout=30)
        for _ in range(turns):
            await asyncio.sleep(0)
    assert sim.apns.connections == set()
    with client, suppress(ConnectionError):
        assert await asyncio.to_thread(client.recv, 1) == b""


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")
async def test_curl_pushes_and_reads_the_answer(sim: Simulator, bridge: Bridge) -> None:
    headers = [
        part for name, value in bridge.headers() if name[0] != ":" for part in ("-H", f"{name}: {value}")
    ]
    url = f"{sim.url}/3/device/{sim.phone('alice').profile.voip_token}"
    for body, status in ((bridge.call().decode(), "200"), ("{", "400")):
        command = [
            "curl",
            "-sS",
            "--http2",
            "--cacert",
            sim.ca_file,
            "-w",
            " %{http_code} %{http_version}",
            "-d",
            body,
        ]
        run = await asyncio.create_subprocess_exec(
            *command, *headers, url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, problems = await run.communicate()
        assert out.decode().endswith(f"{status} 2"), problems.decode()


async def _arrived(sender: Sender) -> None:
    """Come back when the server has read what was sent so far: it answers a PING in order."""
    pongs = sender.pongs
    sender.h2.ping(b"arrived?")
    sender.flush()
    await sender.until(lambda: sender.pongs > pongs)
