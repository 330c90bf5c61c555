"""Pages that did not get to their target, for whoever wants them sent again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.incidents import Page
from bridge.store import rows
from bridge.store.tables import pages


async def pages_of(
    connection: AsyncConnection, incident_id: str, since: datetime, until: datetime, outcomes: Iterable[str]
) -> list[tuple[Page, str]]:
    """List an incident's pages that were made in a span and had one of these outcomes, with that."""
    made = (pages.c.created_at >= since) & (pages.c.created_at <= until)
    mine = made & (pages.c.incident_id == incident_id) & pages.c.outcome.in_(list(outcomes))
    found = await connection.execute(select(pages).where(mine).order_by(pages.c.created_at, pages.c.id))
    return [(rows.page(row), row["outcome"]) for row in found.mappings()]


async def incidents_of(
    connection: AsyncConnection,
    since: datetime,
    until: datetime,
    outcomes: Iterable[str],
    after: str,
    limit: int,
) -> list[str]:
    """List incidents, by id, of which pages were made in a span and had one of these outcomes."""
    made = (pages.c.created_at >= since) & (pages.c.created_at <= until)
    mine = made & pages.c.outcome.in_(list(outcomes)) & (pages.c.incident_id > after)
    found = select(pages.c.incident_id).where(mine).distinct().order_by(pages.c.incident_id).limit(limit)
    return list((await connection.execute(found)).scalars())


async def known(connection: AsyncConnection, ids: Iterable[str]) -> set[str]:
    """Tell which of these pages there are."""
    return set((await connection.execute(select(pages.c.id).where(pages.c.id.in_(list(ids))))).scalars())
