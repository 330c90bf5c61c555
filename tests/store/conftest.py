from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from ledgers import BACKENDS, Backend, Look, Transactions, ledger, opened
from movedclock import MovedClock

from bridge.store import Store


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with ledger(request.param, tmp_path) as lent:
        yield lent


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def store(backend: Backend, clock: MovedClock) -> AsyncIterator[Store]:
    async with opened(backend, clock.now) as ledger:
        yield ledger


@pytest.fixture
async def look(backend: Backend, store: Store) -> AsyncIterator[Look]:
    """A second connection: what it sees is committed."""
    engine = backend.engine()
    yield Look(engine)
    await engine.dispose()


@pytest.fixture
def transactions(store: Store) -> Transactions:
    return Transactions(store)
