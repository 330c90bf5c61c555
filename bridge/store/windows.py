"""The windows of an audit: what they are about, what they find, and where the next one begins."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.store.invariants import Row

WINDOW: Final = 200
"""Rows judged in one read."""


@dataclass(frozen=True, slots=True)
class Span:
    """What is audited: what came, or was open, from `since` until `until`, looked at at `now`."""

    since: datetime
    until: datetime
    now: datetime


@dataclass(frozen=True, slots=True)
class Finding:
    """What breaks an invariant. `of` says of what kind `id` is; `incident` is None where it is not known."""

    check: str
    of: str
    id: str
    incident: str | None
    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class Window:
    """What one read judged; `last` is the key to go on after, None where that was all."""

    checked: int
    findings: tuple[Finding, ...]
    last: str | None


Look: TypeAlias = Callable[[AsyncConnection, Span, str], Awaitable[Window]]
"""Judges the window of a span that begins after a key."""


def last(keys: Sequence[Any]) -> str | None:
    """Give where to go on after a window of these keys."""
    return str(keys[-1]) if len(keys) == WINDOW else None


async def rows_of(connection: AsyncConnection, query: Select[Any]) -> Sequence[Row]:
    """Load the rows of a window."""
    found: Sequence[Row] = (await connection.execute(query)).mappings().all()
    return found
