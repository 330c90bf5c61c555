"""The loop that lets the clock act: on time, in batches, and whatever goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from builders import at, receiver, step
from desks import Office, make_settings, office, running
from ledgers import accept, claim, incident, page, put, resolved, slot
from msgspec.structs import replace
from sqlalchemy.exc import OperationalError

from bridge.escalator import Escalator
from bridge.incidents import Incident
from bridge.policy import Receiver
from bridge.store import Topic, Tx
from bridge.store.tables import calls, incidents, pages

LOCKED = OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path) as found:
        yield found


@pytest.fixture
def escalator(room: Office) -> Escalator:
    made = Escalator(room.desk, room.clock)
    room.store.on(Topic.CLOCK, made.wake)
    return made


async def rings(room: Office) -> list[tuple[float, str]]:
    """Each page: (seconds since the story began, whom)."""
    found = sorted((row["due_at"], row["target"]) for row in await room.look.rows(pages))
    return [((when - at(0)).total_seconds(), target) for when, target in found]


async def pass_(room: Office, seconds: float) -> None:
    room.clock.move(seconds)
    await room.clock.asleep(1)


# --- on time ----------------------------------------------------------------------------------


async def test_it_rings_again_when_the_time_has_come_and_not_before(
    room: Office, escalator: Escalator
) -> None:
    async with running(escalator.run()):
        await room.fire("DiskFull")
        await room.clock.asleep(1)
        await pass_(room, 44.999)
        assert await rings(room) == [(0, "alice-iphone")]
        await pass_(room, 0.001)
        assert await rings(room) == [(0, "alice-iphone"), (45, "alice-iphone")]


async def test_it_sleeps_until_what_is_due_next_rather_than_until_its_next_look(
    room: Office, escalator: Escalator
) -> None:
    async with running(escalator.run()):
        await room.clock.asleep(1)
        await put(room.store, incident(due_at=at(0.25)))
        await room.clock.asleep(1)
        await pass_(room, 0.25)
        assert await rings(room) == [(0.25, "alice-iphone")]


async def test_it_finds_by_itself_what_nobody_woke_it_for(room: Office) -> None:
    """A poll stands behind the wake-up."""
    async with running(Escalator(room.desk, room.clock).run()):
        await room.clock.asleep(1)
        await put(room.store, incident(due_at=at(0)))
        await pass_(room, 1)
        assert await rings(room) == [(1, "alice-iphone")]


async def test_after_a_restart_it_goes_on_where_the_last_bridge_stopped(tmp_path: Path) -> None:
    async with office(tmp_path) as room:
        await room.fire("DiskFull")
    async with office(tmp_path) as room:
        room.clock.move(50)
        await Escalator(room.desk, room.clock).tick()
        assert await rings(room) == [(0, "alice-iphone"), (50, "alice-iphone")]


async def test_between_what_is_due_it_does_nothing(room: Office, escalator: Escalator) -> None:
    async with running(escalator.run()):
        await room.fire("DiskFull")
        await room.clock.asleep(1)
        before = list(room.transactions.log)
        for _ in range(20):
            await pass_(room, 1)
        assert room.transactions.log == before


# --- in batches -------------------------------------------------------------------------------


async def test_all_that_is_due_is_advanced_in_few_transactions(room: Office, escalator: Escalator) -> None:
    await put(room.store, *(incident(f"Alert{number}", due_at=at(0)) for number in range(250)))
    before = room.transactions.count("commit")
    await escalator.tick()
    assert len(await rings(room)) == 250
    assert room.transactions.count("commit") - before == 2


async def test_an_incident_that_closed_in_the_meantime_is_left_alone(
    room: Office, escalator: Escalator
) -> None:
    over = replace(resolved(incident()), due_at=at(0))
    await put(room.store, over)
    await room.store.write(lambda tx: tx.connection.execute(incidents.update().values(wake_at=None)))
    await room.desk.advance([over.id])
    assert await rings(room) == []


async def test_it_says_once_that_nobody_answered(tmp_path: Path) -> None:
    settings = make_settings(receiver(step("platform", every=45, times=1, then_after=45)))
    async with office(tmp_path, settings) as room:
        escalator = Escalator(room.desk, room.clock)
        (change,) = await room.fire("DiskFull")
        # A push was taken: a policy that reaches nobody at all is repeated without end.
        await put(room.store, replace(change.incident, reached=True))
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                room.clock.move(60)
                await escalator.tick()
        told = [line for line in logs if line["event"] == "unanswered"]
        assert [(line["incident"], line["log_level"]) for line in told] == [(change.incident.id, "error")]


# --- whatever goes wrong ----------------------------------------------------------------------


async def test_a_round_that_failed_shows_as_unhealthy_and_the_next_one_makes_up_for_it(room: Office) -> None:
    escalator = Escalator(room.desk, room.clock)
    await put(room.store, incident(due_at=at(0)))
    room.transactions.failing["begin"] = [LOCKED, LOCKED]
    with structlog.testing.capture_logs() as logs:
        async with running(escalator.run()) as task:
            await room.clock.asleep(1)
            assert not escalator.healthy
            await pass_(room, 1)
            assert not escalator.healthy
            await pass_(room, 1)
            assert escalator.healthy
            assert await rings(room) == [(2, "alice-iphone")]
            assert not task.done()
    assert "the incidents cannot be advanced" in {line["event"] for line in logs}


async def test_a_ledger_that_cannot_be_read_does_not_end_the_loop(
    room: Office, escalator: Escalator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise OSError("no such file")

    with structlog.testing.capture_logs(), monkeypatch.context() as patch:
        patch.setattr(room.store, "ask", broken)
        async with running(escalator.run()) as task:
            await room.clock.asleep(1)
            assert not escalator.healthy
            patch.undo()
            await pass_(room, 1)
            assert escalator.healthy
            assert not task.done()


def poisoned(count: int) -> list[Incident]:
    """Incidents with whose receiver no decision can be made."""
    return [
        incident(f"Bad{number}", at_slot=slot(f"Bad{number}", "poison"), due_at=at(-1))
        for number in range(count)
    ]


@pytest.mark.parametrize("count", [1, 99])
async def test_an_incident_that_cannot_be_advanced_holds_up_no_other(tmp_path: Path, count: int) -> None:
    settings = make_settings(receiver(), Receiver("poison", steps=None))  # type: ignore[arg-type]
    async with office(tmp_path, settings) as room:
        await put(room.store, *poisoned(count), *(incident(f"Alert{n}", due_at=at(0)) for n in range(150)))
        escalator = Escalator(room.desk, room.clock)
        with structlog.testing.capture_logs() as logs, pytest.raises(TypeError):
            await escalator.tick()
        assert len(await rings(room)) == 150
        (line,) = [line for line in logs if line["event"] == "what cannot be decided"]
        assert set(line["ids"]) == {one.id for one in poisoned(count)}


async def test_an_incident_that_cannot_be_advanced_holds_up_no_call_that_got_no_receipt(
    tmp_path: Path,
) -> None:
    settings = make_settings(receiver(), Receiver("poison", steps=None))  # type: ignore[arg-type]
    async with office(tmp_path, settings) as room:
        rung = incident()
        await put(room.store, rung, *poisoned(1), pages=[page(rung)])
        (bundle,) = (await claim(room.store)).bundles
        await accept(room.store, bundle)

        async def wait_for_a_word(tx: Tx) -> None:
            await tx.connection.execute(calls.update().values(receipt_due_at=at(5)))
            tx.tell(Topic.CLOCK, at(5))

        await room.store.write(wait_for_a_word)
        room.clock.move(5)
        with structlog.testing.capture_logs(), pytest.raises(TypeError):
            await Escalator(room.desk, room.clock).tick()
        assert sorted(row["kind"] for row in await room.look.rows(pages)) == ["fallback", "ring"]


async def test_what_cannot_be_advanced_is_tried_once_in_each_round(tmp_path: Path) -> None:
    """Else its companions of every batch would have to be committed one by one."""
    settings = make_settings(receiver(), Receiver("poison", steps=None))  # type: ignore[arg-type]
    async with office(tmp_path, settings) as room:
        await put(room.store, *poisoned(1), *(incident(f"Alert{n}", due_at=at(0)) for n in range(250)))
        with structlog.testing.capture_logs() as logs, pytest.raises(TypeError):
            await Escalator(room.desk, room.clock).tick()
        assert [line["event"] for line in logs].count("a joint transaction failed") == 1


async def test_a_ledger_that_refuses_everything_is_not_asked_again_for_the_rest(room: Office) -> None:
    await put(room.store, *(incident(f"Alert{n}", due_at=at(0)) for n in range(600)))
    room.transactions.failing["begin"] = [LOCKED] * 10
    with pytest.raises(OperationalError):
        await Escalator(room.desk, room.clock).tick()
    assert len(room.transactions.failing["begin"]) == 6, "the first 500, 128 to a transaction"
