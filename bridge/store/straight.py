"""Work that awaits nothing but its statements, done as one piece.

On SQLite it goes over to its connection's thread as a whole: a change of threads for each statement took
more time than SQLite. On PostgreSQL it is one of SQLAlchemy's greenlets, not one for each statement.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, TypeAlias, TypeVar, cast

from sqlalchemy import Connection, CursorResult, Executable
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import await_only

from bridge.store.onehop import HeldConnection

T = TypeVar("T")

_Work: TypeAlias = Callable[[AsyncConnection], Coroutine[Any, Any, T]]


class Straight:
    """What such work sees of its connection: a statement is done when `execute` returns.

    `beside`: the work has a thread of its own, beside the loop.
    """

    def __init__(self, connection: Connection, *, beside: bool) -> None:
        self._connection = connection
        self.dialect = connection.dialect
        self.beside = beside

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        """Execute, as an AsyncConnection does."""
        return self._connection.execute(statement, parameters)


async def straight(connection: AsyncConnection, work: _Work[T]) -> T:
    """Do work that awaits statements, and perhaps turns of others (`asyncio.sleep(0)`), and nothing else."""
    sync = cast("Connection", connection.sync_connection)
    driver: Any = sync.connection.dbapi_connection
    if isinstance(driver, HeldConnection):
        return await driver.held(partial(_do, work, sync, beside=True))
    return await connection.run_sync(partial(_do, work, beside=False))


def _do(work: _Work[T], connection: Connection, *, beside: bool) -> T:
    doing = work(cast("AsyncConnection", Straight(connection, beside=beside)))
    return _through(doing, _let_others if beside else _pass_on)


async def apart(connection: AsyncConnection, work: Callable[[], T]) -> T:
    """Do what takes its time, and needs no statement, where it does not hold up the loop."""
    if isinstance(connection, Straight) and connection.beside:
        return work()
    return await asyncio.to_thread(work)


def _through(doing: Coroutine[Any, Any, T], wait: Callable[[Any], None]) -> T:
    try:
        while True:
            wait(doing.send(None))
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        doing.close()


def _let_others(waits_for: object) -> None:
    """Give the interpreter to whoever wants it: the loop may have a phone's answer to read."""
    if waits_for is not None:
        raise RuntimeError(f"in its thread this would wait for ever: {waits_for!r}")
    time.sleep(0)


def _pass_on(waits_for: Any) -> None:
    await_only(_Wait(waits_for))


class _Wait:
    """Has the task wait for what the work waits for."""

    def __init__(self, waits_for: Any) -> None:
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, None, None]:
        yield self._waits_for
