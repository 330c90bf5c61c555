"""Troubles that a client of APNs can meet, as servers and pushes to them.

What went wrong is a set of words: hung (no outcome past the deadline), raised (an exception instead of an
outcome), repeated (the server got a push again that it had got whole), false (an outcome that is not true),
dragged along (a push on a connection without trouble), starved, endless, forgetful.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import hpack
from apnsworld import push
from clients import DEADLINE, Client
from h2.settings import SettingCodes
from peer import PATIENCE, Link, Peer, Request, accept, silence

from bridge.apns import framing
from bridge.apns.framing import ErrorCode, frame


def silent() -> None:
    """Cut nothing."""


@dataclass
class Report:
    """What became of the pushes, as far as one knows."""

    client: Client
    peer: Peer
    sends: dict[int, asyncio.Task[str]] = field(default_factory=dict)
    faults: set[str] = field(default_factory=set)
    spared: set[int] = field(default_factory=set)  # pushes on connections that have no trouble
    cut: Callable[[], None] = silent

    def begin(self, *numbers: int, size: int = 10, deadline: float = DEADLINE) -> list[asyncio.Task[str]]:
        tasks = [asyncio.create_task(self.client.send(n, size=size, deadline=deadline)) for n in numbers]
        self.sends.update(zip(numbers, tasks, strict=True))
        return tasks

    async def accepted(self, *numbers: int) -> None:
        """Send pushes that must be taken, before the trouble begins."""
        sends = [self.client.send(number, deadline=PATIENCE) for number in numbers]
        assert set(await asyncio.wait_for(asyncio.gather(*sends), PATIENCE)) == {"accepted"}
        await self.arrived(len(numbers))

    async def arrived(self, count: int) -> list[Request]:
        """Wait until the server has got so many pushes whole."""
        return [await self.peer.next() for _ in range(count)]

    async def judge(self) -> set[str]:
        if self.sends:
            await asyncio.wait(self.sends.values(), timeout=self.client.patience)
        seen = Counter(request.headers["apns-id"] for request in self.peer.requests)
        for number, task in self.sends.items():
            if not task.done():
                self.faults.add("hung")
            elif not task.cancelled() and task.exception() is not None:
                self.faults.add("raised")
            elif not task.cancelled():
                self._compare(number, task.result(), seen[push(number).apns_id])
        if any(count > 1 for count in seen.values()):
            self.faults.add("repeated")
        return self.faults

    def _compare(self, number: int, outcome: str, seen: int) -> None:
        if number in self.spared and outcome != "accepted":
            self.faults.add("dragged along")
        if (outcome == "certain" and seen) or (outcome in {"accepted", "refused"} and not seen):
            self.faults.add("false")

    async def end(self) -> None:
        for task in self.sends.values():
            task.cancel()
        await asyncio.gather(*self.sends.values(), return_exceptions=True)


Trouble = Callable[[Report], Awaitable[None]]
TROUBLES: Final[dict[str, tuple[Trouble, str, dict[SettingCodes, int]]]] = {}


def trouble(name: str, fault: str, **settings: int) -> Callable[[Trouble], Trouble]:
    """Register one: its name, and the fault that aioapns shows in it."""

    def register(function: Trouble) -> Trouble:
        TROUBLES[name] = function, fault, {SettingCodes[key]: value for key, value in settings.items()}
        return function

    return register


# --- the ten faults of aioapns ----------------------------------------------------------------


@trouble("1: an answer is lost", "hung")
async def lost_answer(report: Report) -> None:
    await report.accepted(0)

    def script(link: Link, request: Request) -> None:
        if not request.headers[":path"].endswith("7"):
            accept(link, request)

    report.peer.script = script
    report.begin(*range(1, 20))


@trouble("2: one of many senders gives up, then the connection ends", "hung")
async def given_up(report: Report) -> None:
    await report.accepted(0)
    report.peer.script = silence
    tasks = report.begin(*range(1, 20), deadline=PATIENCE)
    for request in await report.arrived(19):
        link = request.link
    tasks[3].cancel()
    await asyncio.sleep(0)
    for link in report.peer.links:
        link.writer.transport.abort()


@trouble("2: the answer comes after its sender gave up", "repeated")
async def late_answer(report: Report) -> None:
    await report.accepted(0)
    report.peer.script = silence
    first, *_ = report.begin(1, 2, deadline=PATIENCE)
    held = {request.headers["apns-id"]: request for request in await report.arrived(2)}
    first.cancel()
    await asyncio.sleep(0)
    report.peer.script = accept
    for number in (1, 2):
        request = held[push(number).apns_id]
        if request.reset is None:
            with contextlib.suppress(Exception):  # h2 knows by now that ours has reset it
                request.link.answer(request)
        if number == 1:
            await asyncio.sleep(0.05)


@trouble("3: a stream is reset", "hung")
async def reset(report: Report) -> None:
    def script(link: Link, request: Request) -> None:
        link.h2.reset_stream(request.stream_id, ErrorCode.INTERNAL_ERROR)

    report.peer.script = script
    report.begin(1, 2)


@trouble("4: the server goes away while pushes are in flight", "repeated")
async def goaway(report: Report) -> None:
    await report.accepted(0)
    report.peer.script = silence
    report.begin(*range(1, 21), deadline=PATIENCE)
    held = await report.arrived(20)
    report.peer.script = accept
    for link in report.peer.links:
        link.raw(framing.goaway(2**31 - 1, ErrorCode.NO_ERROR, ""))
    for request in held:
        request.link.answer(request)


@trouble("5: a body is larger than the window", "hung", INITIAL_WINDOW_SIZE=100)
async def window(report: Report) -> None:
    await report.accepted(0)
    report.begin(1, size=5_000, deadline=PATIENCE)


@trouble("5: errors have long bodies", "hung")
async def long_errors(report: Report) -> None:
    text = b'{"reason":"BadPriority","why":"' + b"x" * 9_000 + b'"}'

    def script(link: Link, request: Request) -> None:
        if link.h2.local_flow_control_window(request.stream_id) > len(text):
            link.answer(request, 400, text)

    report.peer.script = script
    for number in range(12):
        _, hung = await asyncio.wait(report.begin(number, deadline=PATIENCE), timeout=report.client.patience)
        if hung:
            return


@trouble("6: the stream limit rises from one", "starved", MAX_CONCURRENT_STREAMS=1)
async def rise(report: Report) -> None:
    await report.accepted(0)
    report.peer.script = silence
    for link in report.peer.links:
        link.change(MAX_CONCURRENT_STREAMS=1_000)
    report.begin(*range(1, 51), deadline=1.0)
    try:
        await asyncio.wait_for(report.arrived(50), report.client.patience)
    except TimeoutError:
        report.faults.add("starved")


@trouble("8: an error has no body", "hung")
async def no_body(report: Report) -> None:
    def script(link: Link, request: Request) -> None:
        link.answer(request, 500)

    report.peer.script = script
    report.begin(1)


@trouble("8: an error is a page of HTML", "repeated")
async def html(report: Report) -> None:
    def script(link: Link, request: Request) -> None:
        link.answer(request, 502, b"<html><body>Bad Gateway</body></html>")

    report.peer.script = script
    report.begin(1)


@trouble("8: an answer's body comes in two frames", "repeated")
async def split(report: Report) -> None:
    def script(link: Link, request: Request) -> None:
        link.h2.send_headers(request.stream_id, [(":status", "410"), ("apns-id", request.headers["apns-id"])])
        link.h2.send_data(request.stream_id, b'{"reason":"Unre')
        link.h2.send_data(request.stream_id, b'gistered"}', end_stream=True)

    report.peer.script = script
    report.begin(1)


@trouble("8: two pushes have one apns-id", "hung")
async def one_name(report: Report) -> None:
    await report.accepted(0)
    report.peer.script = silence
    first = asyncio.create_task(report.client.send(1, deadline=PATIENCE))
    second = asyncio.create_task(report.client.send(1, deadline=PATIENCE))
    for request in await report.arrived(2):
        request.link.answer(request)
    report.peer.requests.clear()  # the same name twice is what was asked for
    report.sends = {0: first, 1: second}
    report.peer.requests += [Request(report.peer.links[0], 1, {"apns-id": push(n).apns_id}) for n in (0, 1)]


@trouble("9: pushes were answered long ago", "forgetful")
async def answered(report: Report) -> None:
    await report.accepted(*range(100))
    if report.client.kept:
        report.faults.add("forgetful")


@trouble("9: another connection opens", "forgetful", MAX_CONCURRENT_STREAMS=1)
async def tokens(report: Report) -> None:
    await report.accepted(0)
    for link in report.peer.links:
        link.writer.transport.abort()
    await report.accepted(1) if report.client.name == "aioapns" else await until_accepted(report, 1)
    if len({request.headers["authorization"] for request in report.peer.requests}) > 1:
        report.faults.add("forgetful")


async def until_accepted(report: Report, number: int) -> None:
    """Send until the news has come that the old connection is gone."""
    async with asyncio.timeout(PATIENCE):
        while await report.client.send(number) != "accepted":
            number += 100


@trouble("10: one attempt is wanted, no more", "false")
async def expiration(report: Report) -> None:
    await report.accepted(0)
    if report.peer.requests[0].headers["apns-expiration"] != "0":
        report.faults.add("false")


# --- and ten more -----------------------------------------------------------------------------


async def in_flight(report: Report) -> Link:
    """Bring ten pushes onto the way, and give a connection that has some of them."""
    await report.accepted(0, 1)
    report.peer.script = silence
    report.begin(*range(2, 12), deadline=PATIENCE)
    held = await report.arrived(10)
    bad = held[0].link
    report.peer.script = accept
    for request in held:
        if request.link is not bad:
            report.spared.add(int(request.headers[":path"][10:], 16))
            request.link.answer(request)
    assert report.spared or report.client.name == "aioapns"
    return bad


@trouble("a peer freezes", "hung")
async def frozen(report: Report) -> None:
    (await in_flight(report)).writer.transport.pause_reading()


async def half_a_request(peer: Peer) -> None:
    while not any(not request.whole for link in peer.links for request in link.requests.values()):  # noqa: ASYNC110 - h2 has no event for it
        await asyncio.sleep(0.005)


@trouble("the network is cut without a word", "hung")
async def half_open(report: Report) -> None:
    await in_flight(report)
    report.spared.clear()
    report.cut()


@trouble("a stream is reset in the middle of a request's body", "hung", INITIAL_WINDOW_SIZE=100)
async def reset_in_request(report: Report) -> None:
    await report.accepted(0)
    report.peer.credit = False
    tasks = report.begin(1, size=5_000, deadline=PATIENCE)
    with contextlib.suppress(TimeoutError):  # aioapns does not even send what it has begun
        await asyncio.wait_for(half_a_request(report.peer), report.client.patience)
    for link in report.peer.links:
        for request in link.requests.values():
            if not request.whole:
                link.h2.reset_stream(request.stream_id, ErrorCode.INTERNAL_ERROR)
                link.flush()
    await asyncio.wait(tasks, timeout=report.client.patience)
    if report.client.name == "ours":
        assert tasks[0].result() == "certain"


@trouble("the connection is reset in the middle of an answer's body", "repeated")
async def reset_in_answer(report: Report) -> None:
    link = await in_flight(report)
    stream_id = max(link.requests)
    link.raw(
        framing.header_frames(stream_id, b"\x8c", 0, 16_384) + frame(framing.DATA, 0, stream_id, b'{"rea')
    )
    await asyncio.sleep(0.02)
    linger = struct.pack("ii", 1, 0)
    raw = link.writer.get_extra_info("socket")
    if raw is not None:  # aioapns has closed it by itself: half an answer is no JSON
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    link.writer.transport.abort()


@trouble("TLS is closed", "repeated")
async def tls_close(report: Report) -> None:
    (await in_flight(report)).writer.close()


@trouble("garbage comes", "hung")
async def garbage(report: Report) -> None:
    (await in_flight(report)).raw(b"\xff\xfe\xfd" * 100)


async def flood(report: Report, data: Callable[[Link], bytes]) -> None:
    """Send without end to a client that has pushes in flight, and look when it has enough."""
    link = await in_flight(report)
    for _ in range(200):
        link.raw(data(link))
        await asyncio.sleep(0)
        if link.gone.is_set():
            break
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(link.gone.wait(), report.client.patience)
    if not link.gone.is_set():
        report.faults.add("endless")


@trouble("a flood of PING", "endless")
async def pings(report: Report) -> None:
    await flood(report, lambda _: frame(framing.PING, 0, 0, bytes(8)) * 50)


@trouble("a flood of SETTINGS", "endless")
async def settings(report: Report) -> None:
    await flood(report, lambda _: framing.settings({}) * 50)


@trouble("a flood of empty frames", "repeated")
async def empty(report: Report) -> None:
    begun = False

    def data(link: Link) -> bytes:
        nonlocal begun
        stream_id = max(link.requests)
        head = b"" if begun else framing.header_frames(stream_id, b"\x88", 0, 16_384)
        begun = True
        return head + frame(framing.DATA, 0, stream_id) * 50

    await flood(report, data)


@trouble("an endless header block", "repeated")
async def endless_block(report: Report) -> None:
    link = await in_flight(report)
    link.raw(frame(framing.HEADERS, 0, max(link.requests), b"\x88"))
    link.raw(frame(framing.CONTINUATION, 0, max(link.requests), bytes(16_000)) * 100)


@trouble("an HPACK bomb", "repeated")
async def bomb(report: Report) -> None:
    link = await in_flight(report)
    stored = hpack.Encoder().encode([(":status", "103"), ("x", "y" * 4_000)])
    stream_id = max(link.requests)
    link.raw(framing.header_frames(stream_id, stored, 0, 16_384))
    link.raw(framing.header_frames(stream_id, b"\xbe" * 16_000, 0, 16_384))
