"""The heartbeats that are waited for: the table `heartbeats`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import asdict
from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.store.tables import heartbeats
from bridge.watchdogs import Watch

_FIELDS = Watch.__struct_fields__


async def load(connection: AsyncConnection) -> dict[str, Watch]:
    """Give all that are known, by name."""
    found = await connection.execute(select(heartbeats))
    return {row["name"]: Watch(**{name: row[name] for name in _FIELDS}) for row in found.mappings()}


async def save(connection: AsyncConnection, known: Mapping[str, Watch], after: Iterable[Watch]) -> None:
    """Write those that have changed; `known` is what was loaded."""
    rows = [asdict(watch) for watch in after if known.get(watch.name) != watch]
    new = [row for row in rows if row["name"] not in known]
    if new:
        await connection.execute(heartbeats.insert(), new)
    old = [row | {"_name": row["name"]} for row in rows if row["name"] in known]
    if old:
        await connection.execute(heartbeats.update().where(heartbeats.c.name == bindparam("_name")), old)


async def forget(connection: AsyncConnection, names: Iterable[str]) -> None:
    """Delete those that nobody waits for any more."""
    await connection.execute(heartbeats.delete().where(heartbeats.c.name.in_(list(names))))
