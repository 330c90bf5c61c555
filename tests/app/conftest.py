from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from appworld import World


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[World]:
    """APNs and the phones; the test writes the configuration and starts the bridge."""
    async with World(tmp_path) as world:
        yield world


@pytest.fixture
async def world(stage: World) -> World:
    """A running bridge."""
    await stage.start()
    return stage
