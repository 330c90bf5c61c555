"""The one writer: what has queued up together is committed together.

A transaction's cost is its fsync; group commit shares it. Where the joint transaction
fails, each job runs again alone, so that one bad job fails by itself. A job may
therefore run more than once, and must have no effect but on the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

import structlog
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_Item: TypeAlias = tuple[Any, asyncio.Future[Any]]

Run: TypeAlias = Callable[[AsyncConnection, Sequence[Any]], Awaitable[Sequence[Any]]]
"""Runs jobs in one transaction and gives their results in order; it may be called again for the same jobs."""

Begin: TypeAlias = Callable[[AsyncConnection], Awaitable[None]]
"""What a transaction begins with, before any job."""

_TOGETHER: Final = 128
"""Jobs in one transaction: enough to share the fsync, few enough that none waits long."""

_QUEUE: Final = 1024
"""Jobs that may wait in a lane. Beyond that the bridge is overloaded and says so (503)."""

_TRIES: Final = 3
"""How often a transaction is tried that fails by nothing but its moment."""

_HUNG: Final = 20.0
"""Seconds for a batch after which nothing may come of it any more: a disk, or a server, that hangs."""

_REFUSALS: Final = 2
"""So many of a batch may wait in vain for the database, one after the other; then the rest is told so."""

_MOMENTARY: Final = {"40001", "40P01"}
"""PostgreSQL's codes of a serialization failure and a deadlock; whoever waits for a lock has waited."""

log = structlog.get_logger()


def momentary(error: Exception) -> bool:
    """Tell whether what failed before its commit may pass at the next try: the connection, or a deadlock."""
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in _MOMENTARY


def _refused(error: Exception) -> bool:
    """Tell whether it is the database that cannot work, not the job that is wrong."""
    own = isinstance(error, IntegrityError | DataError | ProgrammingError)
    # asyncpg's faults of data come as a plain DBAPIError.
    if not isinstance(error, DBAPIError) or own:
        return False
    return not str(getattr(error.orig, "sqlstate", "")).startswith("22")


class _Undone(Exception):
    """Nothing is committed. `by_job`: one of the batch raised, not the database around it."""

    def __init__(self, error: Exception, *, by_job: bool) -> None:
        self.error = error
        self.by_job = by_job


class Overloaded(Exception):
    """More writes are waiting than can be committed soon."""


class _Lanes:
    """Jobs that wait, in two lanes: a flood of webhooks holds up no page, and no storm of pages a webhook."""

    def __init__(self) -> None:
        self._paging: deque[_Item] = deque()
        self._others: deque[_Item] = deque()
        self._came = asyncio.Event()

    def __len__(self) -> int:
        return len(self._paging) + len(self._others)

    def put(self, item: _Item, *, paging: bool) -> None:
        """Let a job wait. Raises Overloaded where its lane is full."""
        lane = self._paging if paging else self._others
        if len(lane) >= _QUEUE:
            raise Overloaded(f"{_QUEUE} writes are waiting")
        lane.append(item)
        self._came.set()

    async def take(self) -> list[_Item]:
        """Wait for jobs, and give some: half of them those of paging, where both lanes have as many."""
        while not self:
            self._came.clear()
            await self._came.wait()
        paging = max(_TOGETHER // 2, _TOGETHER - len(self._others))
        first = [self._paging.popleft() for _ in range(min(paging, len(self._paging)))]
        rest = min(_TOGETHER - len(first), len(self._others))
        return first + [self._others.popleft() for _ in range(rest)]

    def empty(self) -> list[_Item]:
        """Give all that wait."""
        left = [*self._paging, *self._others]
        self._paging.clear()
        self._others.clear()
        return left


class Writer:
    """Has jobs run in order, several to a transaction. What a job is, `run` knows.

    `committed` is called after each commit.
    """

    def __init__(self, engine: AsyncEngine, run: Run, begin: Begin, committed: Callable[[], None]) -> None:
        self._engine = engine
        self._run_jobs = run
        self._begin = begin
        self._committed = committed
        self._lanes = _Lanes()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._since: float | None = None
        self.failing: Exception | None = None
        """How the database refused the last transaction: locked, its disk full, or gone; None: it did not."""

    @property
    def working(self) -> bool:
        """Whether the task that commits is alive."""
        return self._task is not None and not self._task.done()

    @property
    def hung(self) -> bool:
        """Whether what is being committed has been for so long that it may never be."""
        return self._since is not None and time.monotonic() - self._since > _HUNG

    @property
    def waiting(self) -> int:
        """How many jobs have queued up."""
        return len(self._lanes)

    def start(self) -> None:
        """Begin to commit."""
        self._task = asyncio.create_task(self._run(), name="store-writer")

    async def stop(self) -> None:
        """Commit what has queued up, then stop."""
        if self.working:
            await self._idle.wait()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def submit(self, job: Any, *, paging: bool = False) -> Any:
        """Have `job` run in a transaction, and return its result once that is committed.

        `paging`: without it no phone rings, so it need not wait for all that others have asked for.
        Raises Overloaded when the queue is full, or whatever the job or the commit raised.
        """
        if not self.working:
            raise Overloaded("the store is not working")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._lanes.put((job, future), paging=paging)
        self._idle.clear()
        # A caller that goes away cancels its wait, not its job: that may be in a transaction already.
        return await future

    async def _run(self) -> None:
        batch: list[_Item] = []
        try:
            while True:
                batch = await self._lanes.take()
                self._since = time.monotonic()
                await self._commit(batch)
                self._since = None
                if not self._lanes:
                    self._idle.set()
        finally:
            # Whoever waits for a writer that ends is told so: it would wait for ever.
            self._fail([*batch, *self._lanes.empty()], Overloaded("the store is not working"))
            self._idle.set()

    async def _commit(self, batch: Sequence[_Item], tries: int = _TRIES) -> None:
        try:
            await self._together(batch)
            self.failing = None
        except _Undone as undone:
            if tries > 1 and momentary(undone.error):
                log.warning("a transaction is tried again", jobs=len(batch), error=repr(undone.error))
                await self._commit(batch, tries - 1)
            elif undone.by_job and len(batch) > 1:
                log.warning("a joint transaction failed", jobs=len(batch), error=repr(undone.error))
                await self._one_by_one(batch)
            else:
                self._fail(batch, undone.error)
        except Exception as error:  # noqa: BLE001 - BEGIN or COMMIT failed: locked, full, or gone
            # Not one by one: each would wait for the same lock again. Nor again, after a COMMIT: perhaps
            # it has happened, and who asks again by himself has a way to say that it is the same.
            self._fail(batch, error)

    async def _one_by_one(self, batch: Sequence[_Item]) -> None:
        refusals = 0
        for number, item in enumerate(batch):
            await self._commit([item])
            refusals = refusals + 1 if self.failing is not None else 0
            if self.failing is not None and refusals == _REFUSALS:
                self._fail(batch[number + 1 :], self.failing)
                return

    async def _together(self, batch: Sequence[_Item]) -> None:
        async with self._engine.begin() as connection:
            begun = False
            try:
                await self._begin(connection)
                begun = True
                results = await self._run_jobs(connection, [job for job, _ in batch])
            except Exception as error:
                raise _Undone(error, by_job=begun) from error
        self._committed()  # not by who asked: that may have gone away
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)

    def _fail(self, batch: Sequence[_Item], error: Exception) -> None:
        self.failing = error if _refused(error) else None
        for _, future in batch:
            if not future.done():
                future.set_exception(error)
                future.exception()  # a caller that went away must not leave it "never retrieved"
