"""Requests that a phone may repeat: each has one effect."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.store.tables import actions


@dataclass(frozen=True, slots=True)
class Once:
    """Names a request: the device it comes from, and the id that the device gave it."""

    device: str
    event_id: str


async def first(connection: AsyncConnection, once: Once, now: datetime) -> bool:
    """Note the request; False where it was noted before."""
    key = (actions.c.device == once.device) & (actions.c.event_id == once.event_id)
    if (await connection.execute(select(actions.c.at).where(key))).first() is not None:
        return False
    await connection.execute(actions.insert(), {"device": once.device, "event_id": once.event_id, "at": now})
    return True
