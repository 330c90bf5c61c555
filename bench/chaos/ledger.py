"""Reads the ledger beside the bridges, past all faults: what they say is checked, not believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import NullPool, select
from sqlalchemy.ext.asyncio import create_async_engine

from bridge.store.tables import devices, episodes, incidents, pages

Rows: TypeAlias = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Books:
    """The ledger's rows at one moment."""

    incidents: Rows
    episodes: Rows
    pages: Rows
    devices: Rows


class Ledger:
    """`url` is SQLAlchemy's, for an asynchronous driver."""

    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(url, poolclass=NullPool)

    async def names(self, since: datetime) -> set[str]:
        """Give the names of the alerts that came in since then. Raises SQLAlchemyError or OSError."""
        async with self._engine.connect() as connection:
            found = await connection.execute(
                select(episodes.c.labels).where(episodes.c.opened_here_at >= since)
            )
            return {str(dict(labels)["alertname"]) for labels in found.scalars()}

    async def books(self) -> Books:
        """Read all of it. Raises as `names`."""
        tables = (incidents, episodes, pages, devices)
        async with self._engine.connect() as connection:
            found = [(await connection.execute(select(table))).mappings().all() for table in tables]
        return Books(*([dict(row) for row in rows] for rows in found))
