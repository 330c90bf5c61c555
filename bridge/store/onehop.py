"""SQLite's driver with one change of threads for a statement, or for many.

SQLAlchemy makes four calls of aiosqlite for each SELECT (a cursor, the statement, its rows, an end),
each handed to the connection's thread and back. That took more time than SQLite did. What is done in
that thread as one piece of work (`HeldConnection.held`) makes its statements there.
"""

from __future__ import annotations

import collections
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import aiosqlite
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_cursor,
    AsyncAdapt_aiosqlite_dbapi,
)

T = TypeVar("T")


class _Done(NamedTuple):
    """What is left of a cursor: everything has been read."""

    rows: Sequence[Any] = ()
    description: Any = None
    rowcount: int = -1
    lastrowid: int | None = None
    arraysize: int = 1

    def close(self) -> None:
        """It is closed already."""


def _done(cursor: sqlite3.Cursor) -> _Done:
    try:
        rows = cursor.fetchall() if cursor.description else ()
        return _Done(rows, cursor.description, cursor.rowcount, cursor.lastrowid)
    finally:
        cursor.close()


def _one(connection: sqlite3.Connection, statement: str, values: Any) -> _Done:
    return _done(connection.execute(statement, values or ()))


def _many(connection: sqlite3.Connection, statement: str, values: Any) -> _Done:
    return _done(connection.executemany(statement, values))


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    """Runs a statement, reads its rows and closes in one go."""

    __slots__ = ()
    _awaitable_cursor_close = False
    _adapt_connection: HeldConnection

    def _make_new_cursor(self, _: Any) -> Any:
        return _Done()

    def _aenter_cursor(self, cursor: Any) -> Any:
        return cursor

    def execute(self, operation: Any, parameters: Any = None) -> Any:
        """Execute where we are, if that is the connection's thread."""
        if self._adapt_connection.is_held:
            self._done(_one(self._connection._conn, operation, parameters))  # noqa: SLF001 - in its thread
        else:
            super().execute(operation, parameters)

    def executemany(self, operation: Any, seq_of_parameters: Any) -> Any:
        """As `execute`."""
        if self._adapt_connection.is_held:
            self._done(_many(self._connection._conn, operation, seq_of_parameters))  # noqa: SLF001 - as above
        else:
            super().executemany(operation, seq_of_parameters)

    async def _execute_async(self, operation: Any, parameters: Any) -> Any:
        await self._run(_one, operation, parameters)

    async def _executemany_async(self, operation: Any, seq_of_parameters: Any) -> Any:
        await self._run(_many, operation, seq_of_parameters)

    async def _run(
        self, work: Callable[[sqlite3.Connection, str, Any], _Done], operation: str, values: Any
    ) -> None:
        driver: Any = self._connection
        async with self._adapt_connection._execute_mutex:  # noqa: SLF001 - as what is overridden does
            done: Any = await driver._execute(work, driver._conn, operation, values)  # noqa: SLF001 - in its thread
        self._done(done)

    def _done(self, done: Any) -> None:
        self._cursor, self._rows = done, collections.deque(done.rows)


class HeldConnection(AsyncAdapt_aiosqlite_connection):
    """Goes to its thread for the end of a transaction only where there is one."""

    __slots__ = ("is_held",)
    _cursor_cls = _Cursor

    def __init__(self, dbapi: Any, connection: Any) -> None:
        super().__init__(dbapi, connection)
        self.is_held = False

    async def held(self, work: Callable[[], T]) -> T:
        """Do a piece of work in this connection's thread."""
        driver: Any = self._connection
        async with self._execute_mutex:
            result: T = await driver._execute(self._hold, work)  # noqa: SLF001 - as the cursor does
        return result

    def _hold(self, work: Callable[[], T]) -> T:
        self.is_held = True
        try:
            return work()
        finally:
            self.is_held = False

    def rollback(self) -> None:
        """Undo, if anything has begun: a pool does so with whatever comes back to it."""
        driver: Any = self._connection
        if driver._connection and driver.in_transaction:  # noqa: SLF001 - as what is overridden does
            super().rollback()


class Driver(AsyncAdapt_aiosqlite_dbapi):
    """The `module` for `create_async_engine`."""

    def __init__(self) -> None:
        super().__init__(aiosqlite, sqlite3)

    def connect(self, *arg: Any, **kw: Any) -> HeldConnection:
        """Connect."""
        return HeldConnection(self, super().connect(*arg, **kw)._connection)  # noqa: SLF001 - the driver's own
