"""Overrides of schedules that were written at run time: the table `overrides`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import RowMapping, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.schedules import Override
from bridge.store.tables import overrides

_LISTED: Final = select(overrides).where(overrides.c.end_at > bindparam("now")).order_by(overrides.c.id)


async def add(connection: AsyncConnection, schedule: str, override: Override, now: datetime) -> int:
    """Write one; gives its id."""
    row = {
        "schedule": schedule,
        "person": override.person,
        "start_at": override.start,
        "end_at": override.end,
        "written_at": now,
        "written_by": override.by,
    }
    key: int = (await connection.execute(overrides.insert().returning(overrides.c.id), row)).scalar_one()
    return key


async def remove(connection: AsyncConnection, key: int) -> bool:
    """Delete one; False where there is none."""
    return (await connection.execute(overrides.delete().where(overrides.c.id == key))).rowcount > 0


async def listed(connection: AsyncConnection, now: datetime) -> Sequence[RowMapping]:
    """List those that are not over, in the order in which they were written."""
    return (await connection.execute(_LISTED, {"now": now})).mappings().all()


async def by_schedule(connection: AsyncConnection, now: datetime) -> dict[str, tuple[Override, ...]]:
    """Give those that are not over to their schedules, in the order in which they were written."""
    found: dict[str, tuple[Override, ...]] = {}
    for row in await listed(connection, now):
        one = Override(row["person"], row["start_at"], row["end_at"], row["written_by"], row["id"])
        found[row["schedule"]] = (*found.get(row["schedule"], ()), one)
    return found
