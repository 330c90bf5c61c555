"""Bytes that no honest client sends, on both listeners: nothing is smuggled behind a request, nothing grows."""

import asyncio
import re
from typing import Final

import pytest
import yarl
from appworld import World

_PATHS: Final = {"web": "/webhook", "phone": "/api/v1/enrol"}
_HEAD: Final = b"POST %s HTTP/1.1\r\nHost: b\r\n"
_TWO: Final = b"Content-Length: 2\r\n\r\n{}"
_CHUNKED: Final = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
_HIDDEN: Final = b"GET /-/healthy HTTP/1.1\r\nHost: b\r\n\r\n"

REFUSED: Final = {
    "a length and chunks": _HEAD
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + _HIDDEN,
    "chunks and a length": _HEAD
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"
    + _HIDDEN,
    "two lengths": _HEAD + b"Content-Length: 0\r\nContent-Length: 40\r\n\r\n" + _HIDDEN,
    "the same length twice": _HEAD + b"Content-Length: 2\r\n" + _TWO,
    "a list of lengths": _HEAD + b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": _HEAD + b"Content-Length: +2\r\n\r\n{}",
    "a length below zero": _HEAD + b"Content-Length: -2\r\n\r\n{}",
    "a length in hex": _HEAD + b"Content-Length: 0x2\r\n\r\n{}",
    "a length that nobody can hold": _HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "an unknown transfer coding": _HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked, but not last": _HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": _HEAD + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n" + _HIDDEN,
    "space before the colon": _HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST %s HTTP/1.0\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    + _HIDDEN,
    "a folded header": _HEAD + b"X-A: a\r\n b\r\n" + _TWO,
    "a folded length": _HEAD + b"Content-Length:\r\n 2\r\n\r\n{}",
    "lines without CR": (_HEAD + _TWO).replace(b"\r\n", b"\n"),
    "one line without CR": _HEAD + b"X: a\n" + _TWO,
    "a CR in a value": _HEAD + b"X: a\r" + _TWO,
    "a NUL in a value": _HEAD + b"X: a\x00b\r\n" + _TWO,
    "no host": b"POST %s HTTP/1.1\r\n" + _TWO,
    "two hosts": _HEAD + b"Host: c\r\n" + _TWO,
    "a huge value": _HEAD + b"X: " + b"a" * 9000 + b"\r\n" + _TWO,
    "a huge name": _HEAD + b"a" * 9000 + b": 1\r\n" + _TWO,
    "a huge path": b"POST %s?" + b"a" * 9000 + b" HTTP/1.1\r\nHost: b\r\n" + _TWO,
    "many headers": _HEAD + b"X: a\r\n" * 200 + _TWO,
    "headers without an end": _HEAD + (b"X: " + b"a" * 1000 + b"\r\n") * 5000,
    "a chunk below zero": _CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk with 0x": _CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk that nobody can hold": _CHUNKED + b"fffffffffffffffff2\r\n{}\r\n0\r\n\r\n",
    "a chunk without CR": _CHUNKED + b"2\n{}\n0\n\n",
    "a chunk extension without CR": _CHUNKED + b"2;\n{}\r\n0\r\n\r\n",
    "a chunk longer than it says": _CHUNKED + b"2\r\n{}xx0\r\n\r\n",
    "trailers that set a length": _CHUNKED + b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n" + _HIDDEN,
    "trailers without an end": _CHUNKED + b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 100_000,
    "HTTP/2 from the start": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version that there is not": b"POST %s HTTP/9.9\r\nHost: b\r\n\r\n",
    "a method beyond ASCII": b"P\xc3\xb6ST %s HTTP/1.1\r\nHost: b\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}
"""What is answered 400, and the connection closed: where the next request begins, nobody knows."""

# What is read as the standard says: so many answers, the connection stays.
READ: Final = {
    "a chunk extension": (_CHUNKED + b"2;a=" + b"b" * 5000 + b"\r\n{}\r\n0\r\n\r\n" + _HIDDEN, 2),
    "one behind the other": (_HEAD + _TWO + _HIDDEN, 2),
    "a request in a body": (
        b"GET /-/healthy HTTP/1.1\r\nHost: b\r\nContent-Length: %d\r\n\r\n" % len(_HIDDEN) + _HIDDEN,
        1,
    ),
    "another host in the path": (b"POST http://evil%s HTTP/1.1\r\nHost: b\r\n" + _TWO, 1),
    "a line break in a path": (b"GET %s/a%%0d%%0aX:b HTTP/1.1\r\nHost: b\r\n\r\n", 1),
}
_LAST: Final = b"GET /-/last HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"


async def say(world: World, listener: str, data: bytes) -> bytes:
    """Send bytes over a connection of its own; give all that comes until it is closed."""
    at = yarl.URL(world.url if listener == "web" else world.bridge.bound.phone)
    reader, writer = await asyncio.open_connection(at.host, at.port)
    got = b""
    try:
        async with asyncio.timeout(30):
            writer.write(data.replace(b"%s", _PATHS[listener].encode()).replace(b"%%", b"%"))
            while part := await reader.read(65536):
                got += part
    except ConnectionError:  # it was closed while we still spoke
        pass
    finally:
        writer.close()
    return got


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answer)]


@pytest.mark.parametrize("listener", _PATHS)
async def test_what_could_be_read_in_two_ways_is_refused_and_the_connection_closed(
    world: World, listener: str
) -> None:
    """A proxy in front and the bridge never disagree about where a request ends; what is huge is not read."""
    found = {name: statuses(await say(world, listener, data)) for name, data in REFUSED.items()}
    # Where we still speak when it closes, the answer may be lost on the way.
    lost = {name for name, codes in found.items() if "without an end" in name and codes == []}
    assert {name: codes for name, codes in found.items() if codes != [400]} == {name: [] for name in lost}
    assert (await world.get("/-/ready")).status == 200
    assert await world.incidents(closed=True) == []


@pytest.mark.parametrize("listener", _PATHS)
async def test_what_the_standard_allows_is_read_as_it_says(world: World, listener: str) -> None:
    for name, (data, count) in READ.items():
        codes = statuses(await say(world, listener, data + _LAST))
        assert len(codes) == count + 1, (name, codes)
        assert codes[-1] == 404, name
        assert not [code for code in codes if code >= 500], name


async def test_the_answer_to_what_is_no_http_is_plain_text_of_a_few_lines(world: World) -> None:
    """What was sent is shown to its sender alone, and never as a page that a browser would run."""
    answer = await say(world, "web", b"GET / HTTP/1.1\r\nHost: b\r\nX<script>alert(1)</script>: a\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: text/plain" in head
    assert len(body) < 1000
