"""Moving a ledger from a SQLite file into a PostgreSQL: all of it or nothing, and compared row by row."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Table, func, insert, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.store import engine, outbox, silences
from bridge.store.engine import StoreError
from bridge.store.postgres import Postgres
from bridge.store.tables import meta, metadata

_BATCH: Final = 500
_OF_ITS_OWN: Final = ("serves", "roster")
"""What each ledger has in `meta` by itself."""

Progress = Callable[[str, int], None]


async def move(source: str, target: Postgres, now: datetime, progress: Progress) -> None:
    """Copy the ledger at the sqlite URL `source` into an empty `target`, and close the source for good.

    `progress` hears each table's name and its rows. Raises StoreError: then both are as they were, unless it
    says otherwise.
    """
    path = engine.database_path(source)
    if not path.is_file():
        raise StoreError(f"there is no ledger at {path}")
    copied = False
    async with AsyncExitStack() as stack:
        stack.enter_context(engine.lock(path))
        await asyncio.to_thread(engine.migrate, path)
        reader = engine.open_engine(path, writer=True)
        stack.push_async_callback(reader.dispose)
        try:
            async with reader.begin() as old:
                await target.migrate()
                async with target.alone() as new:
                    await _copy(old, new, now, progress)
                    # A bridge on the old file would ring too. Only the two commits are apart.
                    moved = f"{target.shown} at {now:%F %T%z}"
                    await old.execute(insert(meta), {"name": engine.MOVED, "value": moved})
                copied = True
        except SQLAlchemyError as error:
            why = getattr(error, "orig", None) or error
            if copied:
                raise StoreError(
                    f"the copy in {target.shown} is whole, but {path} could not be closed ({why}): "
                    "move that file away, and start no bridge on it"
                ) from error
            raise StoreError(f"cannot move {path}: {why}") from error


async def _copy(old: AsyncConnection, new: AsyncConnection, now: datetime, progress: Progress) -> None:
    for table in metadata.sorted_tables:
        await _refuse_full(new, table)
    for table in metadata.sorted_tables:
        seen = _Sum()
        async for rows in _rows(old, table):
            seen.add(rows)
            await new.execute(insert(table), rows)
        kept = _Sum()
        async for rows in _rows(new, table):
            kept.add(rows)
        if kept != seen:
            raise StoreError(f"the copy of {table.name} is not what it was copied from: nothing is moved")
        await _go_on_counting(old, new, table)
        progress(table.name, seen.count)
    # The lock says that no bridge lives: what was being sent when the last one ended is due now.
    await outbox.release(new, now)
    await silences.release(new, now)


async def _rows(connection: AsyncConnection, table: Table) -> AsyncIterator[list[dict[str, Any]]]:
    query = select(table)
    if table is meta:
        query = query.where(meta.c.name.not_in(_OF_ITS_OWN))
    async with connection.stream(query.execution_options(yield_per=_BATCH)) as result:
        async for rows in result.mappings().partitions():
            yield [dict(row) for row in rows]


async def _refuse_full(new: AsyncConnection, table: Table) -> None:
    query = select(func.count()).select_from(table)
    if table is meta:
        query = query.where(meta.c.name.not_in(_OF_ITS_OWN))
    if found := (await new.execute(query)).scalar_one():
        raise StoreError(
            f"the database is not empty: its table {table.name} has {found} rows, and what is moved would be "
            "mixed with them. Give an empty one; a bridge that started on it has left something there"
        )


async def _go_on_counting(old: AsyncConnection, new: AsyncConnection, table: Table) -> None:
    """Let new rows have ids that were never given before."""
    column = table.autoincrement_column
    if column is None:
        return
    last = (await new.execute(select(func.max(column)))).scalar() or 0
    if table.kwargs.get("sqlite_autoincrement"):
        given = text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        last = max(last, (await old.execute(given, {"name": table.name})).scalar() or 0)
    if last:
        await new.execute(
            text("SELECT setval(pg_get_serial_sequence(:table, :column), :last)"),
            {"table": table.name, "column": column.name, "last": last},
        )


class _Sum:
    """What rows come to, in whatever order: databases sort texts differently."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Take in some rows."""
        for row in rows:
            plain = json.dumps(row, sort_keys=True, default=str).encode()
            self._sum += int.from_bytes(hashlib.blake2b(plain, digest_size=16).digest(), "big")
        self.count += len(rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Sum) and (self.count, self._sum) == (other.count, other._sum)

    __hash__ = None  # type: ignore[assignment]
