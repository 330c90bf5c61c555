"""Header compression, as far as one client of APNs needs it (RFC 7541).

Requests differ in little: path, apns-id, length, sometimes expiration. So what stays the same
is encoded once, as literals without indexing (section 6.2.2); the dynamic table of the peer's
decoder stays empty, which makes every encoded block valid on every connection and under every
table size. Device token and provider token are "never indexed" (section 6.2.3), so that
no intermediary keeps them either.

Answers may use everything that RFC 7541 has; decoding is bounded. Static table and Huffman code
are those of the hpack package, the walk is ours: an answer is two fields, and hpack's way to
them costs more than all the rest of a push.
"""

from __future__ import annotations

import re
from collections import deque
from functools import lru_cache
from typing import Final, TypeAlias, TypeVar

from hpack.table import HeaderTable

from bridge.apns import huffman
from bridge.apns.framing import ErrorCode, ViolationError

LIST_LIMIT: Final = 32_768  # SETTINGS_MAX_HEADER_LIST_SIZE, octets as RFC 9113 section 6.5.2 counts them
TABLE_LIMIT: Final = 4_096  # octets, the default of SETTINGS_HEADER_TABLE_SIZE, which we leave
MEMORY: Final = 64  # combinations of topic, type and priority remembered for each connection
TOKENS_REMEMBERED: Final = 4_096  # device tokens that were looked at
TOKEN_LIMIT: Final = 400  # hex digits of a device token; Apple names no length
SIZE_UPDATE: Final = b"\x20"  # section 6.3: "the dynamic table now has size 0"

Field: TypeAlias = tuple[bytes, bytes]
K = TypeVar("K")
V = TypeVar("V")

_PLAIN: Final = 0x00  # section 6.2.2, without indexing
_NEVER: Final = 0x10  # section 6.2.3, never indexed
_METHOD_POST: Final = b"\x83"  # static table, index 3 (appendix A)
_SCHEME_HTTPS: Final = b"\x87"
_AUTHORITY: Final = 1
_PATH: Final = 4
_AUTHORIZATION: Final = 23
_CONTENT_LENGTH: Final = 28

_apns_id: Final = re.compile(r"[0-9a-fA-F-]{1,64}").fullmatch
_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")

_STATIC: Final[tuple[Field, ...]] = ((b"", b""), *HeaderTable.STATIC_TABLE)  # counted from 1 (appendix A)
_FIELD_OVERHEAD: Final = 32  # octets (section 4.1)


def integer(value: int, bits: int, first: int = 0) -> bytes:
    """Encode an integer with a prefix of `bits` (section 5.1), over the pattern `first`."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes((first | value,))
    out = bytearray((first | limit,))
    value -= limit
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(value: bytes) -> bytes:
    """Encode a string without Huffman coding (section 5.2)."""
    return integer(len(value), 7) + value


def literal(name: int | bytes, value: bytes, pattern: int = _PLAIN) -> bytes:
    """Encode a field that enters no table: its name by static index or in full."""
    if isinstance(name, int):
        return integer(name, 4, pattern) + string(value)
    return bytes((pattern,)) + string(name) + string(value)


def refusal(device_token: str, apns_id: str, topic: str, collapse_id: str | None) -> str | None:
    """Say, in APNs' words, why these cannot be sent at all; None if they can.

    A header value with a line break or worse would make the whole request malformed
    (RFC 9113 section 8.2.1), and a path that is not hex would be some other resource.
    """
    if not _is_hex(device_token):
        return "BadDeviceToken"
    if _apns_id(apns_id) is None:
        return "BadMessageId"
    if not _sayable(topic):
        return "BadTopic"
    if collapse_id is not None and not _sayable(collapse_id):
        return "BadCollapseId"
    return None


@lru_cache(TOKENS_REMEMBERED)
def _is_hex(token: str) -> bool:
    try:
        octets = len(bytes.fromhex(token))
    except ValueError:
        return False
    return 0 < 2 * octets == len(token) <= TOKEN_LIMIT  # `fromhex` passes over white space


@lru_cache(MEMORY)
def _sayable(value: str) -> bool:
    return _VALUE.fullmatch(value) is not None


class RequestEncoder:
    """Writes the header block of a push for one authority."""

    def __init__(self, authority: str) -> None:
        self._first = _METHOD_POST + _SCHEME_HTTPS + literal(_AUTHORITY, authority.encode())
        self._around: dict[tuple[str, str | None, int | None, str | None, int, int], tuple[bytes, bytes]] = {}
        self._ends: dict[tuple[int, int | None, str | None], bytes] = {}

    def block(
        self,
        device_token: str,
        apns_id: str,
        topic: str,
        push_type: str | None,
        priority: int | None,
        authorization: str | None,
        expiration: int | None,
        collapse_id: str | None,
        length: int,
    ) -> bytes:
        """Encode one request; its values have passed `refusal`.

        The order is: first, path, what is the same for many pushes, apns-id, what depends on this one.
        """
        same = (topic, push_type, priority, authorization, len(device_token), len(apns_id))
        around = self._around.get(same)
        if around is None:
            around = _learnt(self._around, same, self._encode_around(*same))
        own = (length, expiration, collapse_id)
        end = self._ends.get(own)
        if end is None:
            end = _learnt(self._ends, own, _encode_end(*own))
        return b"".join((around[0], device_token.encode(), around[1], apns_id.encode(), end))

    def _encode_around(
        self,
        topic: str,
        push_type: str | None,
        priority: int | None,
        authorization: str | None,
        token_length: int,
        apns_id_length: int,
    ) -> tuple[bytes, bytes]:
        """Encode what stands before the device token, and between it and the apns-id."""
        path = b"/3/device/"
        before = self._first + integer(_PATH, 4, _NEVER) + integer(len(path) + token_length, 7) + path
        between = literal(b"apns-topic", topic.encode())
        if push_type is not None:
            between += literal(b"apns-push-type", push_type.encode())
        if priority is not None:
            between += literal(b"apns-priority", str(priority).encode())
        if authorization is not None:
            between += literal(_AUTHORIZATION, authorization.encode(), _NEVER)
        return before, between + literal(b"apns-id", b"")[:-1] + integer(apns_id_length, 7)


def _encode_end(length: int, expiration: int | None, collapse_id: str | None) -> bytes:
    end = literal(_CONTENT_LENGTH, b"%d" % length)
    if expiration is not None:
        end += literal(b"apns-expiration", b"%d" % expiration)
    if collapse_id is not None:
        end += literal(b"apns-collapse-id", collapse_id.encode())
    return end


def _learnt(memory: dict[K, V], key: K, value: V) -> V:
    """Keep a value, and not too many of them."""
    if len(memory) >= MEMORY:
        memory.clear()
    memory[key] = value
    return value


class AnswerDecoder:
    """Reads the header blocks of one connection, all of them and in order (RFC 9113 section 4.3)."""

    def __init__(self) -> None:
        self._entries: deque[Field] = deque()  # the dynamic table, newest first (section 2.3.2)
        self._size = 0
        self._limit = TABLE_LIMIT

    def decode(self, block: bytes) -> list[Field]:
        """Give the fields. Raises ViolationError: after one, the tables of both sides differ."""
        try:
            return self._walk(block)
        except (IndexError, ValueError) as error:
            raise ViolationError(ErrorCode.COMPRESSION_ERROR, "a header block that cannot be read") from error

    def _walk(self, block: bytes) -> list[Field]:
        """Take one representation after the other (section 6)."""
        fields: list[Field] = []
        at = total = 0
        while at < len(block):
            first = block[at]
            at += 1
            if first & 0x80:  # section 6.1, indexed
                index = first & 0x7F
                if index == 0x7F:
                    index, at = _more(block, at, index)
                field = self._entry(index)
                size = len(field[0]) + len(field[1]) + _FIELD_OVERHEAD
            elif first & 0x60 == 0x20:  # section 6.3, the table's size
                at = self._resize(block, at, first=not fields)
                continue
            else:  # section 6.2.1; without indexing 6.2.2 and 6.2.3
                limit = 0x3F if first & 0x40 else 0x0F
                index = first & limit
                if index == limit:
                    index, at = _more(block, at, index)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, at = _string(block, at)
                value, at = _string(block, at)
                field = name, value
                size = len(name) + len(value) + _FIELD_OVERHEAD
                if first & 0x40:
                    self._entries.appendleft(field)  # section 4.4
                    self._size += size
                    self._evict()
            total += size  # RFC 9113 section 6.5.2
            if total > LIST_LIMIT:
                raise ValueError("a header list above the limit")
            fields.append(field)
        return fields

    def _entry(self, index: int) -> Field:
        """Look up an index (section 2.3.3). Raises IndexError."""
        if index >= len(_STATIC):
            return self._entries[index - len(_STATIC)]
        if not index:
            raise IndexError(index)
        return _STATIC[index]

    def _evict(self) -> None:
        """Drop the oldest entries (section 4.3); one that is too large empties the table (section 4.4)."""
        while self._size > self._limit:
            name, value = self._entries.pop()
            self._size -= len(name) + len(value) + _FIELD_OVERHEAD

    def _resize(self, block: bytes, at: int, *, first: bool) -> int:
        size = block[at - 1] & 0x1F
        if size == 0x1F:
            size, at = _more(block, at, size)
        if not first or size > TABLE_LIMIT:
            raise ValueError("a table size that cannot be")
        self._limit = size
        self._evict()
        return at


def _more(block: bytes, at: int, value: int) -> tuple[int, int]:
    """Read on in an integer whose prefix is full (section 5.1); give it and where to go on.

    Raises IndexError or ValueError.
    """
    for shift in range(0, 28, 7):
        octet = block[at]
        at += 1
        value += (octet & 0x7F) << shift
        if not octet & 0x80:
            return value, at
    raise ValueError("an integer without end")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """Read a string (section 5.2); give it and where to go on. Raises IndexError or ValueError."""
    first = block[at]
    at += 1
    length = first & 0x7F
    if length == 0x7F:
        length, at = _more(block, at, length)
    end = at + length
    if end > len(block):
        raise ValueError("a string cut short")
    value = block[at:end]
    return (huffman.decode(value) if first & 0x80 else value), end
