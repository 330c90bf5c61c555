"""The ledger: incidents, outbox, devices, calls, timeline, on SQLAlchemy Core.

One code path: whoever wants to write hands a job to the writer. What `update` and `write`
return is committed, and on the disk (WAL, synchronous=FULL).
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bridge.alerts import Notification
from bridge.incidents import Change, Incident, Slot
from bridge.oncall import Roster
from bridge.store import engine, outbox, postgres, queries, silences
from bridge.store.engine import StoreError
from bridge.store.joint import Joint
from bridge.store.listener import Listener
from bridge.store.postgres import Postgres, Shared
from bridge.store.stage import Scope
from bridge.store.straight import apart, straight
from bridge.store.tables import meta
from bridge.store.topics import News, Topic
from bridge.store.tx import Memory, Tx
from bridge.store.writer import Overloaded, Writer, momentary

__all__ = ["Decide", "Joint", "Overloaded", "Scope", "Store", "StoreError", "Topic", "Tx"]

T = TypeVar("T")

Decide: TypeAlias = Callable[[tuple[Incident, ...], Roster, datetime], Sequence[Change]]
"""A pure decision over the incidents of a Scope and who can be rung. It may run more than once."""


@dataclass(frozen=True, slots=True)
class _Update:
    """The job of `Store.update`: unlike a function, the writer can see what it needs before it runs."""

    scope: Scope
    decide: Decide
    notification: Notification | None


_MANY: Final = 200
"""More alerts than that are decided on beside the loop: phones and APNs must not wait for it."""

_ALONE: Final = 4
"""Up to so many jobs of a file's writer are done in its thread. Those of a storm share their statements, and
that thread and the loop, both at work, would each wait for the other to let go of the interpreter."""

_OTHERS: Final = 3
"""Queries at once that page nobody: of four connections, one is left for those that do."""

Wake: TypeAlias = Callable[[datetime], None]
"""Has somebody look at the ledger, at once or when the time has come."""

_Job: TypeAlias = _Update | Callable[[Tx], Awaitable[Any]]


class Store:
    """The open ledger. What `on` was given runs after a commit of its topic."""

    def __init__(
        self,
        reader: AsyncEngine,
        snapshots: AsyncEngine,
        engine: AsyncEngine,
        now: Callable[[], datetime],
        shared: Shared | None = None,
    ) -> None:
        self._reader = reader
        self._snapshots = snapshots
        self._writer = Writer(engine, self._run, self._begin, self._committed)
        self._now = now
        self._shared = shared
        self._memory = Memory()
        self._others = asyncio.Semaphore(_OTHERS)
        self._news: News = {}
        self._waiting: list[tuple[Topic, Wake, Wake]] = []
        self.listener: Listener | None = None
        """Who hears of the other bridges' commits, where there may be others."""

    @property
    def working(self) -> bool:
        """Whether there is somebody to commit what is written."""
        return self._writer.working

    async def commits(self) -> bool:
        """Tell whether writes are being committed; where the database refused the last one, by trying one."""
        if self.working and self._writer.failing and not self._writer.hung:
            with suppress(Overloaded, SQLAlchemyError):
                await remember(self, "last trial", self._now().isoformat())
        return self.working and self._writer.failing is None and not self._writer.hung

    @property
    def waiting(self) -> int:
        """Writes that have queued up."""
        return self._writer.waiting

    def start(self) -> None:
        """Begin to commit."""
        self._writer.start()

    async def stop(self) -> None:
        """Commit what has queued up, then stop."""
        await self._writer.stop()

    async def update(
        self,
        scope: Scope,
        decide: Decide,
        notification: Notification | None = None,
        *,
        paging: bool = False,
    ) -> tuple[Change, ...]:
        """Load the incidents of `scope`, let `decide` decide, write what it says, commit.

        With `notification`, the ledger keeps that it was accepted, and which incidents it touched.
        `paging`: no phone rings without it, so it overtakes what others have asked for.
        Raises Overloaded, or sqlalchemy's DBAPIError when it cannot be committed.
        """
        job = _Update(scope, decide, notification)
        changes: tuple[Change, ...] = await self._writer.submit(job, paging=paging)
        return changes

    async def write(self, job: Callable[[Tx], Awaitable[T]], *, paging: bool = False) -> T:
        """Run a job in a transaction, and return its result once that is committed; otherwise as `update`."""
        result: T = await self._writer.submit(job, paging=paging)
        return result

    def on(self, topic: Topic, wake: Wake, heard: Wake | None = None) -> None:
        """Have `wake` called after each commit that is about this, with when there is something to do.

        `heard`: instead of it where another bridge on the same ledger has committed.
        """
        self._waiting.append((topic, wake, heard or wake))

    def _committed(self) -> None:
        for topic, wake, _ in self._waiting:
            if topic in self._news:
                wake(self._news[topic])

    def heard(self, news: News) -> None:
        """Wake those who wait for what another bridge has committed."""
        for topic, _, wake in self._waiting:
            if topic in news:
                wake(news[topic])

    async def _begin(self, connection: AsyncConnection) -> None:
        if self._shared is not None:
            await self._shared.begin(connection)

    async def _run(self, connection: AsyncConnection, jobs: Sequence[_Job]) -> Sequence[Any]:
        """Run a batch in order; updates that follow each other share their statements."""
        self._news = {}
        results: list[Any] = []
        alone = self._shared is not None or len(jobs) <= _ALONE
        for kind, group in groupby(jobs, key=type):
            together: Sequence[Any] = list(group)
            if kind is _Update or issubclass(kind, Joint):
                work = partial(self._together, kind, together)
                results += await (straight(connection, work) if alone else work(connection))
            else:
                results += [await job(self._tx(connection)) for job in together]
        if self._shared is not None and self._news:
            await self._shared.end(connection, self._news)
        return results

    def _tx(self, connection: AsyncConnection) -> Tx:
        return Tx(connection, self._now(), self._memory, self._news)

    async def _together(self, kind: type[Any], jobs: Sequence[Any], connection: AsyncConnection) -> list[Any]:
        tx = self._tx(connection)
        return list(await (self._decide(tx, jobs) if kind is _Update else kind.together(tx, jobs)))

    async def _decide(self, tx: Tx, updates: Sequence[_Update]) -> list[tuple[Change, ...]]:
        await tx.incidents(*(one.scope for one in updates))
        roster = await tx.roster()
        results = []
        taken: Counter[Slot] = Counter()
        for one in updates:
            # What is begun, ended and begun again has another identity, for its instant is another.
            taken.update(one.scope.slots)
            before = max((taken[slot] for slot in one.scope.slots), default=1) - 1
            now = tx.now + before * timedelta.resolution
            decide = partial(one.decide, tx.matching(one.scope), roster, now)
            many = one.notification is not None and len(one.notification.alerts) > _MANY
            changes = tuple(await apart(tx.connection, decide) if many else decide())
            if one.notification is not None:
                tx.accept(one.notification, now, changes)
            tx.stage(changes)
            results.append(changes)
            await asyncio.sleep(0)  # a storm of decisions must not keep the connections to APNs waiting
        await tx.flush()
        return results

    async def read(self, query: Callable[[AsyncConnection], Awaitable[T]], *, paging: bool = False) -> T:
        """Run a query beside the writer, over one state of the ledger; again where its connection is lost.

        `paging`: as for `update`. There is a connection that the others never take.
        """
        return await self._query(self._snapshots, query, paging=paging)

    async def ask(self, query: Callable[[AsyncConnection], Awaitable[T]], *, paging: bool = False) -> T:
        """As `read`, for a query of one statement, which needs no transaction around it."""
        return await self._query(self._reader, query, paging=paging)

    async def _query(
        self, engine: AsyncEngine, query: Callable[[AsyncConnection], Awaitable[T]], *, paging: bool
    ) -> T:
        async with nullcontext() if paging else self._others:
            try:
                return await _run_on(engine, query)
            except DBAPIError as error:
                if not momentary(error):
                    raise
            return await _run_on(engine, query)

    async def stats(self) -> queries.Stats:
        """Count what the metrics and the readiness check need to know."""
        now = self._now()
        return await self.read(lambda connection: queries.stats(connection, now))


async def _run_on(engine: AsyncEngine, query: Callable[[AsyncConnection], Awaitable[T]]) -> T:
    async with engine.connect() as connection:
        return await query(connection)


async def open_store(
    stack: AsyncExitStack,
    url: str,
    now: Callable[[], datetime],
    *,
    password: str | None = None,
    steer: Callable[[datetime], None] = lambda _: None,
) -> Store:
    """Migrate and open the ledger; `stack` unwinds it. Raises StoreError.

    `steer` is told the time of a ledger that several bridges share: they all go by its clock (rule 10).
    """
    if postgres.is_url(url):
        return await _open_shared(stack, Postgres(url, password), now, steer)
    path = engine.database_path(url)
    stack.enter_context(engine.lock(path))
    await asyncio.to_thread(engine.migrate, path)
    reader, writing = engine.open_engine(path, writer=False), engine.open_engine(path, writer=True)
    stack.push_async_callback(reader.dispose)
    stack.push_async_callback(writing.dispose)
    store = Store(reader, engine.snapshots(reader), writing, now)
    store.start()
    stack.push_async_callback(store.stop)
    # The lock says that no other bridge lives: what was being sent when the last one died is due now.
    await store.write(_release)
    return store


async def _open_shared(
    stack: AsyncExitStack,
    database: Postgres,
    now: Callable[[], datetime],
    steer: Callable[[datetime], None],
) -> Store:
    await database.migrate()
    reader, writing = database.engine(writer=False), database.engine(writer=True)
    stack.push_async_callback(postgres.dispose, reader)
    stack.push_async_callback(postgres.dispose, writing)
    me = secrets.token_hex(8)
    store = Store(reader, postgres.snapshots(reader), writing, now, Shared(database, me, steer))
    store.start()
    stack.push_async_callback(store.stop)
    await store.write(_nothing)  # the time, before anything is decided by it
    store.listener = Listener(database, me, store.heard, steer)
    stack.push_async_callback(store.listener.stop)
    store.listener.start()
    return store


async def _nothing(_: Tx) -> None:
    pass


async def _release(tx: Tx) -> None:
    await outbox.release(tx.connection, tx.now)
    await silences.release(tx.connection, tx.now)


async def noted(connection: AsyncConnection, name: str) -> str | None:
    """Give what was remembered under a name."""
    found: str | None = (await connection.execute(select(meta.c.value).where(meta.c.name == name))).scalar()
    return found


async def note(connection: AsyncConnection, name: str, value: str) -> None:
    """Remember a small thing over a restart."""
    await connection.execute(meta.delete().where(meta.c.name == name))
    await connection.execute(meta.insert(), {"name": name, "value": value})


async def recall(store: Store, name: str) -> str | None:
    """Give what was remembered under a name."""
    return await store.ask(lambda connection: noted(connection, name))


async def remember(store: Store, name: str, value: str) -> None:
    """Remember a small thing over a restart."""
    await store.write(lambda tx: note(tx.connection, name, value))


async def secret(store: Store) -> bytes:
    """Give the ledger's own secret, made at its first start: receipt tokens are signed with it."""

    async def job(tx: Tx) -> str:
        found = await noted(tx.connection, "secret")
        if found is None:
            found = secrets.token_hex(32)
            await note(tx.connection, "secret", found)
        return found

    return bytes.fromhex(await store.write(job))
