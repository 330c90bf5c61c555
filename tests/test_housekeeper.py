"""The loop that keeps the ledger in order: what is old goes, and what is overdue is named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import at
from desks import Office, make_settings, office, running
from ledgers import incident, opening, page, put, resolved
from msgspec.structs import replace
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from bridge.config.settings import StorageSettings
from bridge.housekeeper import Housekeeper
from bridge.store import Scope, audit
from bridge.store.tables import incidents

AN_HOUR = make_settings(storage=StorageSettings("sqlite:////nowhere", timedelta(hours=1)))


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path, AN_HOUR) as found:
        yield found


async def pass_(room: Office, seconds: float) -> None:
    room.clock.move(seconds)
    await room.clock.asleep(1)


# --- what is old ------------------------------------------------------------------------------


async def put_old(room: Office, count: int) -> None:
    many = [resolved(incident(f"Old{number}", opened_at=at(-9999)), -5000) for number in range(count)]
    await room.store.update(Scope(), opening(*many))


async def left(room: Office) -> int:
    return len(await room.look.rows(incidents, state="resolved"))


async def test_what_is_older_than_the_retention_goes_a_batch_at_a_time(room: Office) -> None:
    await put_old(room, 1200)
    await put(room.store, incident())
    found = []
    async with running(Housekeeper(room.desk, room.clock).run()):
        await room.clock.asleep(1)
        while await left(room):
            found.append(await left(room))
            await pass_(room, 60)
    assert found == [700, 200]
    assert len(await room.look.rows(incidents)) == 1, "the open one"


async def test_when_nothing_old_is_left_it_looks_again_ten_minutes_later(room: Office) -> None:
    async with running(Housekeeper(room.desk, room.clock).run()):
        await room.clock.asleep(1)
        await put_old(room, 1)
        await pass_(room, 599)
        assert await left(room) == 1
        await pass_(room, 1)
        assert await left(room) == 0


async def test_what_is_younger_than_the_retention_stays(room: Office) -> None:
    await put(room.store, resolved(incident()), pages=[page(incident())])
    async with running(Housekeeper(room.desk, room.clock).run()):
        await pass_(room, 3600)
        assert await left(room) == 1


async def test_a_ledger_that_cannot_be_written_does_not_end_it(room: Office) -> None:
    await put_old(room, 1)
    locked = OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))
    room.transactions.failing["begin"] = [locked]
    with capture_logs() as logs:
        async with running(Housekeeper(room.desk, room.clock).run()):
            await room.clock.asleep(1)
            assert await left(room) == 1
            await pass_(room, 10)
            assert await left(room) == 0
    assert [line["event"] for line in logs].count("the ledger cannot be kept in order") == 1


async def test_a_ledger_that_refuses_to_prune_is_not_asked_again_at_once(room: Office) -> None:
    locked = OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))
    async with running(Housekeeper(room.desk, room.clock).run()):
        await room.clock.asleep(1)
        room.transactions.failing["begin"] = [locked] * 20
        with capture_logs() as logs:
            await pass_(room, 600)
            assert [line["event"] for line in logs] == ["the ledger cannot be kept in order"]
            await pass_(room, 10)
    assert len(logs) == 2


async def test_it_notes_since_when_what_is_accepted_is_recorded_once(room: Office) -> None:
    for _ in range(2):
        async with running(Housekeeper(room.desk, room.clock).run()):
            await pass_(room, 5)
    assert await room.store.read(audit.began) == at(5)


# --- what is overdue --------------------------------------------------------------------------


def named(logs: list[Any]) -> list[str]:
    return [line["page"] for line in logs if line["event"] == "page overdue"]


async def test_each_page_that_is_overdue_is_named_once(room: Office) -> None:
    """Rule 12: its time was over two minutes ago, and it has no outcome."""
    one = incident()
    soon, late = (replace(page(one, due=due), id=f"due {due}") for due in (0, 100))
    await put(room.store, one, pages=[soon, late])
    async with running(Housekeeper(room.desk, room.clock).run()):
        with capture_logs() as logs:
            await pass_(room, 45 + 119)
            assert named(logs) == []
            await pass_(room, 10)
            await pass_(room, 50)
            assert named(logs) == ["due 0"]
            await pass_(room, 50)
        (first, second) = [line for line in logs if line["event"] == "page overdue"]
    assert first | {"seconds": 129} == first, "since its time was over"
    assert (first["log_level"], first["incident"], first["target"]) == ("error", one.id, "alice-iphone")
    assert second["page"] == "due 100"


async def test_however_many_are_overdue_at_one_instant_each_is_named(room: Office) -> None:
    one = incident()
    await put(room.store, one, pages=[replace(page(one), id=f"{number:04}") for number in range(1001)])
    async with running(Housekeeper(room.desk, room.clock).run()):
        with capture_logs() as logs:
            await pass_(room, 200)
            await pass_(room, 200)
    assert sorted(named(logs)) == [f"{number:04}" for number in range(1001)]
