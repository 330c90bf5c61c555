"""Server-sent events: a phone whose app is awake hears at once that its call is over.

Everything is read from the ledger, where the timeline numbers what happened: so a stream resumes by
Last-Event-ID after any break, a restart included, and a slow reader costs no memory.
Format: WHATWG HTML, section 9.2 "Server-sent events".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import Final

import msgspec
from aiohttp import web
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge import bundles
from bridge.api.answers import problem
from bridge.api.phone import shapes, telling
from bridge.api.phone.incidents import view
from bridge.api.phone.operations import Answer, Asked, Operation
from bridge.desk import Desk
from bridge.store import enrolment, owned
from bridge.store.enrolment import Enrolled
from bridge.store.tx import load_incidents

_KEEP_ALIVE: Final = 15.0
"""Seconds of real time between signs of life: proxies cut what is silent, and we notice who is gone."""

_BATCH: Final = 100
_STREAMS: Final = 1000
_STREAMS_OF_ONE: Final = 4
_WRITE: Final = 10.0
"""Seconds that a phone may take to read what was written."""


class Streams:
    """The open streams. `wake` after every commit that may concern somebody."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._open: dict[asyncio.Event, str] = {}
        self._closing = False

    def operations(self) -> list[Operation]:
        """Give the operation."""
        return [
            Operation(
                "events",
                "GET",
                "/api/v1/events",
                self.stream,
                "Hear what happens, as server-sent events: `incident` and `call_ended`",
                "text/event-stream",
                refusals=(400, 503),
            )
        ]

    def wake(self) -> None:
        """Look for news."""
        for event in self._open:
            event.set()

    async def close(self, _: web.Application) -> None:
        """End every stream: the listener stops."""
        self._closing = True
        self.wake()

    async def stream(self, asked: Asked) -> Answer:
        """Tell what happens until the phone goes."""
        last = asked.request.headers.get("Last-Event-ID", "").strip()
        if last and not (last.isascii() and last.isdigit() and len(last) < 19):
            return problem(400, "Last-Event-ID is not an id of this stream")
        mine = sum(name == asked.sender.name for name in self._open.values())
        if len(self._open) >= _STREAMS or mine >= _STREAMS_OF_ONE or self._closing:
            return problem(503, "too many event streams are open", "close another one of this phone")
        since = int(last) if last else await self._desk.store.read(owned.newest_event)
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",  # nginx would hold events back
            }
        )
        woken = asyncio.Event()
        self._open[woken] = asked.sender.name
        try:
            await response.prepare(asked.request)
            # A phone that hangs up is no error, and aiohttp cancels us where it notices first.
            with contextlib.suppress(ConnectionError, TimeoutError):
                async for text in self._tell(asked.sender, since, woken):
                    async with asyncio.timeout(_WRITE):
                        await response.write(text.encode())
        finally:
            del self._open[woken]
        return response

    async def _tell(self, device: Enrolled, last: int, woken: asyncio.Event) -> AsyncIterator[str]:
        ended: set[str] = set()
        yield f": welcome\nretry: 1000\nid: {last}\n\n"
        while not self._closing:
            woken.clear()
            if not await self._desk.store.read(partial(enrolment.list_devices, only=device.name)):
                return  # revoked
            for row, text in await self._news(device, last):
                last = row["id"]
                yield text
            async for text in self._calls(device, ended):
                yield text
            if not woken.is_set() and not await _set_within(woken, _KEEP_ALIVE):
                yield ": still here\n\n"

    async def _news(self, device: Enrolled, last: int) -> list[tuple[RowMapping, str]]:
        async def query(connection: AsyncConnection) -> list[tuple[RowMapping, str]]:
            rows = await owned.events_after(connection, view(self._desk, device), last, _BATCH)
            ids = sorted({row["incident_id"] for row in rows})
            known = {one.id: telling.incident(one) for one in await load_incidents(connection, ids)}
            told = []
            for row in rows:
                shape = shapes.Happened(telling.event(row), known[row["incident_id"]])
                told.append((row, _event("incident", shape, row["id"])))
            return told

        return await self._desk.store.read(query)

    async def _calls(self, device: Enrolled, ended: set[str]) -> AsyncIterator[str]:
        now = self._desk.clock.now()

        async def query(connection: AsyncConnection) -> list[shapes.CallOver]:
            over = []
            for call in await owned.live_calls(connection, device.name, now):
                ids = [incident for incident, _ in call.carries]
                found = {one.id: one for one in await load_incidents(connection, ids)}
                end = bundles.over(call, found, await owned.series_of(connection, call.id))
                if end is not None:
                    over.append(shapes.CallOver(call.id, call.uuid, *end))
            return over

        for shape in await self._desk.store.read(query):
            if shape.call not in ended:
                ended.add(shape.call)
                yield _event("call_ended", shape)


def _event(kind: str, shape: msgspec.Struct, number: int | None = None) -> str:
    data = msgspec.json.encode(shape).decode()
    head = "" if number is None else f"id: {number}\n"
    return f"{head}event: {kind}\ndata: {data}\n\n"


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True
