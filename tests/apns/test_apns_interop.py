"""Servers that nobody here wrote, each in every way it can behave: each push has one outcome, and is seen once.

nghttp2 comes twice, as the program nghttpd and as the library: the program has few options, the
library does everything. Node's http2 is nghttp2 too, under a front of its own. h2 is the third.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from apnsworld import Connect, World, push, within
from peer import PATIENCE
from servers import SERVERS, Behaviour, missing

from bridge.apns import Transport, framing
from bridge.pushes import Accepted, Retryable

pytestmark = pytest.mark.real

LARGE: Final = 2**24 - 1
BEHAVIOURS: Final = {
    "small windows": Behaviour(window=1_023),
    "large windows": Behaviour(window=LARGE, connection_window=LARGE),
    "one stream": Behaviour(streams=1),
    "eight streams": Behaviour(streams=8),
    "a thousand streams": Behaviour(streams=1_000),
    "limits that change in flight": Behaviour(
        streams=8, limits=((20, 2), (40, 30), (90, 1), (100, 1_000)), delay=0.002
    ),
    "header table of size 0": Behaviour(table=0),
    "padded frames": Behaviour(padding=200),
    "continuation": Behaviour(long_field=20_000),
    "trailers": Behaviour(trailers=True),
    "1xx": Behaviour(interim=3),
    "goaway with streams in flight": Behaviour(goaway_at=30, delay=0.02),
    "goaway after an idle hour": Behaviour(),
}
# What a server cannot be made to do, and why. The library beside it can: no behaviour is without nghttp2.
CANNOT: Final = {
    ("nghttpd", "limits that change in flight"): "nghttpd sends SETTINGS once",
    ("nghttpd", "1xx"): "nghttpd has no interim answers",
    ("nghttpd", "goaway with streams in flight"): "nghttpd says GOAWAY only to those who broke the protocol",
    ("nghttpd", "goaway after an idle hour"): "nghttpd says GOAWAY only to those who broke the protocol",
}
# What must have come, or the behaviour was not shown; counted over all frames but whole answers.
Seen: TypeAlias = Counter[str]
SIGNS: Final[dict[str, Callable[[Seen, int], bool]]] = {
    "limits that change in flight": lambda seen, _: seen["settings"] >= 4,
    "padded frames": lambda seen, count: seen["padded"] >= count,
    "continuation": lambda seen, count: seen["continuation"] >= count,
    "trailers": lambda seen, count: seen["headers"] >= count,
    "1xx": lambda seen, count: seen["headers"] >= 3 * count,
    "goaway with streams in flight": lambda seen, _: seen["goaway"] >= 1,
    "goaway after an idle hour": lambda seen, _: seen["goaway"] >= 1,
}
CELLS: Final = [
    pytest.param(
        server,
        behaviour,
        marks=[pytest.mark.skip(reason=CANNOT[server, behaviour])] if (server, behaviour) in CANNOT else [],
        id=f"{server}, {behaviour}",
    )
    for server in SERVERS
    for behaviour in BEHAVIOURS
]
COUNT: Final = 120
NAMES: Final = {
    framing.HEADERS: "headers",
    framing.CONTINUATION: "continuation",
    framing.SETTINGS: "settings",
    framing.GOAWAY: "goaway",
}


def test_every_behaviour_is_shown_by_each_of_the_three() -> None:
    for behaviour in BEHAVIOURS:
        able = {server for server in SERVERS if (server, behaviour) not in CANNOT}
        assert able >= {"nghttp2", "node", "h2"}
    assert all(server in SERVERS and behaviour in BEHAVIOURS for server, behaviour in CANNOT)


async def deliver(transport: Transport, numbers: range, size: int) -> int:
    """Send as the outbox does, and again what was certainly not processed; give how many those were."""
    waiting, again = list(numbers), 0
    while waiting:
        requests = [push(n, token=f"{n % 100:064x}", payload=b"x" * size, timeout=PATIENCE) for n in waiting]
        outcomes = await asyncio.gather(*map(transport.send, requests))
        assert len(outcomes) == len(waiting)
        rest = [number for number, outcome in zip(waiting, outcomes, strict=True) if outcome != Accepted()]
        for outcome in outcomes:
            assert outcome == Accepted() or (
                isinstance(outcome, Retryable) and outcome.certainly_not_processed
            ), outcome
        again += len(rest)
        waiting = rest
    return again


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Count what the frame reader meets."""
    counts: Seen = Counter()
    real = framing.FrameReader._checked

    def counting(reader: Any, kind: int, flags: int, *rest: Any) -> Any:
        if kind != framing.SETTINGS or not flags & framing.ACK:
            counts[NAMES.get(kind, "other")] += 1
        counts["padded"] += kind in (framing.DATA, framing.HEADERS) and bool(flags & framing.PADDED)
        return real(reader, kind, flags, *rest)

    monkeypatch.setattr(framing.FrameReader, "_checked", counting)
    return counts


@pytest.mark.asyncio(loop_factories=["asyncio"])  # one is enough, and uvloop's clock cannot be moved
@pytest.mark.parametrize(("server", "behaviour"), CELLS)
async def test_each_push_has_one_outcome_and_the_server_saw_it_once(
    *,
    world: World,
    connect: Connect,
    unused_port: int,
    tmp_path: Path,
    server: str,
    behaviour: str,
    monkeypatch: pytest.MonkeyPatch,
    seen: Seen,
) -> None:
    lacking = missing(server)
    if lacking is not None:
        pytest.skip(lacking)
    how = BEHAVIOURS[behaviour]
    async with SERVERS[server](world, how, tmp_path, unused_port) as served:
        transport = await connect(served.url, max_connections=2)
        assert transport.usable, transport.last_error
        count = 15 if how.long_field else COUNT
        again = await within(deliver(transport, range(count), 5_000))
        if behaviour == "goaway after an idle hour":
            an_hour_passes(monkeypatch)
            left = transport._pools[0].connections[:]
            await served.go_away()
            await within(asyncio.gather(*(connection.closed for connection in left)))
            again += await within(deliver(transport, range(count, count + 10), 5_000))
            count += 10
        # A server may refuse what was under way when it lowered its limit; what it refuses, it does not process.
        assert again > 0 if how.goaway_at else again == 0 or how.limits
        assert await served.processed() == Counter(push(number).apns_id for number in range(count))
        assert SIGNS.get(behaviour, lambda *_: True)(seen, count), seen
        assert transport.streams_in_flight == 0
        assert transport.waiting == 0


def an_hour_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the event loop's clock jump, and with it every timer of the transport."""
    loop: Any = asyncio.get_running_loop()
    real = loop.time
    monkeypatch.setattr(loop, "time", lambda: real() + 3_600)
