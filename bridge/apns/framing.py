"""HTTP/2 frames: bytes to frames and back (RFC 9113 sections 4 and 6).

Pure: no sockets, no clock. The reader is incremental and bounded: it holds one buffer of
fixed size and at most one unfinished header block. It checks what a frame can be checked
for by itself: length, stream 0 or not, padding, and that nothing interrupts a header block.
What depends on the state of a stream belongs to `connection`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, TypeAlias

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # section 3.4
HEADER_SIZE: Final = 9  # section 4.1
DEFAULT_FRAME_SIZE: Final = 16_384  # section 6.5.2, also the least that a peer may ask for
GREATEST_FRAME_SIZE: Final = 16_777_215
STREAM_MASK: Final = 0x7FFF_FFFF  # the first bit of a stream id or an increment is reserved
BUFFER_SIZE: Final = 65_536  # room for any frame of ours to read, with some to spare
BLOCK_LIMIT: Final = 32_768  # octets of one encoded header block
CONTINUATION_LIMIT: Final = 32  # frames of one header block

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20


class ErrorCode(IntEnum):
    """Section 7."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    SETTINGS_TIMEOUT = 0x4
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    CONNECT_ERROR = 0xA
    ENHANCE_YOUR_CALM = 0xB
    INADEQUATE_SECURITY = 0xC
    HTTP_1_1_REQUIRED = 0xD


class Setting(IntEnum):
    """Section 6.5.2."""

    HEADER_TABLE_SIZE = 0x1
    ENABLE_PUSH = 0x2
    MAX_CONCURRENT_STREAMS = 0x3
    INITIAL_WINDOW_SIZE = 0x4
    MAX_FRAME_SIZE = 0x5
    MAX_HEADER_LIST_SIZE = 0x6


class ViolationError(Exception):
    """The peer broke the protocol: the connection ends with this code (section 5.4.1)."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code


# kind, flags, stream id, payload without padding and priority fields, size on the wire
# (flow control counts padding, section 6.1).
Frame: TypeAlias = tuple[int, int, int, bytes, int]

_HEAD: Final = struct.Struct(">BHBBL")
_LONG: Final = struct.Struct(">L")
_SETTING: Final = struct.Struct(">HL")
# Frames of one size only (sections 6.3, 6.4, 6.7, 6.9).
_EXACT: Final = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
_WHOLE_ANSWER: Final = END_STREAM | END_HEADERS
_OF_A_STREAM: Final = frozenset({DATA, HEADERS, PRIORITY, RST_STREAM, CONTINUATION})
_OF_THE_CONNECTION: Final = frozenset({SETTINGS, PING, GOAWAY})


class FrameReader:
    """Turns octets into frames, whatever way they were cut.

    Two ways in: `buffer` and `frames` (no copy between socket and buffer), or `feed`.
    A header block comes out as one HEADERS frame. Frames that were whole before a violation
    are given out before it is raised.
    """

    def __init__(self) -> None:
        self._store = bytearray(BUFFER_SIZE)
        self._view = memoryview(self._store)
        self._start = 0
        self._end = 0
        self._block = bytearray()
        self._block_stream = 0
        self._block_flags = 0
        self._block_frames = 0

    def buffer(self) -> memoryview:
        """Give the room that is free, never less than one frame minus what is already there."""
        if self._start:
            held = self._end - self._start
            self._view[:held] = self._view[self._start : self._end]
            self._start, self._end = 0, held
        return self._view[self._end :]

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take octets by copy, and give the frames they complete. Raises ViolationError."""
        rest = memoryview(data)
        while rest:
            room = self.buffer()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            rest = rest[count:]
            yield from self.frames(count)

    def frames(self, received: int) -> Iterator[Frame]:
        """Say that `received` octets were put into `buffer`; give what is whole. Raises ViolationError."""
        self._end += received
        data = bytes(self._view[self._start : self._end])  # once: to slice a view costs three times as much
        at, end, base = 0, len(data), self._start
        while end - at >= HEADER_SIZE:
            high, low, kind, flags, stream_id = _HEAD.unpack_from(data, at)
            size = high << 16 | low
            if size > DEFAULT_FRAME_SIZE:
                raise ViolationError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {size} octets")
            stop = at + HEADER_SIZE + size
            if stop > end:
                return
            payload = data[at + HEADER_SIZE : stop]
            at = stop
            self._start = base + at
            plain = kind == HEADERS and flags == _WHOLE_ANSWER and 0 < stream_id <= STREAM_MASK
            if plain and not self._block_stream:  # most frames are this, and there is no more to check
                yield HEADERS, flags, stream_id, payload, size
                continue
            frame = self._checked(kind, flags, stream_id & STREAM_MASK, payload)
            if frame is not None:
                yield frame

    def _checked(self, kind: int, flags: int, stream_id: int, payload: bytes) -> Frame | None:
        size = len(payload)
        if self._block_stream and (kind != CONTINUATION or stream_id != self._block_stream):
            raise ViolationError(ErrorCode.PROTOCOL_ERROR, "a header block was interrupted")
        if kind in (_OF_THE_CONNECTION if stream_id else _OF_A_STREAM):
            raise ViolationError(ErrorCode.PROTOCOL_ERROR, f"a frame of type {kind} on stream {stream_id}")
        if _EXACT.get(kind, size) != size:
            raise ViolationError(ErrorCode.FRAME_SIZE_ERROR, f"a frame of type {kind} with {size} octets")
        if kind == HEADERS:
            return self._begin_block(flags, stream_id, payload)
        if kind == CONTINUATION:
            return self._go_on(flags, stream_id, payload)
        if kind == DATA:
            payload = _unpadded(payload) if flags & PADDED else payload
        else:
            _check_size(kind, flags, size)
        return kind, flags, stream_id, payload, size

    def _begin_block(self, flags: int, stream_id: int, payload: bytes) -> Frame | None:
        size = len(payload)
        if flags & PADDED:
            payload = _unpadded(payload)
        if flags & HAS_PRIORITY:  # section 6.2: five octets that no longer mean anything
            if len(payload) < 5:
                raise ViolationError(ErrorCode.FRAME_SIZE_ERROR, "HEADERS too short for its priority")
            payload = payload[5:]
        if flags & END_HEADERS:
            return HEADERS, flags, stream_id, payload, size
        self._block_stream, self._block_flags, self._block_frames = stream_id, flags, 0
        self._block = bytearray(payload)
        return None

    def _go_on(self, flags: int, stream_id: int, payload: bytes) -> Frame | None:
        if not self._block_stream:
            raise ViolationError(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._block_frames += 1
        self._block += payload
        if self._block_frames > CONTINUATION_LIMIT or len(self._block) > BLOCK_LIMIT:
            raise ViolationError(ErrorCode.ENHANCE_YOUR_CALM, "an endless header block")
        if not flags & END_HEADERS:
            return None
        self._block_stream = 0
        block = bytes(self._block)
        self._block = bytearray()
        return HEADERS, self._block_flags | END_HEADERS, stream_id, block, len(block)


def _check_size(kind: int, flags: int, size: int) -> None:
    """Check frames whose size depends on more than their type."""
    if kind == SETTINGS and (size % 6 or (flags & ACK and size)):  # section 6.5
        raise ViolationError(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS of {size} octets")
    if kind == GOAWAY and size < 8:  # section 6.8: last stream id and error code
        raise ViolationError(ErrorCode.FRAME_SIZE_ERROR, f"GOAWAY of {size} octets")
    if kind == PUSH_PROMISE:  # section 6.6: we said ENABLE_PUSH = 0
        raise ViolationError(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE though pushes are off")


def _unpadded(payload: bytes) -> bytes:
    """Take padding away (section 6.1): its length comes first and must leave room for itself."""
    if not payload or payload[0] >= len(payload):
        raise ViolationError(ErrorCode.PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Write one frame."""
    size = len(payload)
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream_id) + payload


def head(kind: int, flags: int, stream_id: int, size: int) -> bytes:
    """Write the nine octets before a payload of `size`."""
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream_id)


def header_frames(stream_id: int, block: bytes, flags: int, limit: int) -> bytes:
    """Write HEADERS, with CONTINUATION where the block is longer than the peer's frames may be."""
    if len(block) <= limit:
        return head(HEADERS, flags | END_HEADERS, stream_id, len(block)) + block
    parts = [block[at : at + limit] for at in range(0, len(block), limit)]
    out = [frame(HEADERS, flags, stream_id, parts[0])]
    out += [frame(CONTINUATION, 0, stream_id, part) for part in parts[1:-1]]
    out.append(frame(CONTINUATION, END_HEADERS, stream_id, parts[-1]))
    return b"".join(out)


def request(stream_id: int, block: bytes, payload: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Write a whole request: HEADERS and DATA, where either fits into one frame. In pieces, to be joined."""
    headers, data = len(block), len(payload)
    return (
        _HEAD.pack(headers >> 16, headers & 0xFFFF, HEADERS, END_HEADERS, stream_id),
        block,
        _HEAD.pack(data >> 16, data & 0xFFFF, DATA, END_STREAM, stream_id),
        payload,
    )


def settings(values: dict[Setting, int]) -> bytes:
    """Write SETTINGS (section 6.5)."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in values.items()))


def parse_settings(payload: bytes) -> list[tuple[int, int]]:
    """Read SETTINGS, in the order in which they must be applied (section 6.5.3)."""
    return list(_SETTING.iter_unpack(payload))


def rst_stream(stream_id: int, code: ErrorCode) -> bytes:
    """Write RST_STREAM (section 6.4)."""
    return frame(RST_STREAM, 0, stream_id, _LONG.pack(code))


def window_update(stream_id: int, increment: int) -> bytes:
    """Write WINDOW_UPDATE (section 6.9)."""
    return frame(WINDOW_UPDATE, 0, stream_id, _LONG.pack(increment))


def goaway(last_stream_id: int, code: ErrorCode, text: str) -> bytes:
    """Write GOAWAY with a word for the peer's log (section 6.8)."""
    payload = _LONG.pack(last_stream_id) + _LONG.pack(code) + text.encode()[:128]
    return frame(GOAWAY, 0, 0, payload)


def long(payload: bytes, at: int = 0) -> int:
    """Read the 32 bits at `at`."""
    value: int = _LONG.unpack_from(payload, at)[0]
    return value


def code_name(code: int) -> str:
    """Name an error code, also one that nobody defined."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"0x{code:x}"
