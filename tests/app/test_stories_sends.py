"""What happens in the middle of a send, and with phones that accept and say nothing; told on the running bridge."""

from pathlib import Path

from appworld import World, until
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs
from told import Told, told_twice

from bridge.simulator import scripted
from bridge.store.tables import calls

HOUR = 3600


async def acknowledge(world: World, name: str = "bob") -> None:
    """Let somebody acknowledge in their app the one incident that there is."""
    membership = world.sim.phone(name).enrolled
    (listed,) = (await membership.ask("GET", "/api/v1/incidents"))["incidents"]
    await membership.act(listed["id"], "acknowledge")


async def sending(world: World) -> None:
    """Have a call on alice's phone of which APNs has not yet said that it took it."""
    world.alice.profile.behaviour, world.alice.profile.delay = "slow", 3
    assert (await world.post("/webhook", world.message(world.alert()))).status == 200
    await world.alice.wait_for_call(30)


# --- an acknowledgement during a send ---------------------------------------------------------


async def test_an_acknowledgement_during_a_send_ends_the_ring_before_apns_has_answered(home: World) -> None:
    await sending(home)
    (call,) = home.alice.calls.items
    await acknowledge(home)
    await call.wait_for("ended", 30)
    assert call.why == "acknowledged: answered by bob"
    home.clock.move(3)
    await home.pass_(HOUR)
    assert (home.rings("alice"), home.rings("bob")) == ([0], [])
    (page,) = (page for page in (await home.incident())["pages"] if page["kind"] == "ring")
    assert (page["outcome"], page["reason"]) == ("accepted", "the phone said so")


async def test_a_push_that_fails_after_the_acknowledgement_is_not_tried_again(home: World) -> None:
    home.alice.answer_next(scripted({"reason": "ServiceUnavailable", "retry_after": 5}))
    assert (await home.post("/webhook", home.message(home.alert()))).status == 200
    await acknowledge(home)
    await home.pass_(60)
    assert home.alice.calls.items == []
    (page,) = (page for page in (await home.incident())["pages"] if page["kind"] == "ring")
    assert (page["outcome"], page["reason"]) == ("withdrawn", "acknowledged")


async def test_a_kill_in_the_middle_of_it_rings_nobody_again(tmp_path: Path) -> None:
    async with Told(tmp_path, None) as told:
        await told.begin("alice", "bob")
        await sending(told)
        await acknowledge(told)
        await told.kill()
        told.alice.profile.behaviour = "normal"
        await told.start()
        await told.pass_(HOUR)
        assert told.fates()[0] == "rang"
        assert (told.rings("alice"), told.rings("bob")) == ([0], [])
        assert told.alice.calls.items[0].why == "acknowledged: answered by bob"
        (page,) = (page for page in (await told.incident())["pages"] if page["kind"] == "ring")
        assert page["outcome"] == "accepted"


# --- a token that changes during a send -------------------------------------------------------


async def test_a_push_to_a_token_that_changed_meanwhile_rings_at_the_new_one_at_once(home: World) -> None:
    """PushKit's didUpdate comes while the push is on its way: the phone is there, and rings."""
    home.sim.apns.freeze(frozen=True)
    assert (await home.post("/webhook", home.message(home.alert()))).status == 200
    await until(lambda: home.bridge.transport.streams_in_flight == 1, "nothing was sent")
    await home.alice.rotate_tokens()
    home.sim.apns.freeze(frozen=False)
    await home.settled()
    assert (home.rings(), home.elapsed) == ([0], 0)
    assert [one.answer.status for one in home.sim.service.answered] == [410, 200]
    (page,) = (await home.incident())["pages"]
    assert (page["kind"], page["outcome"], page["attempt"]) == ("ring", "accepted", 2)
    assert (await home.alice.enrolled.ask("GET", "/api/v1/device"))["would_ring"]


# --- a phone that accepts and says nothing ----------------------------------------------------


@told_twice
async def test_a_phone_that_is_silent_for_two_calls_is_doubtful_until_it_speaks(told: Told) -> None:
    """Named in metric, log and listing before the next night; rule 6."""
    await told.begin("alice", "bob")
    told.alice.profile.behaviour = "silent"
    with capture_logs() as logs:
        for name, doubtful in (
            ("DiskFull", []),
            ("NodeDown", ["doubtful: it said nothing of its last 2 calls"]),
        ):
            await told.webhook(told.alert(name))
            await told.pass_(20)
            assert told.bob.calls.items[-1].state == "ringing", "no word for 10 s, nor for the notification"
            told.bob.answer()
            await told.pass_(100)
            assert await troubles(told) == doubtful
    named = [one["device"] for one in logs if one["event"] == "device is doubtful"]
    assert named == ["alice-iphone"]
    assert 'pushkit_bridge_device_doubtful{device="alice-iphone"} 2.0' in (await told.get("/metrics")).text
    told.alice.profile.behaviour = "normal"
    await told.webhook(told.alert("Latency"))
    assert told.rings() == [240]
    assert await troubles(told) == []
    assert "pushkit_bridge_device_doubtful{" not in (await told.get("/metrics")).text
    told.alice.answer()
    await told.settled()


async def troubles(world: World) -> list[str]:
    """What the listing says of alice's phone."""
    devices = (await world.get("/api/v1/devices")).json["devices"]
    (alice,) = (one for one in devices if one["name"] == "alice-iphone")
    assert alice["would_ring"] == (not alice["troubles"])
    return [text.removesuffix(": open the app on it, and see that it rings") for text in alice["troubles"]]


async def awaited(connection: AsyncConnection) -> int:
    """How many calls a receipt is awaited for."""
    query = select(func.count()).where(calls.c.receipt_due_at.is_not(None))
    found: int = (await connection.execute(query)).scalar_one()
    return found


async def test_a_phone_known_by_static_tokens_alone_is_never_awaited_and_never_doubtful(world: World) -> None:
    """Rule 6: it follows the ring schedule."""
    world.alice.profile.behaviour = "silent"
    await world.webhook(world.alert())
    for _ in range(4):
        assert await world.bridge.store.ask(awaited) == 0
        await world.pass_(45)
    assert [push.notification.push_type for push in world.alice.pushes.items] == ["voip"] * 4
    assert world.bob.pushes.items == []
    assert await troubles(world) == []
    assert "pushkit_bridge_device_doubtful{" not in (await world.get("/metrics")).text


# --- APNs' answer is late, or lost ------------------------------------------------------------


async def test_a_receipt_settles_its_page_and_holds_the_phone_though_apns_has_not_answered(
    home: World,
) -> None:
    """Rule 5: one call at a time. Only the phone's word says that it rings."""
    home.alice.profile.behaviour, home.alice.profile.delay = "slow", 20
    assert (await home.post("/webhook", home.message(home.alert()))).status == 200
    await home.alice.wait_for_call(30)
    await home.alice.wait_for_receipt(30)
    (page,) = (await home.incident())["pages"]
    assert (page["outcome"], page["reason"]) == ("accepted", "the phone said so")
    home.alice.profile.behaviour = "normal"
    await home.post("/webhook", home.message(home.alert("NodeDown")))
    await home.pass_(59)
    assert home.rings("alice")[:2] == [0, 45], "the first one's second ring takes the other along"
    assert home.fates("alice") == ["rang", "rang"], "no repetition, no stand-in"


async def test_a_call_that_rings_is_not_rung_over_after_a_kill_that_lost_apns_answer(tmp_path: Path) -> None:
    async with Told(tmp_path, None) as told:
        await told.begin("alice")
        await sending(told)
        await told.alice.wait_for_receipt(30)
        await told.kill()
        told.alice.profile.behaviour = "normal"
        await told.start()
        await told.webhook(told.alert("NodeDown"))
        await told.pass_(29)
        assert told.rings("alice") == [0]
        assert "notified" not in told.fates("alice")
