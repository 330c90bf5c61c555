"""The loop that asks Alertmanager: whatever happens beside it, it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from desks import Office, office, running

from bridge.reconciler import Reconciler


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path) as found:
        yield found


async def test_a_reload_that_takes_an_alertmanager_away_as_it_is_about_to_be_asked_ends_nothing(
    room: Office,
) -> None:
    known: dict[str, Any] = {"default": None}
    rounds: list[list[str]] = []
    over = asyncio.Event()

    def reload() -> None:
        known.clear()
        reconciler.wake()

    def alertmanagers() -> dict[str, Any]:
        rounds.append(list(known))
        if known:
            # Between the round that finds it due and the question, as a reload may come.
            asyncio.get_running_loop().call_soon(reload)
        if len(rounds) == 4:
            over.set()
        return known.copy()

    reconciler = Reconciler(room.desk, alertmanagers, room.clock, room.desk.metrics)
    async with running(reconciler.run()) as task:
        waits = asyncio.create_task(over.wait())
        await asyncio.wait({task, waits}, return_when=asyncio.FIRST_COMPLETED)
        waits.cancel()
    assert rounds == [["default"], [], [], []], "a round, the reload, the question, another round"
