"""Arbitrary octets, cut at every boundary: never an exception, never a push without an outcome."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import hpack
import pytest
from apnsworld import push
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.apns import framing
from bridge.apns.connection import Connection
from bridge.apns.framing import ErrorCode, FrameReader, Setting, ViolationError, frame
from bridge.apns.headers import AnswerDecoder, RequestEncoder, integer
from bridge.apns.messages import UNANSWERED, PushNotification, explanation, retry_after

OK = framing.header_frames(1, b"\x88", framing.END_STREAM, 16_384)
FRAMES = st.builds(
    frame,
    st.integers(0, 12),
    st.integers(0, 255),
    st.sampled_from([0, 1, 2, 3, 5, 7, 2**31 - 1]),
    st.binary(max_size=40),
)
GOOD = [
    framing.settings({Setting.MAX_CONCURRENT_STREAMS: 100, Setting.INITIAL_WINDOW_SIZE: 70_000}),
    frame(framing.SETTINGS, framing.ACK, 0),
    frame(framing.PING, 0, 0, bytes(8)),
    frame(framing.HEADERS, framing.PADDED, 1, b"\x02\x88\0\0"),
    frame(framing.CONTINUATION, framing.END_HEADERS, 1, b"\x00\x01a\x01b"),
    frame(framing.DATA, framing.PADDED, 1, b"\x01{\0"),
    frame(framing.DATA, framing.END_STREAM, 1, b"}"),
    framing.window_update(0, 1_000),
    framing.rst_stream(3, ErrorCode.REFUSED_STREAM),
    framing.header_frames(5, hpack.Encoder().encode([(":status", "410"), ("a", "b")]), 1, 16_384),
    framing.goaway(7, ErrorCode.NO_ERROR, "bye"),
]
CONVERSATION = b"".join(GOOD)


class Wire(asyncio.Transport):
    """A transport that goes nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closing = False

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = True


def read_all(data: bytes, cuts: list[int]) -> tuple[list[framing.Frame], ErrorCode | None]:
    reader = FrameReader()
    found: list[framing.Frame] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    try:
        for start, stop in itertools.pairwise(edges):
            found.extend(reader.feed(data[start:stop]))
    except ViolationError as error:
        return found, error.code
    return found, None


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=8))
def test_the_frame_reader_gives_frames_or_a_violation_however_octets_are_cut(
    data: bytes, cuts: list[int]
) -> None:
    assert read_all(data, cuts) == read_all(data, [])


@given(st.lists(FRAMES, max_size=12).map(b"".join), st.lists(st.integers(0, 500), max_size=8))
def test_frames_are_read_the_same_however_they_are_cut(data: bytes, cuts: list[int]) -> None:
    assert read_all(data, cuts) == read_all(data, [])


def test_a_conversation_is_read_the_same_cut_at_each_boundary() -> None:
    whole = read_all(CONVERSATION, [])
    assert whole[1] is None
    assert len(whole[0]) == len(GOOD) - 1  # HEADERS and CONTINUATION are one
    for cut in range(len(CONVERSATION) + 1):
        assert read_all(CONVERSATION, [cut]) == whole
    assert read_all(CONVERSATION, list(range(len(CONVERSATION)))) == whole


@given(st.binary(min_size=0, max_size=16_384))
def test_a_frame_that_was_written_is_read_as_it_was(payload: bytes) -> None:
    found, error = read_all(frame(0x77, 3, 9, payload) * 5, [])
    assert error is None
    assert found == [(0x77, 3, 9, payload, len(payload))] * 5


class Clock:
    """The event loop's clock, which the test may push on."""

    def __init__(self, loop: Any) -> None:
        self.ahead = 0.0
        real = loop.time
        loop.time = lambda: real() + self.ahead


async def converse(pieces: list[bytes], end: str) -> list[tuple[str, str | None, bool]]:
    """Feed a connection with four pushes, let it end, and give what became of each: all have an outcome.

    The end is "lost" (the network says so) or "time" (nobody says anything, only the deadlines pass).
    """
    loop = asyncio.get_running_loop()
    clock = Clock(loop)
    complaints: list[dict] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    connection = Connection("x.voip", loop, None, None)
    wire = Wire()
    connection.connection_made(wire)
    connection.limit.begin()
    deadline = loop.time() + 60
    wanted = [
        PushNotification(
            device_token=f"{number:064x}",
            payload=b"{}",
            deadline=deadline,
            notification_id=push(number).apns_id,
        )
        for number in range(4)
    ]
    sends = [asyncio.create_task(connection.send_notification(one)) for one in wanted]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for piece in pieces:
        feed(connection, piece)
        await asyncio.sleep(0)
    if end == "lost":
        connection.connection_lost(None)
    else:
        clock.ahead += 61
    await asyncio.wait(sends, timeout=10)  # on the clock that was moved; only a stuck push waits
    assert all(send.done() for send in sends)
    assert not complaints
    assert connection.in_flight == 0
    assert connection.reason != "InternalError"
    assert len(wire.written) < 200_000
    results = [send.result() for send in sends]
    for result in results:
        assert result.status == UNANSWERED or 100 <= int(result.status) <= 999
    connection.end("done", at_once=True)
    if connection._abort_timer is not None:
        connection._abort_timer.cancel()
    return [(result.status, result.description, result.certainly_not_processed) for result in results]


def feed(connection: Connection, data: bytes) -> None:
    while data:
        room = connection.get_buffer(len(data))
        count = min(len(room), len(data))
        room[:count] = data[:count]
        data = data[count:]
        connection.buffer_updated(count)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(at % (len(data) + 1) for at in cuts), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(edges)]


def in_a_loop(pieces: list[bytes], end: str = "lost") -> list[tuple[str, str | None, bool]]:
    with asyncio.Runner() as runner:
        return runner.run(converse(pieces, end))


QUIET = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@QUIET
@given(st.lists(FRAMES, max_size=10).map(b"".join), st.lists(st.integers(0, 500), max_size=6))
def test_a_connection_survives_any_frames(data: bytes, cuts: list[int]) -> None:
    in_a_loop(cut(GOOD[0] + data, cuts))


@QUIET
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6), st.booleans())
def test_a_connection_survives_any_octets(data: bytes, cuts: list[int], greeted: bool) -> None:
    in_a_loop(cut((GOOD[0] if greeted else b"") + data, cuts))


@QUIET
@given(
    st.lists(st.tuples(st.integers(0, len(CONVERSATION) - 1), st.integers(0, 255)), max_size=6),
    st.lists(st.integers(0, 500), max_size=6),
    st.permutations(range(len(GOOD))),
    st.booleans(),
)
def test_a_connection_survives_a_conversation_with_octets_changed(
    changes: Any, cuts: list[int], order: list[int], shuffle: bool
) -> None:
    frames = [GOOD[0], *(GOOD[index] for index in order)] if shuffle else GOOD
    data = bytearray(b"".join(frames))
    for at, value in changes:
        data[at] = value
    in_a_loop(cut(bytes(data), cuts))


@pytest.mark.parametrize("end", ["lost", "time"])
def test_a_conversation_cut_short_anywhere_leaves_no_push_without_an_outcome(end: str) -> None:
    for at in range(len(CONVERSATION) + 1):
        in_a_loop([CONVERSATION[:at]], end)


def test_a_conversation_means_the_same_cut_at_each_boundary() -> None:
    whole = in_a_loop([CONVERSATION])
    assert [status for status, _, _ in whole] == ["200", "0", "410", "0"]
    for at in range(len(CONVERSATION) + 1):
        assert in_a_loop([CONVERSATION[:at], CONVERSATION[at:]]) == whole
    assert in_a_loop([bytes((octet,)) for octet in CONVERSATION]) == whole


# --- conversations that make sense, and then a little less ------------------------------------

BLOCKS = st.sampled_from(
    [
        b"\x88",  # :status 200
        b"\x8c",  # 400
        b"\x08\x03103",
        b"\x48\x03410\x00\x01a\x01b",
        b"\x88\x40\x07apns-id\x04abcd",
        b"\x88\xbe",  # whatever came into the table last
        b"\x20\x88",
        b"\x00\x05x-end\x011",
    ]
)
STREAMS = st.sampled_from([1, 3, 5, 7, 9, 2])
ENDS = st.sampled_from([0, framing.END_STREAM])
SENSIBLE = st.one_of(
    st.builds(lambda stream, block, end: framing.header_frames(stream, block, end, 5), STREAMS, BLOCKS, ENDS),
    st.builds(
        lambda stream, data, end: frame(framing.DATA, end, stream, data), STREAMS, st.binary(max_size=9), ENDS
    ),
    st.builds(framing.rst_stream, STREAMS, st.sampled_from(list(ErrorCode))),
    st.builds(framing.window_update, st.sampled_from([0, 1, 3]), st.sampled_from([1, 70_000, 2**31 - 1])),
    st.builds(
        lambda name, value: framing.settings({name: value}),
        st.sampled_from(list(Setting)),
        st.sampled_from([0, 1, 100, 16_384, 2**31 - 1]),
    ),
    st.builds(
        lambda last: framing.goaway(last, ErrorCode.NO_ERROR, ""), st.sampled_from([0, 1, 3, 2**31 - 1])
    ),
    st.builds(lambda flags: frame(framing.PING, flags, 0, bytes(8)), ENDS),
)
TALKS = st.lists(SENSIBLE, max_size=14).map(lambda frames: GOOD[0] + b"".join(frames))
CUTS = st.lists(st.integers(0, 500), max_size=6)


@QUIET
@given(TALKS, CUTS, st.sampled_from(["lost", "time"]))
def test_what_a_peer_says_means_the_same_however_it_is_cut(talk: bytes, cuts: list[int], end: str) -> None:
    assert in_a_loop(cut(talk, cuts), end) == in_a_loop([talk], end)


CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["flip", "insert", "drop", "repeat"]), st.integers(0, 500), st.integers(0, 255)
    ),
    min_size=1,
    max_size=4,
)


def changed(data: bytes, changes: list[tuple[str, int, int]]) -> bytes:
    out = bytearray(data)
    for what, where, value in changes:
        at = where % (len(out) + 1)
        if what == "flip":
            out[at : at + 1] = bytes((value,))
        elif what == "insert":
            out[at:at] = bytes((value,))
        elif what == "drop":
            del out[at : at + value % 16]
        else:
            out[at:at] = out[at : at + value]
    return bytes(out)


@QUIET
@given(TALKS, CHANGES, CUTS, st.sampled_from(["lost", "time"]))
def test_a_peer_that_talks_sense_with_slips_leaves_no_push_stuck(
    talk: bytes, changes: list[tuple[str, int, int]], cuts: list[int], end: str
) -> None:
    in_a_loop(cut(changed(talk, changes), cuts), end)


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=60), max_size=6))
def test_any_header_block_is_decoded_or_refused(blocks: list[bytes]) -> None:
    decoder = AnswerDecoder()
    try:
        for block in blocks:
            decoder.decode(block)
    except ViolationError as error:
        assert error.code == ErrorCode.COMPRESSION_ERROR  # noqa: PT017 - it may or may not be raised


@settings(max_examples=500)
@given(st.lists(st.binary(max_size=40), max_size=5))
def test_header_blocks_are_decoded_as_the_hpack_package_does(blocks: list[bytes]) -> None:
    ours, theirs = AnswerDecoder(), hpack.Decoder(max_header_list_size=16_384)
    for block in blocks:
        try:
            expected = [(field[0], field[1]) for field in theirs.decode(block, raw=True)]
        except (hpack.HPACKError, IndexError):
            with pytest.raises(ViolationError):
                ours.decode(block)
            return
        assert ours.decode(block) == expected
        assert list(ours._entries) == list(theirs.header_table.dynamic_entries)


@settings(max_examples=200)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.sampled_from([":status", "date", "x", "apns-id", "server"]), st.text("ab1é", max_size=9)
            ),
            max_size=5,
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_header_blocks_are_decoded_as_they_were_encoded(lists: Any, huffman: bool) -> None:
    encoder, decoder = hpack.Encoder(), AnswerDecoder()
    for fields in lists:
        wanted = [(name.encode(), value.encode()) for name, value in fields]
        assert list(decoder.decode(encoder.encode(fields, huffman=huffman))) == wanted


@given(st.integers(0, 2**31 - 1), st.integers(1, 8))
def test_integers_are_encoded_as_hpack_reads_them(value: int, bits: int) -> None:
    encoded = integer(value, bits)
    assert hpack.hpack.decode_integer(encoded, bits) == (value, len(encoded)) or value >= 2**28


@given(
    st.text("0123456789abcdef", min_size=2, max_size=200),
    st.one_of(st.none(), st.integers(0, 2**40)),
    st.one_of(st.none(), st.text("abc def", min_size=1, max_size=64)),
    st.integers(0, 10_000),
)
def test_requests_are_encoded_as_hpack_reads_them(
    token: str, expiration: int | None, collapse_id: str | None, length: int
) -> None:
    encoder, decoder = RequestEncoder("api.push.apple.com"), hpack.Decoder()
    for _ in range(2):
        block = encoder.block(
            token, "id", "x.voip", "voip", "10", "bearer " + "t" * 200, expiration, collapse_id, length
        )
        fields = dict(decoder.decode(block))
        assert fields[":path"] == f"/3/device/{token}"
        assert fields["authorization"] == "bearer " + "t" * 200
        assert fields["content-length"] == str(length)
        assert fields.get("apns-expiration") == (None if expiration is None else str(expiration))
        assert fields.get("apns-collapse-id") == collapse_id
        assert not decoder.header_table.dynamic_entries


@given(st.binary(max_size=200))
def test_any_body_and_any_retry_after_is_read_or_passed_over(data: bytes) -> None:
    reason, timestamp = explanation(data)
    assert reason is None or len(reason) <= 64
    assert timestamp is None or timestamp >= 0
    after = retry_after([(b"retry-after", data)])
    assert after is None or after >= 0
