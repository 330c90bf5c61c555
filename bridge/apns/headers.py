"""Header compression, as far as one client of APNs needs it (RFC 7541).

Requests differ in little: path, apns-id, length, sometimes expiration. So what stays the same
is encoded once, as literals without indexing (section 6.2.2); the dynamic table of the peer's
decoder stays empty, which makes every encoded block valid on every connection and under every
table size. Device token and provider token are "never indexed" (section 6.2.3), so that
no intermediary keeps them either.

Answers may use everything that RFC 7541 has; decoding is bounded.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from hpack import HPACKError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from bridge.apns.framing import ErrorCode, ViolationError

LIST_LIMIT: Final = 16_384  # SETTINGS_MAX_HEADER_LIST_SIZE, octets as RFC 9113 section 6.5.2 counts them
TABLE_LIMIT: Final = 4_096  # octets, the default of SETTINGS_HEADER_TABLE_SIZE, which we leave
MEMORY: Final = 64  # combinations of topic, type and priority remembered for each connection
SIZE_UPDATE: Final = b"\x20"  # section 6.3: "the dynamic table now has size 0"

Field: TypeAlias = tuple[bytes, bytes]

_PLAIN: Final = 0x00  # section 6.2.2, without indexing
_NEVER: Final = 0x10  # section 6.2.3, never indexed
_METHOD_POST: Final = b"\x83"  # static table, index 3 (appendix A)
_SCHEME_HTTPS: Final = b"\x87"
_AUTHORITY: Final = 1
_PATH: Final = 4
_AUTHORIZATION: Final = 23
_CONTENT_LENGTH: Final = 28

_TOKEN: Final = re.compile(r"[0-9a-fA-F]{2,400}")
_APNS_ID: Final = re.compile(r"[0-9a-fA-F-]{1,64}")
_VALUE: Final = re.compile(r"[!-~](?:[ -~]*[!-~])?")

# Octets with the high bit set: a block of nothing else is made of references into the tables
# (section 6.1) and so cannot change them.
_REFERENCES: Final = bytes(range(0x80, 0x100))


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
    if _TOKEN.fullmatch(device_token) is None:
        return "BadDeviceToken"
    if _APNS_ID.fullmatch(apns_id) is None:
        return "BadMessageId"
    if _VALUE.fullmatch(topic) is None:
        return "BadTopic"
    if collapse_id is not None and _VALUE.fullmatch(collapse_id) is None:
        return "BadCollapseId"
    return None


class RequestEncoder:
    """Writes the header block of a push for one authority."""

    def __init__(self, authority: str) -> None:
        first = _METHOD_POST + _SCHEME_HTTPS + literal(_AUTHORITY, authority.encode())
        self._path = first + integer(_PATH, 4, _NEVER)
        self._same: dict[tuple[str, str | None, str | None, str | None], bytes] = {}
        self._apns_id = literal(b"apns-id", b"")[:-1]
        self._expiration = literal(b"apns-expiration", b"")[:-1]
        self._length = integer(_CONTENT_LENGTH, 4, _PLAIN)

    def block(
        self,
        device_token: str,
        apns_id: str,
        topic: str,
        push_type: str | None,
        priority: str | None,
        authorization: str | None,
        expiration: int | None,
        collapse_id: str | None,
        length: int,
    ) -> bytes:
        """Encode one request; its values have passed `refusal`."""
        path = b"/3/device/" + device_token.encode()
        apns_id_ = apns_id.encode()
        digits = b"%d" % length
        parts = [
            self._path,
            integer(len(path), 7),
            path,
            self._repeated(topic, push_type, priority, authorization),
            self._apns_id,
            bytes((len(apns_id_),)),
            apns_id_,
            self._length,
            bytes((len(digits),)),
            digits,
        ]
        if expiration is not None:
            parts += (self._expiration, string(b"%d" % expiration))
        if collapse_id is not None:
            parts.append(literal(b"apns-collapse-id", collapse_id.encode()))
        return b"".join(parts)

    def _repeated(
        self, topic: str, push_type: str | None, priority: str | None, authorization: str | None
    ) -> bytes:
        key = (topic, push_type, priority, authorization)
        known = self._same.get(key)
        if known is not None:
            return known
        block = literal(b"apns-topic", topic.encode())
        if push_type is not None:
            block += literal(b"apns-push-type", push_type.encode())
        if priority is not None:
            block += literal(b"apns-priority", priority.encode())
        if authorization is not None:
            block += literal(_AUTHORIZATION, authorization.encode(), _NEVER)
        if len(self._same) >= MEMORY:
            self._same.clear()
        self._same[key] = block
        return block


class AnswerDecoder:
    """Reads the header blocks of one connection, all of them and in order (RFC 9113 section 4.3).

    The tables and the Huffman code are those of the hpack package; walking a block is done here,
    since hpack's own walk costs more than all the rest of a push.
    """

    def __init__(self) -> None:
        self._table = HeaderTable()
        self._known: dict[bytes, list[Field]] = {}

    def decode(self, block: bytes) -> list[Field]:
        """Give the fields. Raises ViolationError: after one, the tables of both sides differ."""
        known = self._known.get(block)
        if known is not None:
            return known
        try:
            fields = self._walk(block)
        except (HPACKError, IndexError, ValueError) as error:
            raise ViolationError(ErrorCode.COMPRESSION_ERROR, "a header block that cannot be read") from error
        if block.translate(None, _REFERENCES):
            self._known.clear()  # it may have changed the table that the others refer to
        elif len(self._known) < MEMORY:
            self._known[block] = fields
        return fields

    def _walk(self, block: bytes) -> list[Field]:
        """Take one representation after the other (section 6)."""
        fields: list[Field] = []
        at = total = 0
        while at < len(block):
            first = block[at]
            if first & 0x80:  # section 6.1, indexed
                index, at = _integer(block, at, 0x7F)
                name, value = self._table.get_by_index(index)
            elif first & 0x60 == 0x20:  # section 6.3, the table's size
                at = self._resize(block, at, first=not fields)
                continue
            else:
                indexed = bool(first & 0x40)  # section 6.2.1; else 6.2.2 and 6.2.3
                index, at = _integer(block, at, 0x3F if indexed else 0x0F)
                if index:
                    name = self._table.get_by_index(index)[0]
                else:
                    name, at = _string(block, at)
                value, at = _string(block, at)
                if indexed:
                    self._table.add(name, value)
            total += len(name) + len(value) + 32  # RFC 9113 section 6.5.2
            if total > LIST_LIMIT:
                raise ValueError("a header list above the limit")
            fields.append((name, value))
        return fields

    def _resize(self, block: bytes, at: int, *, first: bool) -> int:
        size, at = _integer(block, at, 0x1F)
        if not first or size > TABLE_LIMIT:
            raise ValueError("a table size that cannot be")
        self._table.maxsize = size
        return at


def _integer(block: bytes, at: int, mask: int) -> tuple[int, int]:
    """Read an integer (section 5.1); give it and where to go on. Raises IndexError or ValueError."""
    value = block[at] & mask
    at += 1
    if value != mask:
        return value, at
    for shift in range(0, 28, 7):
        octet = block[at]
        at += 1
        value += (octet & 0x7F) << shift
        if not octet & 0x80:
            return value, at
    raise ValueError("an integer without end")


def _string(block: bytes, at: int) -> tuple[bytes, int]:
    """Read a string (section 5.2); give it and where to go on. Raises IndexError, ValueError, HPACKError."""
    coded = block[at] & 0x80
    length, at = _integer(block, at, 0x7F)
    value = block[at : at + length]
    if len(value) != length:
        raise ValueError("a string cut short")
    return (bytes(decode_huffman(value)) if coded else value), at + length
