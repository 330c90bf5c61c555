"""The Huffman code of header strings (RFC 7541 section 5.2 and appendix B), read an octet at a time.

The code itself is the hpack package's. Its decoder goes half an octet at a time, and APNs repeats
each push's apns-id in this code, so that this would be the dearest part of an answer.
"""

from __future__ import annotations

from typing import Final

from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH

_EOS: Final = 256  # a symbol that must not occur; its code's beginning is the padding
_PADDING_LIMIT: Final = 7  # bits


class _State:
    """A place between two octets. `row` says what each octet spells from here; it is filled when needed."""

    __slots__ = ("children", "may_end", "row")

    def __init__(self, *, may_end: bool) -> None:
        self.children: list[_State | int | None] = [None, None]
        self.may_end = may_end
        self.row: list[tuple[bytes, _State]] = []

    def fill(self) -> None:
        """Work out all 256 octets."""
        self.row = [self._spell(octet) or _NOTHING for octet in range(256)]

    def _spell(self, octet: int) -> tuple[bytes, _State] | None:
        state, symbols = self, bytearray()
        for shift in range(7, -1, -1):
            child = state.children[octet >> shift & 1]
            if isinstance(child, _State):
                state = child
            elif child is None or child == _EOS:
                return None
            else:
                symbols.append(child)
                state = _START
        return bytes(symbols), state


def _tree() -> _State:
    start = _State(may_end=True)
    for symbol, (code, length) in enumerate(zip(REQUEST_CODES, REQUEST_CODES_LENGTH, strict=True)):
        state, ones = start, True
        for shift in range(length - 1, 0, -1):
            bit = code >> shift & 1
            ones = ones and bit == 1
            child = state.children[bit]
            if not isinstance(child, _State):
                child = _State(may_end=ones and length - shift <= _PADDING_LIMIT)
                state.children[bit] = child
            state = child
        state.children[code & 1] = symbol
    return start


_START: Final = _tree()


# Where EOS was spelt: nothing goes on from here, and nothing may end here.
_LOST: Final = _State(may_end=False)
_NOTHING: Final = b"", _LOST
_LOST.row = [_NOTHING] * 256


def decode(coded: bytes) -> bytes:
    """Read a string. Raises ValueError for the symbol EOS inside, or for padding that is none."""
    while True:
        state, pieces = _START, []
        try:
            for octet in coded:
                piece, state = state.row[octet]
                pieces.append(piece)
        except IndexError:
            state.fill()
            continue
        if not state.may_end:
            raise ValueError("a Huffman string with EOS inside, or cut in the middle of a symbol")
        return b"".join(pieces)
