"""PostgreSQL: a ledger that any number of bridges share.

Decisions are made by one bridge at a time: each transaction of the writer begins with one advisory
lock, as SQLite's begins with BEGIN IMMEDIATE. So whatever is true of one bridge is true of several, and
the timeline's ids grow in the order of the commits (docs/adr/0011-replicas.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit
from weakref import WeakKeyDictionary

import structlog
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bridge.store import engine, topics
from bridge.store.columns import JSON_BY
from bridge.store.engine import StoreError
from bridge.store.topics import News

CHANNEL: Final = "pushkit_bridge"
"""Where a bridge says that it has committed something: NOTIFY, with its own name and what `topics` says."""

_CONNECT: Final = 3.0
"""Seconds to connect."""

_HELD: Final = 15.0
"""Seconds that a connection may be in use at once: then it is frozen, and cut. A statement has less."""

_READERS: Final = 4
_POOL_WAIT: Final = 5.0

_LEDGER: Final = 0x7075736862726964
"""The key of the advisory lock that each writing transaction holds: "pushbrid" in ASCII."""

_TURN: Final = text("SELECT pg_advisory_xact_lock(:key), clock_timestamp()")
_NOTIFY: Final = text("SELECT pg_notify(:channel, :word)")

_SETTINGS: Final = {
    "application_name": "pushkit-bridge",
    "statement_timeout": "10s",
    "lock_timeout": "8s",
    # A bridge that froze in a transaction, or lost its network, keeps the others waiting for so long.
    "idle_in_transaction_session_timeout": "5s",
    "jit": "off",
    # A generic plan would look through the list of an ANY for each row: only a known one is hashed.
    "plan_cache_mode": "force_custom_plan",
}
_ALONE: Final = {
    "statement_timeout": "0",
    "lock_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
}
"""For what takes its time while no bridge writes: another schema, a whole ledger."""

_HELD_ALONE: Final = 3600.0

_LOCK_TIMEOUT: Final = "55P03"
_FROZEN: Final = 5.0
"""Seconds after which a bridge that has the turn, and is silent amid a statement, is frozen."""

_END_FROZEN: Final = """
SELECT count(pg_terminate_backend(pid)) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND (classid, objid, objsubid) = ($1, $2, 1)
AND datname = current_database() AND state = 'active' AND wait_event = 'ClientRead'
AND state_change < clock_timestamp() - make_interval(secs => $3)"""

log = structlog.get_logger()


def is_url(url: str) -> bool:
    """Tell whether a URL is PostgreSQL's."""
    return url.partition("://")[0] in {"postgresql", "postgres"}


def shown(url: str) -> str:
    """Give a URL as people may see it: where the database is, without who and how."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class Postgres:
    """A database: how to connect to it. `url` is libpq's, without the password."""

    def __init__(self, url: str, password: str | None) -> None:
        self._url = url
        self._password = password
        self.shown = shown(url)

    async def connect(self, settings: dict[str, str] | None = None) -> Any:
        """Connect. Raises OSError, TimeoutError, ValueError or asyncpg's errors; none holds the password."""
        import asyncpg  # noqa: PLC0415 - an extra that only this needs

        return await asyncpg.connect(
            dsn=self._url,
            password=self._password,
            timeout=_CONNECT,
            statement_cache_size=0,  # SQLAlchemy has its own
            server_settings=_SETTINGS | (settings or {}),
        )

    def engine(
        self, *, writer: bool, settings: dict[str, str] | None = None, held: float | None = None
    ) -> AsyncEngine:
        """Make an engine. What it raises where PostgreSQL cannot be reached is an OperationalError.

        A reader's statements stand each by itself; `snapshots` lets several see the same.
        """
        from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_dbapi  # noqa: PLC0415

        watch = _Watch(held or _HELD)

        async def connect() -> Any:
            try:
                return watch.over(await self.connect(settings))
            except Exception as error:
                problem = f"PostgreSQL at {self.shown} {_why(error)}"
                wrapped = AsyncAdapt_asyncpg_dbapi.OperationalError(problem, error)  # type: ignore[no-untyped-call]
                raise wrapped from error

        made = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=connect,
            hide_parameters=True,
            **JSON_BY,
            isolation_level="READ COMMITTED" if writer else "AUTOCOMMIT",
            pool_size=1 if writer else _READERS,
            max_overflow=0,
            pool_timeout=_POOL_WAIT,
        )
        event.listen(made.sync_engine, "checkout", watch.begin)
        event.listen(made.sync_engine, "checkin", watch.end)
        return made

    async def migrate(self) -> None:
        """Bring the schema up to date, one bridge at a time, while none writes. Raises StoreError."""
        try:
            if not await self._is_current():  # most are: whoever starts holds up nobody
                async with self.alone() as connection:
                    await connection.run_sync(self._upgrade)
        except SQLAlchemyError as error:
            raise StoreError(
                f"cannot open the ledger {self.shown}: {getattr(error, 'orig', None) or error}"
            ) from error

    async def _is_current(self) -> bool:
        made = self.engine(writer=False)
        try:
            async with made.connect() as connection:
                return await connection.run_sync(engine.is_current)
        finally:
            await dispose(made)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[AsyncConnection]:
        """Give a transaction that may take its time, during which no bridge writes; committed at the end."""
        made = self.engine(writer=True, settings=_ALONE, held=_HELD_ALONE)
        try:
            async with made.begin() as connection:
                await _take_turn(connection)
                yield connection
        finally:
            await dispose(made)

    async def end_frozen(self) -> None:
        """End the session that has the turn, where its bridge froze and no timeout of PostgreSQL holds.

        asyncpg first makes a statement known, then has it done; in between the session counts as active,
        though it waits for its client. A bridge that is stopped there would keep all others from writing,
        for as long as it is.
        """
        connection = await self.connect()
        try:
            ended = await connection.fetchval(_END_FROZEN, _LEDGER >> 32, _LEDGER & 0xFFFFFFFF, _FROZEN)
        finally:
            connection.terminate()
        if ended:
            log.error("a bridge that froze while it had the turn is cut off")

    def _upgrade(self, connection: Connection) -> None:
        engine.upgrade(connection, self.shown, shared=True)


def _why(error: Exception) -> str:
    """Say for people why no connection could be made."""
    if isinstance(error, TimeoutError):
        return f"does not answer within {_CONNECT:.0f} s"
    if isinstance(error, OSError):
        return f"cannot be reached: {error.strerror or error}"
    return f"refuses the connection: {error}"


class _Watch:
    """Cuts connections that are in use for too long: a statement on a frozen one would never end."""

    def __init__(self, held: float) -> None:
        self._held = held
        self._timers: WeakKeyDictionary[Any, asyncio.TimerHandle] = WeakKeyDictionary()

    def over(self, driver: Any) -> Any:
        """Begin with a new connection, which is prepared before it is used."""
        self._arm(driver)
        return driver

    def begin(self, connection: Any, *_: object) -> None:
        """It is taken from the pool."""
        self._arm(connection.driver_connection)

    def end(self, connection: Any, *_: object) -> None:
        """It is back in the pool, or gone."""
        if connection is not None and (timer := self._timers.pop(connection.driver_connection, None)):
            timer.cancel()

    def _arm(self, driver: Any) -> None:
        if timer := self._timers.pop(driver, None):
            timer.cancel()
        self._timers[driver] = asyncio.get_running_loop().call_later(self._held, _cut, driver, self._held)


def _cut(driver: Any, held: float) -> None:
    if driver.is_closed():
        return
    log.error("a connection to PostgreSQL is cut: nothing has come of it", seconds=held)
    driver.terminate()


def snapshots(reader: AsyncEngine) -> AsyncEngine:
    """Give the reader's connections for queries of several statements, which see one state of the ledger."""
    return reader.execution_options(isolation_level="REPEATABLE READ")


async def dispose(made: AsyncEngine) -> None:
    """Close an engine's connections, also where the other side does not answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_CONNECT):
            await made.dispose()


async def _take_turn(connection: AsyncConnection) -> datetime:
    at: datetime = (await connection.execute(_TURN, {"key": _LEDGER})).one()[1]
    return at.astimezone(UTC)


class Shared:
    """What a writing transaction does where other bridges write too. `me` is this one's name among them."""

    def __init__(self, database: Postgres, me: str, steer: Callable[[datetime], None]) -> None:
        self._database = database
        self._me = me
        self._steer = steer

    async def begin(self, connection: AsyncConnection) -> None:
        """Take the turn, and the time: PostgreSQL's, so that all of them go by one clock (rule 10)."""
        try:
            self._steer(await _take_turn(connection))
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == _LOCK_TIMEOUT:
                with suppress(Exception):  # the next that waits in vain looks again
                    await self._database.end_frozen()
            raise

    async def end(self, connection: AsyncConnection, news: News) -> None:
        """Wake the others at the commit: it gives them something to do."""
        await connection.execute(_NOTIFY, {"channel": CHANNEL, "word": self._me + topics.word(news)})
