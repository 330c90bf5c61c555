"""The audit: walks the ledger in small windows, and names what breaks one of the invariants.

Every window is a short read of its own, beside the writer: however large the ledger is, the audit holds up
nobody and keeps no more in memory than one window.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.store.looks import LOOKS
from bridge.store.tables import meta
from bridge.store.windows import Finding, Span, Window

_PATIENCE: Final = 0.5
"""Seconds of work in one slice: the answer to one request."""

_MOST: Final = 1000
"""Findings in one slice, about: whoever has so many needs no more to begin with."""

_BEGAN: Final = "audited since"

_Read: TypeAlias = Callable[[Callable[[AsyncConnection], Awaitable[Window]]], Awaitable[Window]]


class NoSuchPlace(ValueError):
    """Nothing can go on from there."""


@dataclass(slots=True)
class Slice:
    """A part of an audit: how many of each kind were judged, and from where to go on (None: it is over)."""

    checked: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    next: str | None = ""


async def begin(connection: AsyncConnection, now: datetime) -> None:
    """Note since when notifications are recorded, at the first start that records them."""
    if await began(connection) is None:
        await connection.execute(meta.insert(), {"name": _BEGAN, "value": now.isoformat()})


async def began(connection: AsyncConnection) -> datetime | None:
    """Give since when notifications are recorded."""
    found = (await connection.execute(select(meta.c.value).where(meta.c.name == _BEGAN))).scalar()
    return None if found is None else datetime.fromisoformat(found)


async def verify(read: _Read, span: Span, after: str = "") -> Slice:
    """Audit a slice of the ledger, from where the last one ended. Raises NoSuchPlace."""
    found = Slice(next=after)
    end = time.monotonic() + _PATIENCE
    while True:
        begun = time.monotonic()
        await _step(read, span, found)
        if found.next is None or time.monotonic() > end or len(found.findings) >= _MOST:
            return found
        # Half of the time belongs to the others.
        await asyncio.sleep(time.monotonic() - begun)


async def _step(read: _Read, span: Span, found: Slice) -> None:
    name, key = _place(found.next or "")

    window = await read(lambda connection: LOOKS[name](connection, span, key))
    found.findings += window.findings
    if window.checked:
        found.checked[name] += window.checked
    found.next = f"{name}:{window.last}" if window.last is not None else _following(name)


def _place(text: str) -> tuple[str, str]:
    name, _, key = text.partition(":")
    name = name or next(iter(LOOKS))
    if name not in LOOKS or (key and name == "notifications" and not key.isdecimal()):
        raise NoSuchPlace(text)
    return name, key


def _following(name: str) -> str | None:
    names = list(LOOKS)
    place = names.index(name) + 1
    return f"{names[place]}:" if place < len(names) else None
