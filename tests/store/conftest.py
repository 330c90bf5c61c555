from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ledgers import BACKENDS, Look, Sqlite, Transactions, opened
from movedclock import MovedClock

from bridge.store import Store


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Sqlite:
    return BACKENDS[request.param](tmp_path)


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def store(backend: Sqlite, clock: MovedClock) -> AsyncIterator[Store]:
    async with opened(backend, clock.now) as ledger:
        yield ledger


@pytest.fixture
async def look(backend: Sqlite, store: Store) -> AsyncIterator[Look]:
    """A second connection: what it sees is committed."""
    engine = backend.engine()
    yield Look(engine)
    await engine.dispose()


@pytest.fixture
def transactions(store: Store) -> Transactions:
    return Transactions(store)
