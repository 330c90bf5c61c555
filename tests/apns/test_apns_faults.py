"""The ten faults of the client below which this transport was built, each as it must not be."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import ssl
from typing import Any

import pytest
from apnsworld import QUICK, Connect, MakePush, World, within
from h2.settings import SettingCodes
from listener import Listener, streams
from peer import Link, Peer, RawLink, Request, accept, raw_peer, refuse, silence

from bridge.apns import framing
from bridge.apns.framing import ErrorCode
from bridge.apns.messages import MorePushType, PushNotification
from bridge.pushes import Accepted, Misconfigured, Outcome, Quarantined, Rejected, Retryable, Unregistered

pytestmark = pytest.mark.usefixtures("world")


# --- fault 1: no time limit -------------------------------------------------------------------


async def test_a_frozen_server_does_not_hold_a_push_past_its_deadline(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context, silence) as peer:
        transport = await connect(peer.url)
        outcome = await within(transport.send(push(timeout=0.1)))
        assert outcome == Retryable("Timeout", None, certainly_not_processed=False)
        reset = await within(peer.resets.get())
        assert reset.reset == ErrorCode.CANCEL


async def test_the_connection_goes_on_after_a_time_out(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context, silence) as peer:
        transport = await connect(peer.url)
        assert (await within(transport.send(push(timeout=0.05)))).reason == "Timeout"
        peer.script = accept
        assert await within(transport.send(push(1))) == Accepted()
        assert len(peer.links) == 1


async def test_a_push_that_was_never_sent_times_out_as_certainly_not_processed(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context, silence, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1}) as peer:
        transport = await connect(peer.url)
        first = asyncio.create_task(transport.send(push(1, timeout=0.2)))
        await peer.next()
        second = await within(transport.send(push(2, timeout=0.05)))
        assert second == Retryable("Timeout", None, certainly_not_processed=True)
        await within(first)


async def test_a_peer_that_stops_reading_is_replaced_before_the_deadline(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async def freeze(link: RawLink) -> None:
        link.greet()
        await link.frame(framing.HEADERS)
        if server.count == 1:
            await asyncio.Event().wait()
        link.send(framing.header_frames(1, b"\x88", framing.END_STREAM, 16_384))
        await link.frame(framing.GOAWAY)

    timing = dataclasses.replace(QUICK, suspicion=0.1, ping=0.1)
    async with raw_peer(server_context, freeze) as server:
        transport = await connect(server.url, timing=timing)
        outcome = await within(transport.send(push(timeout=60)))
        assert outcome == Retryable("PeerSilent", None, certainly_not_processed=False)
        assert await within(transport.send(push(1))) == Accepted()
        assert server.count == 2


# --- fault 2: cancelling ----------------------------------------------------------------------


async def test_a_cancelled_send_disturbs_no_other(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        assert await within(transport.send(push())) == Accepted()
        peer.script = silence
        tasks = [asyncio.create_task(transport.send(push(number))) for number in range(1, 51)]
        held = [await peer.next() for _ in range(51)][1:]
        tasks[7].cancel()
        assert (await within(peer.resets.get())).stream_id == held[7].stream_id
        for request in held:
            if request is not held[7]:
                request.link.answer(request)
        outcomes = await within(asyncio.gather(*tasks, return_exceptions=True))
        assert isinstance(outcomes.pop(7), asyncio.CancelledError)
        assert outcomes == [Accepted()] * 49
        assert len(peer.requests) == 51


async def test_a_late_answer_to_a_cancelled_send_is_harmless(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    late = framing.header_frames(1, b"\x88", 0, 16_384) + framing.frame(
        framing.DATA, framing.END_STREAM, 1, b"late"
    )

    async def script(link: RawLink) -> None:
        link.greet()
        await link.frame(framing.HEADERS)
        await link.frame(framing.RST_STREAM)
        link.send(late)
        await link.frame(framing.HEADERS)
        link.send(framing.header_frames(3, b"\x88", framing.END_STREAM, 16_384))
        await link.frame(framing.GOAWAY)

    async with raw_peer(server_context, script) as server:
        transport = await connect(server.url)
        assert (await within(transport.send(push(timeout=0.05)))).reason == "Timeout"
        assert await within(transport.send(push(1))) == Accepted()
        assert server.count == 1


async def test_a_send_cancelled_while_it_waits_is_never_sent(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context, silence) as peer:
        transport = await connect(peer.url)
        first = asyncio.create_task(transport.send(push(1)))
        held = await peer.next()
        second = asyncio.create_task(transport.send(push(2)))
        third = asyncio.create_task(transport.send(push(3)))
        await asyncio.sleep(0)
        second.cancel()
        peer.script = accept
        held.link.answer(held)
        assert await within(asyncio.gather(first, third)) == [Accepted()] * 2
        assert [request.headers[":path"][-1] for request in peer.requests] == ["1", "3"]


# --- fault 3: RST_STREAM ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "certain"),
    [
        (ErrorCode.REFUSED_STREAM, "StreamRefused", True),
        (ErrorCode.INTERNAL_ERROR, "StreamReset", False),
        (ErrorCode.NO_ERROR, "StreamReset", False),
        (ErrorCode.ENHANCE_YOUR_CALM, "StreamReset", False),
    ],
)
async def test_a_reset_stream_is_an_outcome_and_gives_its_place_back(
    *,
    connect: Connect,
    server_context: ssl.SSLContext,
    push: MakePush,
    code: ErrorCode,
    reason: str,
    certain: bool,
) -> None:
    def reset(link: Link, request: Request) -> None:
        link.h2.reset_stream(request.stream_id, code)
        link.open -= 1

    async with Peer(server_context, reset) as peer:
        transport = await connect(peer.url)
        for number in range(3):
            outcome = await within(transport.send(push(number)))
            assert outcome == Retryable(reason, None, certainly_not_processed=certain)
        peer.script = accept
        assert await within(transport.send(push(9))) == Accepted()
        assert len(peer.links) == 1
        assert transport.streams_in_flight == 0


# --- fault 4: GOAWAY --------------------------------------------------------------------------


async def test_goaway_lets_pushes_in_flight_finish_and_sends_none_twice(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        await within(transport.send(push()))
        peer.script = silence
        tasks = [asyncio.create_task(transport.send(push(number))) for number in range(1, 21)]
        await peer.next()
        held = [await peer.next() for _ in range(20)]
        link = held[0].link
        last = held[9].stream_id
        link.raw(framing.goaway(last, ErrorCode.NO_ERROR, '{"reason":"Shutdown"}'))
        for request in held[:10]:
            link.answer(request)
        outcomes = await within(asyncio.gather(*tasks))
        assert outcomes[:10] == [Accepted()] * 10
        assert outcomes[10:] == [Retryable("GoAway", None, certainly_not_processed=True)] * 10
        peer.script = accept
        assert await within(transport.send(push(50))) == Accepted()
        assert peer.requests[-1].link is not link
        assert len(peer.requests) == 22
        await within(link.gone.wait())


async def test_a_connection_that_goes_away_takes_no_more_pushes(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context, silence) as peer:
        transport = await connect(peer.url)
        first = asyncio.create_task(transport.send(push(1)))
        held = await peer.next()
        held.link.raw(framing.goaway(held.stream_id, ErrorCode.NO_ERROR, ""))
        peer.script = accept
        await within(peer.connected.get())
        await within(peer.connected.get())
        assert await within(transport.send(push(2))) == Accepted()
        held.link.answer(held)
        assert await within(first) == Accepted()
        assert [request.link for request in peer.requests] == [peer.links[0], peer.links[1]]


# --- fault 5: flow control --------------------------------------------------------------------


async def test_a_body_larger_than_the_first_window_goes_out_in_pieces(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    payload = b"x" * 5_000
    async with Peer(server_context, settings={SettingCodes.INITIAL_WINDOW_SIZE: 700}) as peer:
        transport = await connect(peer.url)
        outcomes = await within(
            asyncio.gather(*(transport.send(push(n, payload=payload)) for n in range(10)))
        )
        assert outcomes == [Accepted()] * 10
        assert {request.body for request in peer.requests} == {payload}


async def test_a_body_larger_than_both_windows_goes_out_in_pieces(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    payload = bytes(range(256)) * 600
    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        assert await within(transport.send(push(payload=payload))) == Accepted()
        assert peer.requests[0].body == payload


async def test_pushes_wait_for_the_connections_window_and_open_no_stream(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        await within(transport.send(push(payload=b"")))
        peer.credit, peer.script = False, silence
        tasks = [asyncio.create_task(transport.send(push(n, payload=b"x" * 30_000))) for n in range(1, 5)]
        held = [await peer.next() for _ in range(3)][1:]
        link = held[0].link
        assert len(link.requests) == 3
        peer.script = accept
        for request in held:
            link.answer(request)
        link.h2.increment_flow_control_window(65_000)
        link.flush()
        assert await within(asyncio.gather(*tasks)) == [Accepted()] * 4


async def test_a_window_that_closes_under_open_streams_opens_again(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async def script(link: RawLink) -> None:
        link.greet({framing.Setting.INITIAL_WINDOW_SIZE: 100})
        first = await link.frame(framing.DATA)
        link.send(framing.settings({framing.Setting.INITIAL_WINDOW_SIZE: 0}))  # now at -100
        await link.frame(framing.SETTINGS)
        link.send(framing.settings({framing.Setting.INITIAL_WINDOW_SIZE: 150}))
        second = await link.frame(framing.DATA)
        link.send(framing.window_update(1, 1_000))
        third = await link.frame(framing.DATA)
        sizes.extend(len(frame[3]) for frame in (first, second, third))
        assert third[1] & framing.END_STREAM
        link.send(framing.header_frames(1, b"\x88", framing.END_STREAM, 16_384))
        await link.frame(framing.GOAWAY)

    sizes: list[int] = []
    async with raw_peer(server_context, script) as server:
        transport = await connect(server.url)
        assert await within(transport.send(push(payload=b"y" * 400))) == Accepted()
        assert sizes == [100, 50, 250]
        assert server.failure is None


async def test_the_receive_window_is_given_back(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    def long_error(link: Link, request: Request) -> None:
        link.answer(request, 400, b'{"reason":"BadPriority"}' + b" " * 9_000)

    async with Peer(server_context, long_error) as peer:
        transport = await connect(peer.url)
        for number in range(40):  # 360 kB over a window of 64 kB
            outcome = await within(transport.send(push(number)))
            assert isinstance(outcome, Rejected)
        assert len(peer.links) == 1


async def test_a_long_body_on_one_stream_does_not_stall(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async def script(link: RawLink) -> None:
        link.greet()
        await link.frame(framing.HEADERS)
        link.send(framing.header_frames(1, b"\x8c", 0, 16_384))  # :status 400
        for _ in range(4):
            for _ in range(2):
                link.send(framing.frame(framing.DATA, 0, 1, b" " * 16_384))
            got = {(await link.frame(framing.WINDOW_UPDATE))[2] for _ in range(2)}
            assert got == {0, 1}
        link.send(framing.frame(framing.DATA, framing.END_STREAM, 1))
        await link.frame(framing.GOAWAY)

    async with raw_peer(server_context, script) as server:
        transport = await connect(server.url)
        assert await within(transport.send(push())) == Rejected("HTTP 400")
        assert server.failure is None


# --- fault 6: the stream limit ----------------------------------------------------------------


async def test_one_stream_until_the_first_good_answer_then_the_peers_limit(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context, silence, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 30}) as peer:
        transport = await connect(peer.url)
        tasks = [asyncio.create_task(transport.send(push(number))) for number in range(60)]
        first = await peer.next()
        assert transport.streams_in_flight == 1
        assert transport.waiting == 59
        first.link.answer(first)
        held = [await peer.next() for _ in range(30)]
        assert transport.streams_in_flight == 30
        peer.script = accept
        for request in held:
            request.link.answer(request)
        assert await within(asyncio.gather(*tasks)) == [Accepted()] * 60
        assert first.link.most_open == 30


async def test_a_refused_provider_token_does_not_lift_the_limit(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context, refuse(403, "InvalidProviderToken")) as peer:
        transport = await connect(peer.url)
        outcomes = await within(asyncio.gather(*(transport.send(push(number)) for number in range(10))))
        assert outcomes == [Misconfigured("InvalidProviderToken")] * 10
        assert peer.links[0].most_open == 1
        assert not transport.usable
        assert transport.last_error == "InvalidProviderToken"
        peer.script = accept
        assert await within(transport.send(push(11))) == Accepted()
        assert transport.usable


async def test_a_limit_that_falls_and_rises_is_honoured(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 8}) as peer:
        transport = await connect(peer.url)
        await within(transport.send(push()))
        peer.script = silence
        tasks = [asyncio.create_task(transport.send(push(number))) for number in range(1, 31)]
        await peer.next()
        held = [await peer.next() for _ in range(8)]
        link = held[0].link
        link.change(MAX_CONCURRENT_STREAMS=2)
        for request in held[:6]:
            link.answer(request)
        link.answer(held[6])
        held.append(await peer.next())
        assert transport.streams_in_flight == 2
        link.change(MAX_CONCURRENT_STREAMS=12)
        held += [await peer.next() for _ in range(10)]
        assert transport.streams_in_flight == 12
        peer.script = accept
        for request in held[7:]:
            link.answer(request)
        assert await within(asyncio.gather(*tasks)) == [Accepted()] * 30


async def test_a_limit_of_none_opens_nothing_until_it_rises(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 0}) as peer:
        transport = await connect(peer.url)
        outcome = await within(transport.send(push(timeout=0.05)))
        assert outcome == Retryable("Timeout", None, certainly_not_processed=True)
        task = asyncio.create_task(transport.send(push(1)))
        peer.links[0].change(MAX_CONCURRENT_STREAMS=1)
        assert await within(task) == Accepted()


# --- fault 7: the pool ------------------------------------------------------------------------


async def test_fifty_senders_without_a_server_keep_their_deadlines_and_share_one_connect(
    connect: Connect, unused_port: int, push: MakePush, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    at_once = most = 0
    real = loop.sock_connect

    async def counting(sock: socket.socket, address: Any) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        try:
            await real(sock, address)
        finally:
            at_once -= 1

    monkeypatch.setattr(loop, "sock_connect", counting)
    transport = await connect(f"https://127.0.0.1:{unused_port}", max_connections=4, warm=2)
    assert not transport.usable
    assert transport.last_error is not None
    outcomes = await within(asyncio.gather(*(transport.send(push(n, timeout=0.3)) for n in range(50))))
    assert outcomes == [Retryable("Timeout", None, certainly_not_processed=True)] * 50
    assert most == 1


async def test_a_full_pool_opens_another_connection(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2}) as peer:
        transport = await connect(peer.url, max_connections=3)
        await within(transport.send(push()))
        peer.script = silence
        tasks = [asyncio.create_task(transport.send(push(number))) for number in range(1, 4)]
        await peer.next()
        held = [await peer.next() for _ in range(3)]
        assert len(peer.links) == 2
        for request in held:
            request.link.answer(request)
        assert await within(asyncio.gather(*tasks)) == [Accepted()] * 3


async def test_pushes_that_wait_go_first_in_first_out(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1}) as peer:
        transport = await connect(peer.url)
        await within(asyncio.gather(*(transport.send(push(number)) for number in range(30))))
        assert [int(request.headers[":path"][10:], 16) for request in peer.requests] == list(range(30))


async def test_pushes_that_wait_for_a_server_are_sent_once_it_is_there(
    connect: Connect, world: World, unused_port: int, push: MakePush
) -> None:
    transport = await connect(f"https://127.0.0.1:{unused_port}")
    task = asyncio.create_task(transport.send(push()))
    await asyncio.sleep(0)
    async with Peer(world.server_context()) as peer:
        # The peer has a port of its own; a forwarder at the port that was tried leads to it.
        async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", peer.port)
            await asyncio.gather(pump(reader, there_writer), pump(there_reader, writer))

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65_536):
                    sink.write(data)
            except ConnectionError:
                pass
            finally:
                sink.close()

        async with Listener(streams(forward), port=unused_port):
            assert await within(task) == Accepted()
            await transport.close(1)


# --- fault 8: answers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, b"", Rejected("HTTP 400")),
        (400, b'{"reason":"BadDeviceToken"}', Quarantined("BadDeviceToken")),
        (500, b"", Retryable("HTTP 500")),
        (502, b"<html><body>Bad Gateway</body></html>", Retryable("HTTP 502")),
        (503, b'["Shutdown"]', Retryable("HTTP 503")),
        (429, b'{"reason":"TooManyRequests"}', Retryable("TooManyRequests", 7.0)),
        (410, b'{"reason":"Unregistered","timestamp":1e400}', Unregistered("Unregistered")),
        (410, b'{"reason":"Unregistered","timestamp":99999999999999999999}', Unregistered("Unregistered")),
        (413, b"[" * 4_000, Rejected("HTTP 413")),
        (200, b"what is this", Accepted()),
    ],
)
async def test_any_status_with_any_body_is_a_result(
    *,
    connect: Connect,
    server_context: ssl.SSLContext,
    push: MakePush,
    status: int,
    body: bytes,
    expected: Outcome,
) -> None:
    def script(link: Link, request: Request) -> None:
        link.answer(request, status, body, retry_after="7" if status == 429 else "soon")

    async with Peer(server_context, script) as peer:
        transport = await connect(peer.url)
        assert await within(transport.send(push())) == expected
        assert len(peer.requests) == 1


async def test_a_body_in_many_pieces_is_put_together(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    def script(link: Link, request: Request) -> None:
        link.h2.send_headers(request.stream_id, [(":status", "410")])
        for octet in b'{"reason":"Unregistered","timestamp":1700000000000}':
            link.h2.send_data(request.stream_id, bytes((octet,)))
        link.h2.end_stream(request.stream_id)
        link.open -= 1

    async with Peer(server_context, script) as peer:
        transport = await connect(peer.url)
        outcome = await within(transport.send(push()))
        assert isinstance(outcome, Unregistered)
        assert outcome.since is not None
        assert outcome.since.timestamp() == 1_700_000_000


async def test_the_same_apns_id_twice_at_once_gets_two_answers(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        await within(transport.send(push()))
        peer.script = silence
        one = asyncio.create_task(transport.send(push(1)))
        two = asyncio.create_task(transport.send(push(1)))
        await peer.next()
        held = [await peer.next() for _ in range(2)]
        held[1].link.answer(held[1], 500)
        assert await within(two) == Retryable("HTTP 500")
        held[0].link.answer(held[0])
        assert await within(one) == Accepted()


async def test_answers_may_come_in_any_order_and_without_an_apns_id(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        await within(transport.send(push()))
        peer.script = silence
        tasks = [asyncio.create_task(transport.send(push(number))) for number in range(1, 9)]
        await peer.next()
        for request in reversed([await peer.next() for _ in range(8)]):
            number = int(request.headers[":path"][10:], 16)
            request.link.h2.send_headers(request.stream_id, [(":status", str(500 + number))], end_stream=True)
            request.link.flush()
        outcomes = await within(asyncio.gather(*tasks))
        assert outcomes == [Retryable(f"HTTP {500 + number}") for number in range(1, 9)]


# --- fault 9: what is kept --------------------------------------------------------------------


async def test_nothing_is_kept_of_a_push_that_has_its_answer(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        for start in range(0, 2_000, 100):
            await within(asyncio.gather(*(transport.send(push(start + n)) for n in range(100))))
            await asyncio.gather(*(peer.next() for _ in range(100)))
        pool = transport._pools[0]
        connection = pool.connections[0]
        assert not connection._streams
        assert not connection._unfinished
        assert not connection._reset
        assert not pool._line._live
        assert not pool._line._waiting
        assert len(connection._encoder._around) == 1
        assert len(peer.links) == 1


async def test_all_connections_show_the_same_provider_token(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context, settings={SettingCodes.MAX_CONCURRENT_STREAMS: 1}) as peer:
        transport = await connect(peer.url, max_connections=3, warm=3)
        for _ in range(3):
            await within(peer.connected.get())
        await within(asyncio.gather(*(transport.send(push(number)) for number in range(12))))
        assert len({request.link.h2 for request in peer.requests}) > 1
        assert len({request.headers["authorization"] for request in peer.requests}) == 1
        assert transport.token_age(2_000_000_000) is not None


# --- fault 10: what could not be said ---------------------------------------------------------


async def test_an_expiration_of_zero_is_said(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        await within(transport.send(push(expiration=0)))
        await within(transport.send(push(expiration=1_900_000_000, collapse_id="incident 7")))
        first, second = (request.headers for request in peer.requests)
        assert first["apns-expiration"] == "0"
        assert "apns-collapse-id" not in first
        assert second["apns-expiration"] == "1900000000"
        assert second["apns-collapse-id"] == "incident 7"


async def test_a_request_is_exactly_what_apns_wants(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        await within(transport.send(push(7, payload=b"{}")))
        headers = peer.requests[0].headers
        assert headers.pop("authorization").startswith("bearer ey")
        assert headers == {
            ":method": "POST",
            ":scheme": "https",
            ":authority": f"127.0.0.1:{peer.port}",
            ":path": f"/3/device/{7:064x}",
            "apns-topic": "com.example.app.voip",
            "apns-push-type": "voip",
            "apns-priority": "10",
            "apns-id": "00000000-0000-0000-0000-000000000007",
            "apns-expiration": "0",
            "content-length": "2",
        }
        assert peer.requests[0].body == b"{}"


@pytest.mark.parametrize("kind", list(MorePushType))
async def test_push_types_that_aioapns_does_not_name_can_be_sent(
    connect: Connect, server_context: ssl.SSLContext, kind: MorePushType
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        client = next(iter(transport._clients.values()))
        deadline = asyncio.get_running_loop().time() + 5
        result = await within(
            client.send_notification(
                PushNotification(device_token="ab", payload=b"{}", deadline=deadline, push_type=kind)
            )
        )
        assert result.is_successful
        assert peer.requests[0].headers["apns-push-type"] == kind.value


async def test_a_proxy_that_does_not_answer_holds_up_nothing_else(
    connect: Connect, world: World, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async def mute(link: RawLink) -> None:
        await asyncio.Event().wait()

    async with raw_peer(None, mute) as proxy, Peer(server_context) as peer:
        stuck = world.transport(peer.url, proxy=f"http://127.0.0.1:{proxy.port}")
        starting = asyncio.create_task(stuck.start())
        outcome = await within(stuck.send(push(timeout=0.1)))
        assert outcome == Retryable("Timeout", None, certainly_not_processed=True)
        direct = await connect(peer.url)
        assert await within(direct.send(push())) == Accepted()
        starting.cancel()
        await within(stuck.close(0))
