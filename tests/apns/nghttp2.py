"""An HTTP/2 server that is nghttp2's library: framing, compression and flow control are its own.

nghttpd, the program, can be told little; the library does what a test asks for. Here is no more
than the calls into it.
"""

from __future__ import annotations

import asyncio
import ctypes
import ctypes.util
from collections import deque
from dataclasses import dataclass, field
from typing import Any

NAME = ctypes.util.find_library("nghttp2") or "libnghttp2.so.14"
HEADERS, DATA, END_STREAM = 1, 0, 1
FLAG_EOF, FLAG_NO_END_STREAM = 1, 2
HEADER_TABLE_SIZE, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 1, 3, 4
GRACEFUL = 2**31 - 1

_session, _int, _size, _void = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p
_bytes, _id = ctypes.POINTER(ctypes.c_uint8), ctypes.c_int32


class _FrameHead(ctypes.Structure):
    _fields_ = [("length", _size), ("stream_id", _id), ("type", ctypes.c_uint8), ("flags", ctypes.c_uint8)]


class _Field(ctypes.Structure):
    _fields_ = [
        ("name", _bytes),
        ("value", _bytes),
        ("namelen", _size),
        ("valuelen", _size),
        ("flags", ctypes.c_uint8),
    ]


class _Setting(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int32), ("value", ctypes.c_uint32)]


_READ = ctypes.CFUNCTYPE(
    ctypes.c_ssize_t, _session, _id, _bytes, _size, ctypes.POINTER(ctypes.c_uint32), _void, _void
)


class _Provider(ctypes.Structure):
    _fields_ = [("source", _void), ("read", _READ)]


_FRAME = ctypes.POINTER(_FrameHead)
_CALLBACKS = {
    "on_header": ctypes.CFUNCTYPE(
        _int, _session, _FRAME, _bytes, _size, _bytes, _size, ctypes.c_uint8, _void
    ),
    "on_frame_recv": ctypes.CFUNCTYPE(_int, _session, _FRAME, _void),
    "on_stream_close": ctypes.CFUNCTYPE(_int, _session, _id, ctypes.c_uint32, _void),
    "select_padding": ctypes.CFUNCTYPE(ctypes.c_ssize_t, _session, _FRAME, _size, _void),
}


def load() -> ctypes.CDLL:
    """Load the library and say what its functions take. Raises OSError where there is none."""
    lib = ctypes.CDLL(NAME)
    lib.nghttp2_session_mem_recv.argtypes = [_session, ctypes.c_char_p, _size]
    lib.nghttp2_session_mem_recv.restype = ctypes.c_ssize_t
    lib.nghttp2_session_mem_send.argtypes = [_session, ctypes.POINTER(_bytes)]
    lib.nghttp2_session_mem_send.restype = ctypes.c_ssize_t
    lib.nghttp2_submit_settings.argtypes = [_session, ctypes.c_uint8, ctypes.POINTER(_Setting), _size]
    lib.nghttp2_session_set_local_window_size.argtypes = [_session, ctypes.c_uint8, _id, _id]
    lib.nghttp2_submit_headers.argtypes = [_session, ctypes.c_uint8, _id, _void, _void, _size, _void]
    lib.nghttp2_submit_response.argtypes = [_session, _id, _void, _size, _void]
    lib.nghttp2_submit_trailer.argtypes = [_session, _id, _void, _size]
    lib.nghttp2_submit_goaway.argtypes = [_session, ctypes.c_uint8, _id, ctypes.c_uint32, _void, _size]
    lib.nghttp2_session_get_last_proc_stream_id.argtypes = [_session]
    lib.nghttp2_session_del.argtypes = [_session]
    for name in ("want_read", "want_write"):
        getattr(lib, f"nghttp2_session_{name}").argtypes = [_session]
    return lib


def _fields(pairs: list[tuple[str, str]]) -> Any:
    array = (_Field * len(pairs))()
    for place, (name, value) in zip(array, pairs, strict=True):
        for slot, text in (("name", name.encode()), ("value", value.encode())):
            setattr(place, slot, ctypes.cast(ctypes.create_string_buffer(text), _bytes))
            setattr(place, slot + "len", len(text))
    return array


@dataclass
class Incoming:
    """A request as far as it came."""

    headers: dict[str, str] = field(default_factory=dict)
    closed: bool = False


class Session(asyncio.Protocol):
    """One connection. `answer` is called with each whole request."""

    def __init__(self, lib: ctypes.CDLL, *, padding: int = 0) -> None:
        self.lib = lib
        self.padding = padding
        self.requests: dict[int, Incoming] = {}
        self.whole: deque[int] = deque()
        self.failure: BaseException | None = None
        self.transport: Any = None
        self._kept: list[Any] = []  # what the library still points to
        callbacks = _void()
        lib.nghttp2_session_callbacks_new(ctypes.byref(callbacks))
        for name, kind in _CALLBACKS.items():
            if name == "select_padding" and not padding:
                continue
            callback = kind(getattr(self, "_" + name))
            self._kept.append(callback)
            getattr(lib, f"nghttp2_session_callbacks_set_{name}_callback")(callbacks, callback)
        self.session = _session()
        lib.nghttp2_session_server_new(ctypes.byref(self.session), callbacks, None)
        lib.nghttp2_session_callbacks_del(callbacks)

    # --- what the test says ---------------------------------------------------------------

    def settings(self, values: dict[int, int]) -> None:
        array = (_Setting * len(values))(*values.items())
        self.lib.nghttp2_submit_settings(self.session, 0, array, len(values))

    def widen(self, window: int) -> None:
        """Give the connection a window of this many octets."""
        self.lib.nghttp2_session_set_local_window_size(self.session, 0, 0, window)

    def interim(self, stream_id: int, *pairs: tuple[str, str]) -> None:
        self.lib.nghttp2_submit_headers(self.session, 0, stream_id, None, _fields([*pairs]), len(pairs), None)

    def answer(self, stream_id: int, *pairs: tuple[str, str], body: bytes = b"", trailer: str = "") -> None:
        provider = None
        if body or trailer:
            provider = _Provider(None, self._body(body, trailer))
            self._kept.append(provider)
        pointer = None if provider is None else ctypes.byref(provider)
        self.lib.nghttp2_submit_response(self.session, stream_id, _fields([*pairs]), len(pairs), pointer)

    def goaway(self, last: int) -> None:
        self.lib.nghttp2_submit_goaway(self.session, 0, last, 0, None, 0)

    @property
    def last_seen(self) -> int:
        last: int = self.lib.nghttp2_session_get_last_proc_stream_id(self.session)
        return last

    def flush(self) -> None:
        data = _bytes()
        while (size := self.lib.nghttp2_session_mem_send(self.session, ctypes.byref(data))) > 0:
            self.transport.write(ctypes.string_at(data, size))
        if not self.lib.nghttp2_session_want_read(self.session):
            self.transport.close()

    # --- what the library and the event loop say --------------------------------------------

    def _body(self, body: bytes, trailer: str) -> Any:
        def read(_s: Any, stream_id: int, buffer: Any, room: int, flags: Any, *_: Any) -> int:
            nonlocal body
            piece, body = body[:room], body[room:]
            ctypes.memmove(buffer, piece, len(piece))
            if not body:
                flags[0] |= FLAG_EOF
                if trailer:
                    flags[0] |= FLAG_NO_END_STREAM
                    self.lib.nghttp2_submit_trailer(self.session, stream_id, _fields([("x-end", trailer)]), 1)
            return len(piece)

        return _READ(read)

    def _on_header(self, _s: Any, frame: Any, name: Any, n: int, value: Any, v: int, *_: Any) -> int:
        request = self.requests.setdefault(frame.contents.stream_id, Incoming())
        request.headers[ctypes.string_at(name, n).decode()] = ctypes.string_at(value, v).decode()
        return 0

    def _on_frame_recv(self, _s: Any, frame: Any, _u: Any) -> int:
        head = frame.contents
        if head.type in (HEADERS, DATA) and head.flags & END_STREAM:
            self.whole.append(head.stream_id)
        return 0

    def _on_stream_close(self, _s: Any, stream_id: int, _code: int, _u: Any) -> int:
        if stream_id in self.requests:
            self.requests[stream_id].closed = True
        return 0

    def _select_padding(self, _s: Any, frame: Any, most: int, _u: Any) -> int:
        return int(min(most, frame.contents.length + self.padding))

    def on_request(self, stream_id: int) -> None:
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.flush()

    def data_received(self, data: bytes) -> None:
        took = self.lib.nghttp2_session_mem_recv(self.session, data, len(data))
        while self.whole:
            self.on_request(self.whole.popleft())
        if took < 0:
            self.failure = ValueError(f"nghttp2 refuses: {took}")
            self.transport.abort()
            return
        self.flush()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.lib.nghttp2_session_del(self.session)
        self.session = None
