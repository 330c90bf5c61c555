"""The ledger: incidents, outbox, devices, calls, timeline, on SQLAlchemy Core.

One code path: whoever wants to write hands a job to the writer. What `update` and `write`
return is committed, and on the disk (WAL, synchronous=FULL).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import TypeAlias, TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bridge.incidents import Change, Incident
from bridge.oncall import Phone
from bridge.store import engine, outbox, queries
from bridge.store.engine import StoreError
from bridge.store.tables import meta
from bridge.store.tx import Scope, Tx
from bridge.store.writer import Overloaded, Writer

__all__ = ["Decide", "Overloaded", "Scope", "Store", "StoreError", "Tx"]

T = TypeVar("T")

Decide: TypeAlias = Callable[[tuple[Incident, ...], tuple[Phone, ...], datetime], Sequence[Change]]
"""A pure decision over the incidents of a Scope and the state of every phone. It may run more than once."""


class Store:
    """The open ledger. `on_change` hooks run after a commit that gave the loops something to do."""

    def __init__(self, reader: AsyncEngine, writer: Writer, now: Callable[[], datetime]) -> None:
        self._reader = reader
        self._writer = writer
        self._now = now
        self.on_change: list[Callable[[], None]] = []

    @property
    def working(self) -> bool:
        """Whether writes are being committed."""
        return self._writer.working

    @property
    def waiting(self) -> int:
        """Writes that have queued up."""
        return self._writer.waiting

    async def update(self, scope: Scope, decide: Decide) -> tuple[Change, ...]:
        """Load the incidents of `scope`, let `decide` decide, write what it says, commit.

        Raises Overloaded, or sqlalchemy's DBAPIError when it cannot be committed.
        """

        async def job(tx: Tx) -> tuple[Change, ...]:
            incidents = await tx.incidents(scope)
            changes = tuple(decide(incidents, await tx.phones(), tx.now))
            await tx.apply(changes)
            return changes

        return await self.write(job)

    async def write(self, job: Callable[[Tx], Awaitable[T]]) -> T:
        """Run a job in a transaction, and return its result once that is committed. Raises as `update`."""

        async def run(connection: AsyncConnection) -> tuple[T, bool]:
            tx = Tx(connection, self._now())
            return await job(tx), tx.changed

        result, changed = await self._writer.submit(run)
        if changed:
            for hook in self.on_change:
                hook()
        return result

    async def read(self, query: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run a query beside the writer, over what is committed."""
        async with self._reader.connect() as connection:
            return await query(connection)

    async def stats(self) -> queries.Stats:
        """Count what the metrics and the readiness check need to know."""
        now = self._now()
        return await self.read(lambda connection: queries.stats(connection, now))


async def open_store(stack: AsyncExitStack, url: str, now: Callable[[], datetime]) -> Store:
    """Lock, migrate and open the ledger; `stack` unwinds it. Raises StoreError."""
    path = engine.database_path(url)
    stack.enter_context(engine.lock(path))
    await asyncio.to_thread(engine.migrate, path)
    reader, writing = engine.open_engine(path, writer=False), engine.open_engine(path, writer=True)
    stack.push_async_callback(reader.dispose)
    stack.push_async_callback(writing.dispose)
    writer = Writer(writing)
    store = Store(reader, writer, now)
    writer.start()
    stack.push_async_callback(writer.stop)
    # The lock says that no other bridge lives: what was being sent when the last one died is due now.
    await store.write(lambda tx: outbox.release(tx.connection, tx.now))
    return store


async def secret(store: Store) -> bytes:
    """Give the ledger's own secret, made at its first start: receipt tokens are signed with it."""

    async def job(tx: Tx) -> str:
        found: str | None = (
            await tx.connection.execute(select(meta.c.value).where(meta.c.name == "secret"))
        ).scalar()
        if found is None:
            found = secrets.token_hex(32)
            await tx.connection.execute(meta.insert(), {"name": "secret", "value": found})
        return found

    return bytes.fromhex(await store.write(job))
