"""Server-sent events: a phone whose app is awake hears at once that its call is over.

Everything is read from the ledger, where the timeline numbers what happened: so a stream resumes by
Last-Event-ID after any break, a restart included, and a slow reader costs no memory.
Format: WHATWG HTML, section 9.2 "Server-sent events".
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

import msgspec
import structlog
from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge import bundles
from bridge.api.answers import problem
from bridge.api.phone import shapes, telling
from bridge.api.phone.incidents import view
from bridge.api.phone.operations import Answer, Asked, Operation
from bridge.clock import set_within
from bridge.desk import Desk
from bridge.store import enrolment, owned
from bridge.store.enrolment import Enrolled
from bridge.store.owned import View
from bridge.store.tx import load_incidents

_KEEP_ALIVE: Final = 15.0
"""Seconds of real time between signs of life: proxies cut what is silent, and we notice who is gone."""

_BATCH: Final = 100
_STREAMS: Final = 1000
_STREAMS_OF_ONE: Final = 4
_SHARE: Final = 3
"""All streams together rest this many times as long as they look into the ledger: a storm is the sender's."""

_REST: Final = 3.0
"""Seconds that a stream rests at most."""

_WRITE: Final = 10.0
"""Seconds that a phone may take to read what was written."""

_LAST: Final = {
    "type": "string",
    "pattern": "^[0-9]{1,18}$",
    "description": "The id of the last event heard: what came after it is told. Absent: what is new.",
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Look:
    """What a stream found: calls that are over, and what happened, each as (id, text)."""

    over: Sequence[shapes.CallOver]
    news: Sequence[tuple[int, str]]


class Streams:
    """The open streams. `wake` after every commit that may concern somebody."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._open: dict[asyncio.Event, str] = {}
        self._closing = asyncio.Event()

    def operations(self) -> list[Operation]:
        """Give the operation."""
        return [
            Operation(
                "events",
                "GET",
                "/api/v1/events",
                self.stream,
                "Hear what happens, as server-sent events: `incident` (Happened), `call_ended` (CallOver)",
                "text/event-stream",
                refusals=(400,),
                parameters=(("Last-Event-ID", "header", _LAST),),
            )
        ]

    def wake(self, _: datetime | None = None) -> None:
        """Look for news."""
        for event in self._open:
            event.set()

    async def close(self, _: web.Application) -> None:
        """End every stream: the listener stops."""
        self._closing.set()
        self.wake()

    async def stream(self, asked: Asked) -> Answer:
        """Tell what happens until the phone goes."""
        last = asked.request.headers.get("Last-Event-ID", "").strip()
        if last and not (last.isascii() and last.isdigit() and len(last) < 19):
            return problem(400, "Last-Event-ID is not an id of this stream")
        mine = sum(name == asked.sender.name for name in self._open.values())
        if len(self._open) >= _STREAMS or mine >= _STREAMS_OF_ONE or self._closing.is_set():
            return problem(503, "too many event streams are open", "close another one of this phone")
        woken = asyncio.Event()
        self._open[woken] = asked.sender.name
        self._desk.metrics.streams.set(len(self._open))
        try:
            newest = await self._desk.store.ask(owned.newest_event)
            # An id that is yet to come is another ledger's: what it counted, nobody knows.
            return await self._serve(asked, min(int(last), newest) if last else newest, woken)
        finally:
            del self._open[woken]
            self._desk.metrics.streams.set(len(self._open))

    async def _serve(self, asked: Asked, since: int, woken: asyncio.Event) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",  # nginx would hold events back
            }
        )
        await response.prepare(asked.request)
        try:
            async with aclosing(self._tell(asked.sender, since, woken)) as texts:
                async for text in texts:
                    async with asyncio.timeout(_WRITE):
                        await response.write(text.encode())
        except TimeoutError:
            log.warning("event stream cut off: its phone does not read", device=asked.sender.name)
            if asked.request.transport is not None:
                asked.request.transport.abort()  # it would not read the end either
        except ConnectionError:
            pass  # a phone that hangs up is no error
        except Exception:  # the answer has begun: all that can be said is its end, and the phone comes again
            log.exception("an event stream broke off", device=asked.sender.name)
        return response

    async def _tell(self, device: Enrolled, last: int, woken: asyncio.Event) -> AsyncGenerator[str, None]:
        ended: set[str] = set()
        yield f": welcome\nretry: 1000\nid: {last}\n\n"
        while not self._closing.is_set():
            woken.clear()
            began = time.monotonic()
            found = await self._desk.store.read(partial(self._look, device=device, last=last))
            rest = min((time.monotonic() - began) * len(self._open) * _SHARE, _REST)
            if found is None:
                return
            for shape in found.over:
                if shape.call not in ended:
                    ended.add(shape.call)
                    yield _event("call_ended", shape)
            for number, text in found.news:
                last = number
                yield text
            await set_within(self._closing, rest)
            if len(found.news) < _BATCH and not await set_within(woken, _KEEP_ALIVE):
                yield ": still here\n\n"

    async def _look(self, connection: AsyncConnection, device: Enrolled, last: int) -> _Look | None:
        """Look once; None: the enrolment does not stand any more."""
        if not await enrolment.stands(connection, device):
            return None
        over = await _over(connection, device, self._desk.clock.now())
        return _Look(over, await _news(connection, view(self._desk, device), last))


async def _over(connection: AsyncConnection, device: Enrolled, now: datetime) -> list[shapes.CallOver]:
    found = []
    for call in await owned.live_calls(connection, device.name, now):
        if await owned.awaited(connection, call):
            continue
        ids = [incident for incident, _ in call.carries]
        known = {one.id: one for one in await load_incidents(connection, ids)}
        end = bundles.over(call, known, await owned.series_of(connection, call.id))
        if end is not None:
            found.append(shapes.CallOver(call.id, call.uuid, *end))
    return found


async def _news(connection: AsyncConnection, seen: View, last: int) -> list[tuple[int, str]]:
    rows = await owned.events_after(connection, seen, last, _BATCH)
    ids = sorted({row["incident_id"] for row in rows})
    known = {one.id: telling.incident(one) for one in await load_incidents(connection, ids)}
    return [
        (
            row["id"],
            _event("incident", shapes.Happened(telling.event(row), known[row["incident_id"]]), row["id"]),
        )
        for row in rows
    ]


def _event(kind: str, shape: msgspec.Struct, number: int | None = None) -> str:
    data = msgspec.json.encode(shape).decode()
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {kind}\ndata: {data}\n\n"
