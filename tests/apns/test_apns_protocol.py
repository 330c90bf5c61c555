"""What RFC 9113 and RFC 7541 allow is understood; what they forbid ends the connection with the right code."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl

import hpack
import pytest
from apnsworld import QUICK, Connect, MakePush, within
from h2.settings import SettingCodes
from peer import PATIENCE, Link, Peer, RawLink, Request, accept, raw_peer, silence

from bridge.apns import framing
from bridge.apns.framing import ErrorCode, Setting, frame
from bridge.pushes import Accepted, Rejected, Retryable

OK = framing.header_frames(1, b"\x88", framing.END_STREAM, 16_384)
HEADERS, DATA, SETTINGS, PING = framing.HEADERS, framing.DATA, framing.SETTINGS, framing.PING
END, WHOLE, PAD, PRIO = framing.END_STREAM, framing.END_HEADERS, framing.PADDED, framing.HAS_PRIORITY
NEVER_INDEXED_BOMB = hpack.Encoder().encode([(":status", "200"), ("x", "y" * 4_000)])


def block(*fields: tuple[str, str]) -> bytes:
    """Encode fields without touching the decoder's table."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    return encoder.encode(fields)[1:]


def headers(block_: bytes, flags: int = END | WHOLE, stream_id: int = 1) -> bytes:
    return frame(HEADERS, flags, stream_id, block_)


# --- allowed ----------------------------------------------------------------------------------

ALLOWED = {
    "plain": OK,
    "continuation": frame(HEADERS, END, 1, b"") + frame(framing.CONTINUATION, WHOLE, 1, b"\x88"),
    "many continuations": frame(HEADERS, END, 1, b"\x88")
    + frame(framing.CONTINUATION, 0, 1) * 20
    + frame(framing.CONTINUATION, WHOLE, 1),
    "padded headers": frame(HEADERS, END | WHOLE | PAD, 1, b"\x05\x88" + bytes(5)),
    "padding to the brim": frame(HEADERS, END | WHOLE | PAD, 1, b"\xff\x88" + bytes(255)),
    "priority fields": frame(HEADERS, END | WHOLE | PRIO, 1, b"\x80\x00\x00\x03\x10\x88"),
    "padding and priority": frame(
        HEADERS, END | WHOLE | PRIO | PAD, 1, b"\x02\x00\x00\x00\x03\x10\x88\x00\x00"
    ),
    "padded data": headers(b"\x88", WHOLE) + frame(DATA, END | PAD, 1, b"\x03ok" + bytes(3)),
    "data of padding alone": headers(b"\x88", WHOLE) + frame(DATA, END | PAD, 1, b"\x03" + bytes(3)),
    "empty data": headers(b"\x88", WHOLE) + frame(DATA, 0, 1) * 5 + frame(DATA, END, 1),
    "interim answers": headers(block((":status", "103"), ("link", "x")), WHOLE)
    + headers(block((":status", "100")), WHOLE)
    + OK,
    "trailers": headers(b"\x88", WHOLE) + frame(DATA, 0, 1, b"{}") + headers(block(("x-checksum", "1"))),
    "trailers without body": headers(b"\x88", WHOLE) + headers(block(("x-checksum", "1"))),
    "unknown frames": frame(0xBE, 0xFF, 1, b"grease") + frame(0xAA, 0, 0) + OK,
    "unknown settings": frame(SETTINGS, 0, 0, b"\x4a\x4a\x00\x00\x00\x01") + OK,
    "priority frames": frame(framing.PRIORITY, 0, 1, bytes(5)) + frame(framing.PRIORITY, 0, 7, bytes(5)) + OK,
    "the reserved bit": framing.head(HEADERS, END | WHOLE, 0x8000_0001, 1) + b"\x88",
    "unknown flags": frame(HEADERS, END | WHOLE | 0xC2, 1, b"\x88"),
    "a table of size 0": headers(b"\x20\x88"),
    "a table that shrinks and grows": headers(b"\x20\x3f\xe1\x1f\x88"),
    "settings again": framing.settings({Setting.MAX_CONCURRENT_STREAMS: 5}) + OK,
    "an empty settings frame": framing.settings({}) * 10 + OK,
    "a reset after the answer": OK + framing.rst_stream(1, ErrorCode.NO_ERROR),
    "a window for a closed stream": OK + framing.window_update(1, 10),
    "an answer, then a reset before its end": headers(b"\x88", WHOLE)
    + framing.rst_stream(1, ErrorCode.CANCEL),
    "values of many kinds": headers(block((":status", "200"), ("x", "a b\tc"), ("y", ""), ("z", "\u00e9"))),
    "a large frame size": framing.settings({Setting.MAX_FRAME_SIZE: 16_777_215}) + OK,
    "the largest window": framing.window_update(0, 2**31 - 1 - 65_535) + OK,
}


@pytest.mark.parametrize("answer", ALLOWED.values(), ids=ALLOWED.keys())
async def test_every_shape_of_an_answer_that_is_allowed_is_understood(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush, answer: bytes
) -> None:
    async def script(link: RawLink) -> None:
        link.greet()
        await link.frame(HEADERS)
        link.send(answer)
        # And the connection still works: header tables and frames are where they should be.
        await link.frame(HEADERS)
        link.send(framing.header_frames(3, b"\x88", END, 16_384))
        await link.frame(framing.GOAWAY)

    async with raw_peer(server_context, script) as server:
        transport = await connect(server.url)
        assert await within(transport.send(push(payload=b""))) == Accepted()
        assert await within(transport.send(push(1))) == Accepted()
        assert server.count == 1
        assert server.failure is None


async def test_a_ping_is_answered_with_its_own_octets(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async def script(link: RawLink) -> None:
        link.greet()
        link.send(frame(PING, 0, 0, b"12345678"))
        found.append(await link.frame(PING))
        await link.frame(framing.GOAWAY)

    found: list[framing.Frame | None] = []
    async with raw_peer(server_context, script) as server:
        transport = await connect(server.url)
        await within(transport.send(push(timeout=0.05)))
        assert found[0] is not None
        assert found[0][1] & framing.ACK
        assert found[0][3] == b"12345678"


async def test_a_smaller_header_table_is_confirmed_in_the_next_block(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context, settings={SettingCodes.HEADER_TABLE_SIZE: 0}) as peer:
        transport = await connect(peer.url)
        assert await within(transport.send(push())) == Accepted()
        link = peer.links[0]
        link.change(HEADER_TABLE_SIZE=4_096)
        assert await within(transport.send(push(1))) == Accepted()
        link.change(HEADER_TABLE_SIZE=100)
        assert await within(transport.send(push(2))) == Accepted()
        assert len(peer.links) == 1


async def test_answers_that_use_the_dynamic_table_are_understood(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    def script(link: Link, request: Request) -> None:
        number = int(request.headers["apns-id"][-4:], 16)
        link.answer(request, 429 if number % 3 else 200, date=f"day {number // 4}", server="x" * 50)

    async with Peer(server_context, script) as peer:
        transport = await connect(peer.url)
        await within(transport.send(push()))
        outcomes = await within(asyncio.gather(*(transport.send(push(n)) for n in range(200))))
        assert outcomes == [Retryable("HTTP 429") if n % 3 else Accepted() for n in range(200)]


async def test_an_answer_before_the_whole_body_stops_the_body(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async def script(link: RawLink) -> None:
        link.greet({Setting.INITIAL_WINDOW_SIZE: 100})
        await link.frame(DATA)
        link.send(headers(block((":status", "413"))))
        reset = await link.frame(framing.RST_STREAM)
        link.send(framing.window_update(1, 10_000), framing.rst_stream(1, ErrorCode.NO_ERROR))
        link.send(framing.settings({Setting.INITIAL_WINDOW_SIZE: 65_535}))
        after.append(reset)
        after.append(await link.frame(HEADERS))
        link.send(framing.header_frames(3, b"\x88", END, 16_384))
        await link.frame(framing.GOAWAY)

    after: list[framing.Frame | None] = []
    async with raw_peer(server_context, script) as server:
        transport = await connect(server.url)
        assert await within(transport.send(push(payload=b"z" * 300))) == Rejected("HTTP 413")
        assert await within(transport.send(push(1))) == Accepted()
        assert after[1] is not None
        assert after[1][2] == 3


async def test_a_reset_in_the_middle_of_a_body_was_certainly_not_processed(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async def script(link: RawLink) -> None:
        link.greet({Setting.INITIAL_WINDOW_SIZE: 100})
        await link.frame(DATA)
        link.send(framing.rst_stream(1, ErrorCode.INTERNAL_ERROR))
        await link.frame(framing.GOAWAY)

    async with raw_peer(server_context, script) as server:
        transport = await connect(server.url)
        outcome = await within(transport.send(push(payload=b"z" * 300)))
        assert outcome == Retryable("StreamReset", None, certainly_not_processed=True)


# --- forbidden: one stream --------------------------------------------------------------------

MALFORMED = {
    "no status": headers(block(("server", "x"))),
    "status not first": headers(block(("server", "x"), (":status", "200"))),
    "two statuses": headers(block((":status", "200"), (":status", "200"))),
    "a status that is no number": headers(block((":status", "2x0"))),
    "a pseudo-header of a request": headers(block((":status", "200"), (":path", "/"))),
    "an upper-case name": headers(b"\x88\x00\x01X\x01y"),
    "a connection header": headers(block((":status", "200"), ("connection", "close"))),
    "a value with a line break": headers(block((":status", "200"), ("x", "a\nb"))),
    "a value with NUL": headers(block((":status", "200"), ("x", "a\0b"))),
    "a value that ends in a space": headers(b"\x88\x00\x01x\x02y "),
    "an empty name": headers(b"\x88\x00\x00\x01y"),
    "an interim answer that ends the stream": headers(block((":status", "103"))),
    "101": headers(block((":status", "101")), WHOLE),
    "endless interim answers": headers(block((":status", "100")), WHOLE) * 50,
    "a body first": frame(DATA, END, 1, b"{}"),
    "an empty window update": framing.window_update(1, 0),
    "a window too large": framing.window_update(1, 2**31 - 1),
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_answer_breaks_its_stream_alone(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush, answer: bytes
) -> None:
    async def script(link: RawLink) -> None:
        link.greet()
        await link.frame(HEADERS)
        link.send(answer)
        resets.append(await link.frame(framing.RST_STREAM))
        await link.frame(HEADERS)
        link.send(framing.header_frames(3, b"\x88", END, 16_384))
        await link.frame(framing.GOAWAY)

    resets: list[framing.Frame | None] = []
    async with raw_peer(server_context, script) as server:
        transport = await connect(server.url)
        outcome = await within(transport.send(push(payload=b"")))
        assert outcome == Retryable("MalformedAnswer", None, certainly_not_processed=False)
        assert await within(transport.send(push(1))) == Accepted()
        assert server.count == 1
        assert resets[0] is not None


async def test_an_endless_body_is_cut_off_and_its_status_counts(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async def script(link: RawLink) -> None:
        link.greet()
        await link.frame(HEADERS)
        link.send(headers(block((":status", "400")), WHOLE))
        for _ in range(40):  # about 1.3 MB, as the windows allow
            link.send(frame(DATA, 0, 1, bytes(16_384)) * 2)
            got = [await link.frame(framing.WINDOW_UPDATE, framing.RST_STREAM) for _ in range(2)]
            if framing.RST_STREAM in {found[0] for found in got}:
                break
        else:
            resets.append("none")
        await link.frame(framing.GOAWAY)

    resets: list[str] = []
    async with raw_peer(server_context, script) as server:
        transport = await connect(server.url)
        assert await within(transport.send(push())) == Rejected("HTTP 400")
        assert not resets
        assert server.failure is None


# --- forbidden: the connection ----------------------------------------------------------------

FORBIDDEN = {
    "a frame too large": (framing.head(DATA, 0, 1, 16_385), ErrorCode.FRAME_SIZE_ERROR),
    "data on stream 0": (frame(DATA, 0, 0, b"x"), ErrorCode.PROTOCOL_ERROR),
    "headers on stream 0": (headers(b"\x88", stream_id=0), ErrorCode.PROTOCOL_ERROR),
    "headers on an idle stream": (headers(b"\x88", stream_id=3), ErrorCode.PROTOCOL_ERROR),
    "headers on a stream of the server": (headers(b"\x88", stream_id=2), ErrorCode.PROTOCOL_ERROR),
    "a reset of an idle stream": (framing.rst_stream(5, ErrorCode.CANCEL), ErrorCode.PROTOCOL_ERROR),
    "a window for an idle stream": (framing.window_update(5, 1), ErrorCode.PROTOCOL_ERROR),
    "data after the end": (OK + frame(DATA, 0, 1, b"x"), ErrorCode.STREAM_CLOSED),
    "headers after the end": (OK + OK, ErrorCode.STREAM_CLOSED),
    "a push promise": (frame(framing.PUSH_PROMISE, WHOLE, 1, b"\0\0\0\2\x82"), ErrorCode.PROTOCOL_ERROR),
    "settings that enable pushes": (framing.settings({Setting.ENABLE_PUSH: 1}), ErrorCode.PROTOCOL_ERROR),
    "settings on a stream": (frame(SETTINGS, 0, 1), ErrorCode.PROTOCOL_ERROR),
    "settings of seven octets": (frame(SETTINGS, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "an acknowledgement with content": (frame(SETTINGS, 1, 0, bytes(6)), ErrorCode.FRAME_SIZE_ERROR),
    "a frame size below the least": (
        framing.settings({Setting.MAX_FRAME_SIZE: 16_383}),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a frame size above the greatest": (
        framing.settings({Setting.MAX_FRAME_SIZE: 2**24}),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a first window too large": (
        framing.settings({Setting.INITIAL_WINDOW_SIZE: 2**31}),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "a stream's window past the limit by settings": (
        framing.window_update(1, 2**31 - 1 - 65_535)
        + framing.settings({Setting.INITIAL_WINDOW_SIZE: 70_000}),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "the connection's window past the limit": (
        framing.window_update(0, 2**31 - 1),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "an empty window update": (framing.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
    "a ping of nine octets": (frame(PING, 0, 0, bytes(9)), ErrorCode.FRAME_SIZE_ERROR),
    "a ping on a stream": (frame(PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "a reset of three octets": (frame(framing.RST_STREAM, 0, 1, bytes(3)), ErrorCode.FRAME_SIZE_ERROR),
    "a window update of five octets": (
        frame(framing.WINDOW_UPDATE, 0, 0, bytes(5)),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "a goaway too short": (frame(framing.GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
    "a goaway on a stream": (frame(framing.GOAWAY, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "a priority frame on stream 0": (frame(framing.PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
    "a priority frame too short": (frame(framing.PRIORITY, 0, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    "padding longer than the frame": (frame(DATA, PAD, 1, b"\x05abc"), ErrorCode.PROTOCOL_ERROR),
    "padding without its length": (frame(HEADERS, PAD | WHOLE, 1), ErrorCode.PROTOCOL_ERROR),
    "priority fields cut short": (frame(HEADERS, PRIO | WHOLE, 1, bytes(4)), ErrorCode.FRAME_SIZE_ERROR),
    "a continuation alone": (frame(framing.CONTINUATION, WHOLE, 1, b"\x88"), ErrorCode.PROTOCOL_ERROR),
    "a block interrupted by a ping": (
        frame(HEADERS, END, 1) + frame(PING, 0, 0, bytes(8)),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a block continued elsewhere": (
        frame(HEADERS, END, 1) + frame(framing.CONTINUATION, WHOLE, 3, b"\x88"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "an unknown table index": (headers(b"\xff\x80\x01"), ErrorCode.COMPRESSION_ERROR),
    "index 0": (headers(b"\x80"), ErrorCode.COMPRESSION_ERROR),
    "a string cut short": (headers(b"\x88\x00\x7f"), ErrorCode.COMPRESSION_ERROR),
    "an endless integer": (headers(b"\xff" * 40), ErrorCode.COMPRESSION_ERROR),
    "broken Huffman coding": (headers(b"\x88\x00\x81\xff\x81\xff"), ErrorCode.COMPRESSION_ERROR),
    "a table above the limit": (headers(b"\x3f\xff\xff\x03\x88"), ErrorCode.COMPRESSION_ERROR),
    "a table size in the middle": (headers(b"\x88\x20"), ErrorCode.COMPRESSION_ERROR),
    # floods, endless and exploding things
    "a flood of pings": (frame(PING, 0, 0, bytes(8)) * 3_000, ErrorCode.ENHANCE_YOUR_CALM),
    "a flood of settings": (framing.settings({}) * 3_000, ErrorCode.ENHANCE_YOUR_CALM),
    "a flood of empty data": (
        headers(b"\x88", WHOLE) + frame(DATA, 0, 1) * 3_000,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a flood of padding": (
        headers(b"\x88", WHOLE) + frame(DATA, PAD, 1, b"\x00") * 3_000,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a flood of priority": (frame(framing.PRIORITY, 0, 1, bytes(5)) * 3_000, ErrorCode.ENHANCE_YOUR_CALM),
    "a flood of unknown frames": (frame(0x77, 0, 0) * 3_000, ErrorCode.ENHANCE_YOUR_CALM),
    "a flood of windows": (framing.window_update(0, 1) * 3_000, ErrorCode.ENHANCE_YOUR_CALM),
    "an endless header block": (
        frame(HEADERS, END, 1, b"\x88") + frame(framing.CONTINUATION, 0, 1, bytes(8_000)) * 20,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "endless empty continuations": (
        frame(HEADERS, END, 1, b"\x88") + frame(framing.CONTINUATION, 0, 1) * 100,
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "an HPACK bomb": (
        headers(NEVER_INDEXED_BOMB, WHOLE) + headers(b"\xbe" * 10_000),
        ErrorCode.COMPRESSION_ERROR,
    ),
}


@pytest.mark.parametrize(("octets", "code"), FORBIDDEN.values(), ids=FORBIDDEN.keys())
async def test_what_the_rfc_forbids_closes_the_connection_with_the_right_code(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush, octets: bytes, code: ErrorCode
) -> None:
    async def script(link: RawLink) -> None:
        link.greet()
        found = await link.frame(HEADERS)
        if server.count == 1:
            link.send(octets)
            codes.append(await link.goaway_code())
            return
        link.send(framing.header_frames(found[2], b"\x88", END, 16_384))
        await link.frame(framing.GOAWAY)

    codes: list[int | None] = []
    async with raw_peer(server_context, script) as server:
        transport = await connect(server.url)
        outcome = await within(transport.send(push()))
        assert outcome in (
            Retryable("ProtocolError", None, certainly_not_processed=False),
            Accepted(),  # where the answer came first
        )
        assert await within(transport.send(push(1))) == Accepted()  # on another connection
        assert codes == [code]
        assert server.count == 2


async def test_data_beyond_the_window_is_a_flow_control_error(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    from bridge.apns.flow import ReceiveWindow

    window = ReceiveWindow(100)
    assert window.take(49) == 0
    assert window.take(1) == 50
    with pytest.raises(framing.ViolationError) as caught:
        window.take(101)
    assert caught.value.code == ErrorCode.FLOW_CONTROL_ERROR


@pytest.mark.parametrize(
    "first",
    [
        frame(PING, 0, 0, bytes(8)),
        frame(SETTINGS, framing.ACK, 0),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        bytes(64),
        b"\xff" * 64,
        frame(0x77, 0, 0),
    ],
)
async def test_a_server_that_does_not_begin_with_settings_is_no_server(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush, first: bytes
) -> None:
    async def script(link: RawLink) -> None:
        link.send(first)
        await link.frame(framing.GOAWAY)

    async with raw_peer(server_context, script) as server:
        transport = await connect(server.url)
        outcome = await within(transport.send(push(timeout=0.1)))
        assert outcome == Retryable("Timeout", None, certainly_not_processed=True)
        assert not transport.usable
        assert transport.last_error is not None


async def test_a_peer_that_asks_and_does_not_read_is_cut_off(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    """Its questions come slowly enough to be no flood; the answers to them would fill our memory."""

    def never_read(link: Link, request: Request) -> None:
        link.writer.transport.pause_reading()

    async with Peer(server_context) as peer:
        transport = await connect(peer.url)
        await within(transport.send(push()))
        connection = transport._pools[0].connections[0]
        peer.script = never_read
        sends = [
            asyncio.create_task(transport.send(push(number, payload=b"x" * 5_000, timeout=PATIENCE)))
            for number in range(1, 3)
        ]
        await peer.next()
        connection.pause_writing()  # what the event loop says when its buffers are full
        peer.links[0].raw(frame(PING, 0, 0, bytes(8)) * 1_001)
        outcomes = await within(asyncio.gather(*sends))
        assert {outcome.reason for outcome in outcomes} == {"ProtocolError"}


# --- the end of connections -------------------------------------------------------------------


@pytest.mark.parametrize("how", ["tls close", "reset", "half-open"])
async def test_a_connection_that_ends_leaves_no_push_without_an_outcome(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush, how: str
) -> None:
    def script(link: Link, request: Request) -> None:
        if how == "tls close":
            link.writer.close()
        elif how == "reset":
            link.writer.transport.abort()
        else:
            link.writer.transport.pause_reading()

    timing = dataclasses.replace(QUICK, suspicion=0.1, ping=0.1)
    async with Peer(server_context, accept) as peer:
        transport = await connect(peer.url, timing=timing)
        await within(transport.send(push()))
        peer.script = silence
        tasks = [asyncio.create_task(transport.send(push(number))) for number in range(1, 11)]
        for _ in range(11):
            request = await peer.next()
        script(request.link, request)
        outcomes = await within(asyncio.gather(*tasks))
        assert {type(outcome) for outcome in outcomes} == {Retryable}
        assert not any(outcome.certainly_not_processed for outcome in outcomes)
        peer.script = accept
        assert await within(transport.send(push(20))) == Accepted()
        assert len(peer.requests) == 12


async def test_other_connections_go_on_while_one_breaks(
    connect: Connect, server_context: ssl.SSLContext, push: MakePush
) -> None:
    async with Peer(server_context) as peer:
        transport = await connect(peer.url, max_connections=2, warm=2)
        async with asyncio.timeout(PATIENCE):
            while transport.open_connections < 2:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.001)
        await within(asyncio.gather(*(transport.send(push(number)) for number in range(4))))
        for _ in range(4):
            await peer.next()
        peer.script = silence
        tasks = [asyncio.create_task(transport.send(push(number))) for number in range(10, 30)]
        held = [await peer.next() for _ in range(20)]
        bad = peer.links[0]
        assert {request.link for request in held} == set(peer.links[:2])
        bad.raw(frame(PING, 0, 1, bytes(8)))
        await within(bad.gone.wait())
        for request in held:
            if request.link is not bad:
                request.link.answer(request)
        outcomes = await within(asyncio.gather(*tasks))
        lost = sum(request.link is bad for request in held)
        assert outcomes.count(Accepted()) == 20 - lost
        assert outcomes.count(Retryable("ProtocolError")) == lost
