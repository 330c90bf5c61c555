"""What a restart changes: nothing (issue 2: rings and steps are driven from the ledger)."""

import asyncio

import aiohttp
import pytest
from appworld import World, until

from bridge import keeper
from bridge.app import Bridge
from bridge.simulator import Answer
from bridge.store import StoreError, recall


async def crash(world: World) -> None:
    """End the bridge as `kill -9` would: what was being sent is not settled."""
    for task in world.bridge.sender._tasks:
        task.cancel()
    await world.stop()


async def test_rings_and_steps_go_on_where_they_were(world: World) -> None:
    await world.webhook(world.alert())
    await world.pass_(60)
    await world.stop()
    world.clock.move(20)
    await world.start()
    await world.pass_(120)
    await world.restart()
    await world.pass_(400)
    assert world.rings("alice") == [0, 45, 90, 135, 600], "the last one is the alarm"
    assert world.rings("bob") == [300, 345, 390, 435]
    assert (await world.timeline())[-1] == "unanswered"


async def test_what_fell_due_while_nobody_ran_is_done_at_the_start(world: World) -> None:
    await world.webhook(world.alert())
    await world.pass_(50)
    await world.stop()
    world.clock.move(1000)
    await world.start()
    await world.settled()
    assert world.rings("alice") == [0, 45]
    assert world.rings("bob") == [1050], "the first step was over long ago"


async def test_a_restart_at_any_moment_changes_no_ring(world: World) -> None:
    await world.webhook(world.alert())
    for _ in range(16):
        await world.pass_(29)
        await world.restart()
    assert world.rings("alice") == [0, 45, 90, 135]
    assert world.rings("bob") == [300, 345, 390, 435]


async def test_an_acknowledgement_outlives_a_restart(world: World) -> None:
    await world.webhook(world.alert())
    world.alice.answer()
    await world.settled()
    await world.restart()
    await world.pass_(3600)
    incident = await world.incident()
    assert (incident["state"], incident["acknowledged_by"]) == ("acknowledged", "alice")
    assert world.rings() == [0]


async def test_the_provider_token_is_in_the_ledger_before_apple_sees_it(world: World) -> None:
    """A bridge that is killed again and again must not mint again and again: Apple refuses that."""
    token = world.bridge.transport.token
    assert token is not None
    kept = await recall(world.bridge.store, keeper._name(world.bridge.settings.apns))
    assert kept == f"{token[1]} {token[0]}"


async def test_a_push_under_way_at_a_crash_is_sent_again_as_the_same_call(world: World) -> None:
    """The lease of a dead bridge is let go at the start; the phone, which rings already, says so (rule 8)."""
    assert world.file.exists()
    world.alice.answer_next(Answer(manner="never", delivered=True))
    world.alice._outgoing._online = lambda: False  # its word would settle the page before the crash
    await world.post("/webhook", world.message(world.alert()))
    first = await world.alice.wait_for_push(30)
    await crash(world)
    world.alice._outgoing._online = lambda: True
    await world.start()
    await world.settled()
    again = await world.alice.wait_for_push(30)
    assert again.apns_id == first.apns_id
    assert again.payload["call"] == first.payload["call"] | {
        "receipt_url": again.payload["call"]["receipt_url"]
    }
    assert world.fates() == ["rang", "repeat"]
    assert world.rings() == [0]
    (page,) = (await world.incident())["pages"]
    assert (page["outcome"], page["attempt"]) == ("accepted", 2)
    assert "repeated" in await world.timeline()
    assert (await world.incident())["state"] == "triggered"


async def test_a_stop_lets_the_pushes_under_way_end_and_takes_no_more_webhooks(world: World) -> None:
    world.alice.profile.behaviour = "slow"
    await world.post("/webhook", world.message(world.alert()))
    await world.alice.wait_for_push(30)
    url = world.url
    stopping = asyncio.create_task(world.stop())

    async def refused() -> bool:
        try:
            await world.ask("POST", f"{url}/webhook", world.message())
        except aiohttp.ClientConnectionError:
            return True
        return False

    await until(refused)
    assert not stopping.done(), "the answer to the push is still to come"
    world.clock.move(5)
    await stopping
    await world.start()
    (page,) = (await world.incident())["pages"]
    assert (page["outcome"], page["attempt"]) == ("accepted", 1)


async def test_the_provider_token_outlives_restarts_however_soon_they_come(world: World) -> None:
    """Apple refuses a key that brings a second token within 20 minutes."""
    await world.webhook(world.alert())
    for _ in range(3):
        await world.restart()
        await world.pass_(45)
    assert world.rings() == [0, 45, 90, 135]
    assert {one.answer.status for one in world.sim.service.answered} == {200}
    (history,) = world.sim.tokens._histories.values()
    assert len(history.seen) == 1


async def test_the_provider_token_outlives_a_crash(world: World) -> None:
    """It is kept while the bridge runs, not only when it stops."""
    await world.webhook(world.alert())
    token = world.bridge.transport.token
    assert token is not None

    async def kept() -> bool:
        async with world.bridge.store._reader.connect() as connection:
            rows = await connection.exec_driver_sql("SELECT value FROM meta")
            return any(token[0] in value for (value,) in rows)

    await until(kept, "the token was not kept")


async def test_a_receipt_for_a_call_of_before_the_restart_counts(world: World) -> None:
    """The secret that signs receipt tokens is the ledger's, not the process's."""
    await world.webhook(world.alert())
    call = world.alice.calls.items[0].payload["call"]
    await world.restart()
    answer = await world.ask(
        "POST",
        f"{world.bridge.bound.phone}/api/v1/calls/{call['id']}/receipts",
        b'{"event_id": "e1", "receipt": "answered"}',
        headers={"Authorization": f"Bearer {call['receipt_token']}"},
    )
    assert answer.status == 200
    assert (await world.incident())["state"] == "acknowledged"


async def test_a_second_bridge_on_the_same_ledger_is_kept_out_with_a_clear_error(world: World) -> None:
    """Rule 11: a lock on the file."""
    assert world.file.exists()
    with pytest.raises(StoreError, match=r"in use by another bridge .*bridge\.db\.lock"):
        async with Bridge(world._options(), clock=world.clock):
            pass
    assert (await world.get("/-/ready")).status == 200
    await world.stop()
    await world.start()
