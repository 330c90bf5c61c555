"""The loop that asks Alertmanager: whatever happens beside it, it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from alertmanagers import StandIn, standing_in
from builders import receiver
from desks import Office, make_settings, office, running
from ledgers import incident, put, slot
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from bridge.alertmanager import Access, Alertmanager
from bridge.config import AlertmanagerSettings
from bridge.incidents import Incident
from bridge.policy import Receiver
from bridge.reconciler import Reconciler
from bridge.store import writer
from bridge.store.tables import incidents


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Office]:
    watched = {"default": AlertmanagerSettings(("http://127.0.0.1:9093",))}
    # Nobody can be told of the end of its incidents.
    poison = Receiver("poison", steps=None)  # type: ignore[arg-type]
    async with office(tmp_path, make_settings(receiver(), poison, alertmanagers=watched)) as found:
        yield found


@pytest.fixture
async def upstream(room: Office) -> AsyncIterator[StandIn]:
    async with standing_in(room.clock.now) as one:
        yield one


@pytest.fixture
async def reconciler(room: Office, upstream: StandIn) -> AsyncIterator[Reconciler]:
    async with aiohttp.ClientSession() as session:
        client = Alertmanager(session, Access([upstream.url]))
        yield Reconciler(room.desk, lambda: {"default": client}, room.clock, room.desk.metrics)


async def begin(room: Office, upstream: StandIn, *opened: Incident) -> None:
    """Have incidents whose alerts Alertmanager has."""
    await put(room.store, *opened)
    for one in opened:
        for alert in one.alerts.values():
            upstream.fires(**alert.labels)


async def pass_(room: Office, minutes: int) -> None:
    """Let time pass; Alertmanager is asked each minute."""
    for _ in range(minutes):
        room.clock.move(60)
        await room.clock.asleep(1)


async def states(room: Office) -> list[tuple[str, str]]:
    found = await room.look.rows(incidents)
    return sorted((row["group_values"][0][1], row["state"]) for row in found)


def many(count: int) -> list[Incident]:
    return [incident(f"Alert{number:03}") for number in range(count)]


async def test_a_storm_that_ends_unheard_ends_though_the_writers_lane_has_not_room_for_it(
    room: Office, upstream: StandIn, reconciler: Reconciler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_QUEUE", 60)
    await begin(room, upstream, *many(130))
    async with running(reconciler.run()):
        await room.clock.asleep(1)
        upstream.alerts.clear()
        before = room.transactions.count("commit")
        await pass_(room, 6)
    assert {state for _, state in await states(room)} == {"resolved"}
    assert room.transactions.count("commit") - before == 3, "50 incidents in each"
    assert room.desk.metrics.alerts_gone.labels("default")._value.get() == 130


async def test_an_incident_whose_end_cannot_be_decided_holds_up_no_other(
    room: Office, upstream: StandIn, reconciler: Reconciler
) -> None:
    bad = incident("Bad", at_slot=slot("Bad", "poison"), told=("alice-iphone",))
    await begin(room, upstream, *many(60), bad)
    async with running(reconciler.run()):
        await room.clock.asleep(1)
        upstream.alerts.clear()
        with capture_logs() as logs:
            await pass_(room, 6)
    assert [name for name, state in await states(room) if state != "resolved"] == ["Bad"]
    assert [line.get("incident") for line in logs if line["log_level"] == "error"] == [bad.id]


async def test_what_fires_again_is_news_also_where_the_end_of_another_cannot_be_written(
    room: Office, upstream: StandIn, reconciler: Reconciler
) -> None:
    again, ending = many(2)
    await begin(room, upstream, again, ending)
    async with running(reconciler.run()):
        await room.clock.asleep(1)
        upstream.alerts.discard(*again.alerts)
        await pass_(room, 1)
        upstream.alerts.clear()
        await pass_(room, 5)
        assert [state for _, state in await states(room)] == ["resolved", "triggered"]
        upstream.alerts.add(*again.alerts)
        locked = OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))
        room.transactions.failing["begin"] = [locked, locked]
        await pass_(room, 1)
        assert [state for _, state in await states(room)] == ["resolved", "triggered", "triggered"]
        await pass_(room, 1)
        assert [state for _, state in await states(room)] == ["resolved", "triggered", "resolved"]


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
