"""Drills in the ledger: those that stand in the way of something real."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.store.tables import OPEN_DRILL, incidents, pages

_RINGS: Final = ("ring", "fallback")


async def in_the_way(connection: AsyncConnection) -> tuple[str, ...]:
    """List the drills that ring a phone, or would, for which a page that is no drill's waits."""
    drilled = select(incidents.c.id).where(OPEN_DRILL & (incidents.c.state == "triggered"))
    if (await connection.execute(drilled.limit(1))).first() is None:
        return ()
    real = pages.alias()
    due = (real.c.state != "settled") & ~real.c.drill & real.c.kind.in_(_RINGS)
    found = await connection.execute(
        select(pages.c.incident_id)
        .join(real, real.c.target == pages.c.target)
        .where(pages.c.incident_id.in_(drilled) & pages.c.kind.in_(_RINGS) & due)
        .distinct()
    )
    return tuple(found.scalars())
