from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog
from appworld import World
from ledgers import BACKENDS, Backend, ledger


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    """Short lines on stderr: structlog's own way to show an exception takes seconds.

    On this very stderr, for a command that is run in a thread takes its own for a while.
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    yield
    structlog.reset_defaults()


TELLING = {"test_app_rings"}
"""Stories that are always played on every ledger; `--ledger=postgresql` plays all of them on the other one."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "ledger_kind" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("ledger")
        metafunc.parametrize(
            "ledger_kind", BACKENDS if metafunc.module.__name__ in TELLING else [chosen], ids=str
        )


@pytest.fixture
def backend(ledger_kind: str, tmp_path: Path) -> Iterator[Backend]:
    with ledger(ledger_kind, tmp_path) as lent:
        yield lent


@pytest.fixture
async def stage(tmp_path: Path, backend: Backend) -> AsyncIterator[World]:
    """APNs and the phones; the test writes the configuration and starts the bridge."""
    async with World(tmp_path, ledger=backend.url) as world:
        yield world


@pytest.fixture
async def world(stage: World) -> World:
    """A running bridge."""
    await stage.start()
    return stage


@pytest.fixture
async def home(stage: World) -> World:
    """A running bridge whose phones have enrolled; it knows no static tokens."""
    stage.config["devices"] = []
    await stage.start()
    await stage.enrol("alice", "bob")
    return stage
