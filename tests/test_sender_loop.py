"""The loop that empties the outbox: it wakes when it should, does not spin, and loses nothing when it is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from builders import at
from desks import running
from ledgers import incident, page, put, release
from msgspec.structs import replace
from senderworld import ALICE, World, world
from sqlalchemy.exc import OperationalError

from bridge import people
from bridge.sender import Phones
from bridge.simulator import scripted
from bridge.store import Topic, outbox
from bridge.store.calls import Receipt

LOCKED = OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))


@pytest.fixture
async def sending(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as found:
        yield found


@pytest.fixture
async def loop(sending: World) -> AsyncIterator[asyncio.Task[None]]:
    """The sender's loop, woken by commits as in the bridge."""
    sending.room.store.on(Topic.PAGES, sending.sender.outlook.wake, sending.sender.outlook.look)
    async with running(sending.sender.run()) as task:
        yield task


async def idle(sending: World, seconds: float = 0) -> None:
    """Let time pass, and come back when the loop sleeps and nothing is under way."""
    sending.clock.move(seconds)
    await sending.clock.asleep(1)
    while sending.sender._tasks:
        await sending.sender.drain()
        await sending.clock.asleep(1)


def fates(sending: World) -> list[str]:
    return [push.fate for push in sending.alice.pushes.items]


async def test_a_push_takes_no_less_than_no_time_where_the_ledgers_clock_is_set_back(sending: World) -> None:
    """Rule 10: each commit on PostgreSQL steers the bridge's clock."""
    judge = sending.sim.tokens.check

    def back(*asked: Any) -> Any:
        sending.clock._now -= timedelta(seconds=1)
        return judge(*asked)

    sending.sim.tokens.check = back  # type: ignore[method-assign]
    await put(sending.room.store, one := incident(), pages=[page(one)])
    await sending.send()
    assert sending.metric("push_duration_seconds_count") == 1
    assert sending.metric("push_duration_seconds_sum") >= 0


# --- when it looks ----------------------------------------------------------------------------


async def test_a_page_goes_out_when_its_decision_is_committed_without_any_time_passing(
    sending: World, loop: asyncio.Task[None]
) -> None:
    await idle(sending)
    await sending.room.fire("DiskFull")
    await idle(sending)
    assert fates(sending) == ["rang"]
    assert sending.clock.now() == at(0)


async def test_what_nobody_woke_it_for_is_found_within_a_second(sending: World) -> None:
    async with running(sending.sender.run()):
        await idle(sending)
        await sending.room.fire("DiskFull")
        await idle(sending, 1)
        assert fates(sending) == ["rang"]


async def test_a_page_that_waits_for_its_phone_does_not_make_the_loop_spin(
    sending: World, loop: asyncio.Task[None]
) -> None:
    await sending.room.fire("One")
    await idle(sending)
    await sending.room.fire("Two")
    await idle(sending)
    before = len(sending.room.transactions.log)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(sending.room.transactions.log) == before
    await idle(sending, 1)
    assert sending.room.transactions.log[before:] == ["begin", "commit"], "one look a second"


async def test_what_waited_for_the_quiet_gap_goes_out_when_it_ends(
    sending: World, loop: asyncio.Task[None]
) -> None:
    """Rule 5."""
    await sending.room.fire("One")
    await idle(sending)
    await put(sending.room.store, incident("Two"))
    await sending.put(replace(page(incident("Two")), expires_at=at(600)))
    await idle(sending, 59)
    assert fates(sending) == ["rang"]
    await idle(sending, 1)
    assert fates(sending) == ["rang", "rang"]


@pytest.mark.parametrize("gap", [0, 20.5])
async def test_what_waits_for_a_phone_goes_out_when_its_call_and_gap_are_over(
    tmp_path: Path, gap: float
) -> None:
    """Rule 5: as soon as a receipt has ended the call; no poll is waited for."""
    async with world(tmp_path, quiet_gap=timedelta(seconds=gap)) as sending:
        sending.alice.profile.behaviour = "silent"
        sending.room.store.on(Topic.PAGES, sending.sender.outlook.wake, sending.sender.outlook.look)
        async with running(sending.sender.run()):
            await sending.room.fire("One")
            await idle(sending)
            await sending.room.fire("Two")
            await idle(sending, 5.7)
            call = await sending.call()
            await sending.desk.receipt(call["id"], Receipt("e1", "answered"))
            await idle(sending)
            await idle(sending, gap)
            assert len(sending.alice.pushes.items) == 2


async def test_what_waits_for_a_phone_goes_out_when_nobody_said_that_its_call_is_over(tmp_path: Path) -> None:
    """Rule 5."""
    async with world(tmp_path, quiet_gap=timedelta(seconds=10)) as sending:
        sending.alice.profile.behaviour = "silent"
        sending.room.store.on(Topic.PAGES, sending.sender.outlook.wake, sending.sender.outlook.look)
        async with running(sending.sender.run()):
            sending.clock.move(0.3)
            await sending.room.fire("One")
            await idle(sending)
            await sending.room.fire("Two")
            for seconds in (0.4, 29.6, 9.5):
                await idle(sending, seconds)
            assert len(sending.alice.pushes.items) == 1
            await idle(sending, 0.5)
            assert len(sending.alice.pushes.items) == 2


async def test_what_waits_for_a_phone_goes_out_when_a_push_came_to_nothing_that_nobody_wants_any_more(
    sending: World, loop: asyncio.Task[None]
) -> None:
    hold, settle = asyncio.Event(), sending.sender._settle

    async def late(*asked: Any) -> None:
        await hold.wait()
        await settle(*asked)

    async def no_alarm(*_: Any) -> None:
        """It has been told lately."""

    sending.sender._settle, sending.sender._alarm = late, no_alarm  # type: ignore[method-assign]
    sending.alice.answer_next(scripted({"reason": "PayloadEmpty"}))
    await sending.room.fire("One")
    await sending.clock.asleep(1)
    await sending.room.resolve("One")
    await sending.room.fire("Two")
    await sending.clock.asleep(1)
    hold.set()
    await idle(sending)
    assert fates(sending)[-1:] == ["rang"]


async def test_it_sleeps_no_longer_than_until_the_next_try_is_due(
    sending: World, loop: asyncio.Task[None]
) -> None:
    sending.alice.answer_next(scripted({"reason": "ServiceUnavailable"}))
    await sending.room.fire("DiskFull")
    await idle(sending)
    again = (await sending.page())["next_attempt_at"] - sending.clock.now()
    assert 0 < again.total_seconds() < 1
    await idle(sending, again.total_seconds())
    assert fates(sending) == ["rang"]


# --- when it fails ----------------------------------------------------------------------------


async def test_a_ledger_that_cannot_be_written_shows_as_unhealthy_and_the_page_goes_out_later(
    sending: World,
) -> None:
    await sending.room.fire("DiskFull")
    sending.room.transactions.failing["begin"] = [LOCKED]
    with structlog.testing.capture_logs() as logs:
        async with running(sending.sender.run()) as task:
            await idle(sending)
            assert not sending.sender.healthy
            await idle(sending, 1)
            assert sending.sender.healthy
            assert fates(sending) == ["rang"]
            assert not task.done()
    assert [line["event"] for line in logs if line["log_level"] == "error"] == [
        "the outbox cannot be worked on"
    ]


async def test_a_push_whose_settlement_could_not_be_committed_is_repeated_as_the_same_call(
    sending: World,
) -> None:
    """The phone says that it knows the call: it rang once."""
    await sending.room.fire("DiskFull")
    await sending.sender.tick()
    sending.room.transactions.failing["commit"] = [LOCKED]
    with structlog.testing.capture_logs() as logs:
        await sending.sender.drain()
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["a send failed"]
    assert (await sending.page())["state"] == "sending"
    await sending.send(14.9)
    assert fates(sending) == ["rang"]
    await sending.send(0.1)
    assert fates(sending) == ["rang", "repeat"]
    row, call = await sending.page(), await sending.call()
    assert (row["outcome"], row["attempt"]) == ("accepted", 2)
    assert {push.apns_id for push in sending.alice.pushes.items} == {call["id"]}


async def test_a_sender_that_died_between_send_and_settlement_is_made_up_for_by_the_next_one(
    sending: World,
) -> None:
    sending.alice.profile.behaviour = "slow"  # the phone has it at once, the answer comes in 5 s
    await sending.room.fire("DiskFull")
    await sending.sender.tick()
    await sending.alice.wait_for_push()
    for task in list(sending.sender._tasks):
        task.cancel()
    await sending.sender.drain()
    sending.sender = sending.make()
    sending.alice.profile.behaviour = "normal"
    await release(sending.room.store)
    await sending.send(1)
    assert fates(sending) == ["rang", "repeat"]
    assert [row[2] for row in await sending.pages()] == ["accepted"]


async def test_a_loop_that_is_stopped_while_its_claim_is_committed_sends_what_it_has_claimed(
    sending: World,
) -> None:
    """Else nobody would for the length of a lease, and the phone would be busy: at each rolling update."""
    await sending.room.fire("DiskFull")
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_: Any) -> None:
        begun.set()
        await go_on.wait()

    store = sending.room.store
    ahead = asyncio.create_task(store.write(hold))
    await begun.wait()
    async with running(sending.sender.run()):
        while not store.waiting:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)
    go_on.set()
    await ahead
    await sending.sender.drain()
    assert fates(sending) == ["rang"]
    assert [row[2] for row in await sending.pages()] == ["accepted"]


# --- what is withdrawn under way --------------------------------------------------------------


async def under_way(sending: World) -> str:
    """Have a push on its way that the phone has got and APNs has not answered; gives the incident's id."""
    sending.alice.profile.behaviour = "slow"
    (change,) = await sending.room.fire("DiskFull")
    await sending.sender.tick()
    await sending.alice.wait_for_push()
    await sending.desk.act(change.incident.id, people.acknowledge("bob"))
    row = await sending.page()
    assert (row["state"], row["withdrawn"]) == ("sending", "acknowledged")
    return change.incident.id


async def test_a_page_that_is_withdrawn_while_it_is_sent_settles_with_apns_answer(sending: World) -> None:
    await under_way(sending)
    sending.clock.move(5)
    await sending.sender.drain()
    assert await sending.pages() == [("ring", ALICE, "accepted", None)]
    row = await sending.incident()
    assert (row["state"], row["told"]) == ("acknowledged", [ALICE]), "the phone must hear of its end"


async def test_a_page_that_is_withdrawn_while_it_is_sent_is_not_repeated_and_is_told_of(
    sending: World,
) -> None:
    """Nothing is dropped without a trace: not from the log and the metrics either."""
    sending.alice.profile.behaviour = "slow"
    answer = scripted({"reason": "ServiceUnavailable"})
    (change,) = await sending.room.fire("DiskFull")
    send = sending.sender._apns().send

    class Late:
        async def send(self, request: Any) -> Any:
            sending.alice.answer_next(answer)
            outcome = await send(request)
            await sending.desk.act(change.incident.id, people.acknowledge("bob"))
            return outcome

    sending.sender._apns = Late
    with structlog.testing.capture_logs() as logs:
        await sending.sender.tick()
        await sending.sender.drain()
    assert [row[2:] for row in await sending.pages()] == [("withdrawn", "acknowledged")]
    (line,) = [line for line in logs if line["event"] == "page settled"]
    assert (line["outcome"], line["reason"]) == ("withdrawn", "acknowledged")
    assert sending.metric("pages_settled_total", kind="ring", outcome="withdrawn") == 1
    assert await sending.room.store.read(outbox.next_due) is None


# --- the phone's way back ---------------------------------------------------------------------


async def test_a_payload_says_where_receipts_go_and_with_which_token(sending: World) -> None:
    sending.sender._phones = Phones("https://phones.example/", lambda call: f"token of {call}")
    sending.alice.profile.behaviour = "silent"
    await sending.room.fire("DiskFull")
    await sending.send()
    (push,) = sending.alice.pushes.items
    call = (await sending.call())["id"]
    assert push.payload["call"]["receipt_url"] == f"https://phones.example/api/v1/calls/{call}/receipts"
    assert push.payload["call"]["receipt_token"] == f"token of {call}"


async def test_without_a_listener_for_phones_a_payload_names_none(sending: World) -> None:
    await sending.room.fire("DiskFull")
    await sending.send()
    (push,) = sending.alice.pushes.items
    assert set(push.payload["call"]) == {"id", "uuid", "expires_at"}
