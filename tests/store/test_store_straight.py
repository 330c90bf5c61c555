"""Work that awaits nothing but its statements is one piece: on SQLite it changes threads once, not for each."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import pytest
from ledgers import ALICE, Backend, Sqlite, device, incident, put, sync
from sqlalchemy import event, select
from sqlalchemy.exc import IntegrityError

from bridge.store import Joint, Scope, Store, Tx
from bridge.store.straight import apart
from bridge.store.tables import devices, meta


@dataclass(frozen=True)
class Job(Joint[Any]):
    """Whatever a test wants to be done straight."""

    work: Any

    @classmethod
    async def together(cls, tx: Tx, jobs: Sequence[Self]) -> list[Any]:
        return [await job.work(tx) for job in jobs]


def threads(store: Store) -> list[int]:
    """In which threads the writer's statements are made, from now on."""
    found: list[int] = []
    engine = store._writer._engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *_: found.append(threading.get_ident()))
    return found


async def test_on_sqlite_a_decision_is_made_in_the_thread_of_its_connection(
    store: Store, backend: Backend
) -> None:
    """On PostgreSQL in the loop's, where its connection is."""
    await put(store, incident())
    found = threads(store)
    where: list[int] = []

    def decide(*_: Any) -> tuple[()]:
        where.append(threading.get_ident())
        return ()

    await store.update(Scope(ids=(incident().id,)), decide)
    here = threading.get_ident()
    assert where
    assert [thread == here for thread in where] == [not isinstance(backend, Sqlite)]
    assert all(thread in {here, *where} for thread in found)


async def test_the_decisions_of_a_storm_are_made_in_the_loops_thread(store: Store) -> None:
    """Two threads that both have much to do keep the interpreter from each other."""
    where: list[int] = []

    def decide(*_: Any) -> tuple[()]:
        where.append(threading.get_ident())
        return ()

    await asyncio.gather(*(store.update(Scope(), decide) for _ in range(10)))
    assert where == [threading.get_ident()] * 10


async def test_what_a_statement_reads_and_raises_is_the_same_as_elsewhere(store: Store) -> None:
    await sync(store, device(ALICE))

    async def work(tx: Tx) -> Any:
        named = (await tx.connection.execute(select(devices.c.name))).scalars().all()
        await tx.connection.execute(meta.insert(), [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}])
        return named, (await tx.connection.execute(select(meta.c.value).where(meta.c.name == "b"))).scalar()

    assert await store.write(Job(work)) == ([ALICE], "2")
    with pytest.raises(IntegrityError):
        await store.write(Job(work))


async def test_others_have_their_turn_while_it_goes_on(store: Store) -> None:
    """A storm of decisions must not keep the connections to APNs waiting."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def work(_: Tx) -> int:
        before = turns
        late = time.monotonic() + 30
        for _ in iter(lambda: turns < before + 3 and time.monotonic() < late, False):
            await asyncio.sleep(0)
        return turns

    task = asyncio.create_task(other())
    try:
        assert await store.write(Job(work)) >= 3
    finally:
        task.cancel()


async def test_what_takes_its_time_is_done_beside_the_loop(store: Store) -> None:
    async def work(tx: Tx) -> int:
        return await apart(tx.connection, threading.get_ident)

    assert await store.write(Job(work)) != threading.get_ident()


async def test_work_that_would_wait_for_the_loop_in_its_thread_is_told_so(
    store: Store, backend: Backend
) -> None:
    waits: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def work(_: Tx) -> int:
        return await waits

    if isinstance(backend, Sqlite):
        with pytest.raises(RuntimeError, match="would wait for ever"):
            await store.write(Job(work))
    else:
        asyncio.get_running_loop().call_later(0.01, waits.set_result, 7)
        assert await store.write(Job(work)) == 7
    assert await store.write(Job(_nothing)) is None, "the next one is not held up"


async def _nothing(_: Tx) -> None:
    pass
