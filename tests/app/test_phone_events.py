"""The event stream: a phone whose app is awake hears at once what happens."""

import asyncio
import json
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from appworld import World, until
from handset import Handset, Told, listening

from bridge import front
from bridge.api.phone import events
from bridge.store import owned, queries
from bridge.store.owned import View


def lines(told: Sequence[Told]) -> list[str]:
    """What was told: the kinds of the timeline's lines, and the ends of calls."""
    return [one.data["event"]["kind"] if one.kind == "incident" else one.kind for one in told]


@pytest.fixture
async def both(stage: World) -> World:
    """Alice and bob ring together; their phones say nothing by themselves."""
    stage.config["devices"] = []
    stage.config["device_groups"][0]["owners"] = ["alice", "bob"]
    for phone in (stage.alice, stage.bob):
        phone.profile.behaviour = "silent"
    await stage.start()
    return stage


async def enrolled(world: World, owner: str) -> Handset:
    handset = await Handset.enrolled(world, owner)
    await handset.put(voip_token=world.sim.phone(owner).profile.voip_token)
    return handset


@pytest.fixture
async def alice(both: World) -> Handset:
    return await enrolled(both, "alice")


@pytest.fixture
async def bob(both: World) -> Handset:
    return await enrolled(both, "bob")


async def incident(handset: Handset) -> str:
    (one,) = (await handset.get("/incidents?state=all")).json["incidents"]
    name: str = one["id"]
    return name


# --- what is told -----------------------------------------------------------------------------


async def test_each_line_of_the_timeline_is_told_in_order_with_the_incident_as_it_is(alice: Handset) -> None:
    world = alice.world
    async with listening(alice) as ear:
        await world.webhook(world.alert())
        told = await ear.until("ring")
        name = await incident(alice)
        await alice.act(name, "notes", text="zwei\nZeilen \u2028 🙂")
        told += await ear.until("note")
        await alice.act(name, "acknowledge")
        told += await ear.until("acknowledged")
    shown = (await alice.get(f"/incidents/{name}")).json
    assert lines(told) == ["triggered", "ring", "note", "call_ended", "acknowledged"]
    heard = [one for one in told if one.kind == "incident"]
    assert [one.data["event"] for one in heard] == shown["timeline"]
    assert [one.number for one in heard] == [event["id"] for event in shown["timeline"]]
    assert heard[-1].data["incident"] == {
        key: value for key, value in shown.items() if key not in {"alerts", "timeline"}
    }


async def test_an_acknowledgement_ends_the_rings_on_all_phones_before_anything_else_is_told(
    alice: Handset, bob: Handset
) -> None:
    """Design: it ends all rings on all phones; the very next thing that each phone hears is the end of its call."""
    world = alice.world
    async with listening(alice) as hers, listening(bob) as his:
        await world.webhook(world.alert())
        for ear in (hers, his):
            await ear.until("ring")
        await bob.act(await incident(bob), "acknowledge")
        for ear, phone in ((hers, world.alice), (his, world.bob)):
            told = await ear.until("acknowledged")
            assert lines(told) == ["call_ended", "acknowledged"]
            pushed = phone.pushes.items[0].payload["call"]
            assert told[0].data == {
                "call": pushed["id"],
                "uuid": pushed["uuid"],
                "reason": "acknowledged",
                "text": "answered by bob",
            }
            assert told[0].number is None, "it is no event to go on after"


async def resolve(alice: Handset, _: Handset) -> None:
    await alice.world.webhook(alice.world.alert(resolved=True))


async def expire(alice: Handset, _: Handset) -> None:
    await alice.world.pass_(25)


async def hand_on(alice: Handset, bob: Handset) -> None:
    await bob.act(await incident(alice), "hand-on")


async def silence(alice: Handset, bob: Handset) -> None:
    await bob.act(await incident(alice), "silence", seconds=600)


async def answer(alice: Handset, _: Handset) -> None:
    call = alice.world.bob.pushes.items[0].payload["call"]
    body = json.dumps({"event_id": "e", "receipt": "answered"})
    headers = {"Authorization": f"Bearer {call['receipt_token']}"}
    assert (await alice.world.ask("POST", call["receipt_url"], body, headers=headers)).status == 200


@pytest.mark.parametrize(
    ("how", "reason", "text"),
    [
        (resolve, "resolved", "resolved"),
        (expire, "expired", "expired: Alertmanager no longer mentions it"),
        (hand_on, "withdrawn", "handed on, or silenced"),
        (silence, "withdrawn", "handed on, or silenced"),
        (answer, "acknowledged", "answered by bob"),
    ],
)
async def test_a_call_is_over_when_nobody_needs_to_answer_it_any_more(
    both: World, how: Any, reason: str, text: str
) -> None:
    if how is expire:
        both.config["alert_ttl"] = "25s"
        both.config["receivers"][0]["receipt_timeout"] = "40s"
        assert (await both.reload()).status == 200
    alice, bob = await enrolled(both, "alice"), await enrolled(both, "bob")
    async with listening(alice) as ear:
        await both.webhook(both.alert())
        await ear.until("ring")
        call = both.alice.pushes.items[0].payload["call"]
        await how(alice, bob)
        (over,) = [one for one in await ear.until("call_ended") if one.kind == "call_ended"]
    assert over.data == {"call": call["id"], "uuid": call["uuid"], "reason": reason, "text": text}


async def test_news_ends_no_call(alice: Handset) -> None:
    world = alice.world
    async with listening(alice) as ear:
        await world.webhook(world.alert())
        await ear.until("ring")
        await world.webhook(world.alert(instance="news"))
        assert lines(await ear.until("ring")) == ["triggered", "ring"]
        await alice.act(await incident(alice), "notes", text="still here")
        assert "call_ended" not in lines(await ear.until("note"))


async def test_a_call_of_two_incidents_is_over_with_the_last_of_them(alice: Handset) -> None:
    world = alice.world
    async with listening(alice) as ear:
        await world.webhook(world.alert("A"), world.alert("B"))
        names = [one["id"] for one in (await alice.get("/incidents")).json["incidents"]]
        await alice.act(names[0], "acknowledge")
        assert "call_ended" not in lines(await ear.until("acknowledged"))
        await alice.act(names[1], "acknowledge")
        assert lines(await ear.until("acknowledged")) == ["call_ended", "acknowledged"]


async def test_an_end_is_told_once(alice: Handset) -> None:
    world = alice.world
    async with listening(alice) as ear:
        await world.webhook(world.alert())
        name = await incident(alice)
        await alice.act(name, "acknowledge")
        told = await ear.until("acknowledged")
        for text in ("one", "two"):
            await alice.act(name, "notes", text=text)
            told += await ear.until("note")
    assert lines(told).count("call_ended") == 1


async def test_a_stream_that_is_opened_after_the_end_is_told_of_it_at_once(alice: Handset) -> None:
    world = alice.world
    await world.webhook(world.alert())
    await alice.act(await incident(alice), "acknowledge")
    async with listening(alice) as ear:
        assert (await ear.next()).data["text"] == "answered by alice"
    await world.pass_(31)
    async with listening(alice) as ear:
        await alice.act(await incident(alice), "notes", text="later")
        assert lines(await ear.until("note")) == ["note"], "by then the phone has ended it by itself"


async def test_what_the_phone_itself_said_ends_no_call(alice: Handset, bob: Handset) -> None:
    world = alice.world
    await world.webhook(world.alert())
    call = world.alice.pushes.items[0].payload["call"]
    async with listening(alice) as ear:
        body = {"event_id": "e", "receipt": "declined"}
        await alice.ask("POST", f"/calls/{call['id']}/receipts", body)
        await alice.act(await incident(alice), "notes", text="x")
        assert "call_ended" not in lines(await ear.until("note"))
        await bob.act(await incident(bob), "acknowledge")
        assert "call_ended" not in lines(await ear.until("acknowledged")), "it was over on this phone before"


async def test_anothers_incidents_are_not_told(stage: World) -> None:
    stage.config["receivers"] += [{"name": "b", "escalation": [stage.step("second")]}]
    stage.config["receivers"][0]["escalation"] = [stage.step("platform")]
    stage.config["route"]["routes"] = [{"matchers": ['team="b"'], "receiver": "b"}]
    await stage.start()
    alice, bob = [await Handset.enrolled(stage, owner) for owner in ("alice", "bob")]
    async with listening(alice) as hers, listening(bob) as his:
        await stage.webhook(stage.alert("B", team="b"))
        await stage.webhook(stage.alert("A"))
        assert [one.data["incident"]["title"] for one in await hers.until("ring")] == ["A", "A"]
        assert {one.data["incident"]["title"] for one in await his.until("ring")} == {"B"}


# --- going on after a break -------------------------------------------------------------------


async def happen(handset: Handset, count: int) -> list[str]:
    """Let so many things happen."""
    name = await incident(handset)
    texts = [f"note {number}" for number in range(count)]
    await asyncio.gather(*(handset.act(name, "notes", text=text) for text in texts))
    return [f"alice: {text}" for text in texts]


async def test_after_a_break_it_goes_on_where_it_was(alice: Handset) -> None:
    """More than one batch of the ledger's: nothing is lost, and nothing is told twice."""
    world = alice.world
    await world.webhook(world.alert())
    await alice.act(await incident(alice), "acknowledge")
    wanted, heard, after = await happen(alice, 250), [], 0
    while len(heard) < 250:
        async with listening(alice, after) as ear:
            for _ in range(70):
                told = await ear.next()
                if told.kind == "incident" and told.data["event"]["kind"] == "note":
                    heard.append(told.data["event"]["text"])
                if len(heard) == 250:
                    break
            after = ear.last or 0
    assert sorted(heard) == sorted(wanted)


async def test_after_a_restart_of_the_bridge_it_goes_on_where_it_was(alice: Handset) -> None:
    world = alice.world
    async with listening(alice) as ear:
        await world.webhook(world.alert())
        told = await ear.until("ring")
        await world.restart()
        assert [one for one in await ear.end() if one.kind] == []
    name = await incident(alice)
    await alice.act(name, "acknowledge")
    async with listening(alice, ear.last) as ear:
        told += await ear.until("acknowledged")
    assert lines(told) == ["triggered", "ring", "call_ended", "acknowledged"]


async def test_without_an_id_it_begins_with_what_is_new(alice: Handset) -> None:
    world = alice.world
    await world.webhook(world.alert())
    name = await incident(alice)
    async with listening(alice) as ear:
        await alice.act(name, "notes", text="new")
        assert lines(await ear.until("note")) == ["note"]


async def test_after_id_0_all_is_told_that_there_is(alice: Handset) -> None:
    await alice.world.webhook(alice.world.alert())
    async with listening(alice, 0) as ear:
        assert lines(await ear.until("ring")) == ["triggered", "ring"]


async def test_the_first_block_says_where_the_stream_begins(alice: Handset) -> None:
    """So that a phone which heard nothing before the break has an id to go on after."""
    await alice.world.webhook(alice.world.alert())
    async with listening(alice) as ear:
        begin = ear.last
    await alice.act(await incident(alice), "notes", text="in the break")
    async with listening(alice, begin) as ear:
        assert lines(await ear.until("note")) == ["note"]


async def test_an_id_of_another_ledger_is_not_waited_for(alice: Handset) -> None:
    """A ledger that was put back from a copy has fewer events than the phone has heard."""
    await alice.world.webhook(alice.world.alert())
    async with listening(alice, 10**15) as ear:
        await alice.act(await incident(alice), "notes", text="new")
        assert lines(await ear.until("note")) == ["note"]


async def test_numbers_go_on_when_all_that_was_told_is_deleted(alice: Handset) -> None:
    """What has ended long ago is deleted; a phone that comes back after it hears what is new."""
    world = alice.world
    await world.webhook(world.alert())
    await world.webhook(world.alert(resolved=True))
    async with listening(alice, 0) as ear:
        await ear.until("resolved")
    await world.pass_(3600)
    now = world.clock.now()
    assert await world.bridge.store.write(lambda tx: queries.prune(tx.connection, now, 100)) > 0
    await world.webhook(world.alert("Another"))
    async with listening(alice, ear.last) as ear:
        assert lines(await ear.until("ring")) == ["triggered", "ring"]


async def test_what_is_no_id_is_refused(alice: Handset) -> None:
    for text in ("x", "-1", "1.5", "٣", "9" * 19, "1 2"):
        response = await alice.get("/events", headers={"Last-Event-ID": text})
        assert (response.status, "Last-Event-ID" in response.json["error"]) == (400, True), text
    assert alice.world.metric("event_streams") == 0


# --- the stream itself ------------------------------------------------------------------------


async def test_proxies_are_told_to_keep_nothing_back(alice: Handset) -> None:
    async with listening(alice) as ear:
        headers = ear.response.headers
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Accel-Buffering"] == "no"
        assert "Content-Encoding" not in headers


async def test_a_quiet_stream_shows_signs_of_life(alice: Handset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_KEEP_ALIVE", 0.01)
    async with listening(alice) as ear:
        for _ in range(3):
            told = await ear.block()
            assert told == Told(comment="still here")


async def test_a_phone_may_have_four_streams_and_one_that_is_closed_makes_room(
    alice: Handset, bob: Handset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_KEEP_ALIVE", 0.01)  # who has gone is noticed when it is written to
    streams = [listening(alice) for _ in range(4)]
    for stream in streams:
        await stream.__aenter__()
    refused = await alice.get("/events")
    assert (refused.status, refused.json["error"]) == (503, "too many event streams are open")
    async with listening(bob):
        assert alice.world.metric("event_streams") == 5
    await streams[0].__aexit__(None, None, None)
    await until(lambda: alice.world.metric("event_streams") == 3, "the closed streams were not noticed")
    async with listening(alice):
        pass
    for stream in streams[1:]:
        await stream.__aexit__(None, None, None)


async def test_there_is_room_for_so_many_streams_in_all(
    alice: Handset, bob: Handset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_STREAMS", 1)
    async with listening(alice):
        assert (await bob.get("/events")).status == 503


@pytest.mark.parametrize("how", ["revoked", "signed off", "taken over"])
async def test_a_stream_ends_with_the_enrolment_of_its_phone(alice: Handset, how: str) -> None:
    world = alice.world
    async with listening(alice) as ear:
        if how == "revoked":
            await world.ask("DELETE", f"{world.url}/api/v1/devices/{alice.name}")
        elif how == "signed off":
            await alice.ask("DELETE", "/device")
        else:
            await Handset.enrolled(world, device=alice.name)
        assert [one for one in await ear.end() if one.kind] == []


async def test_the_bridges_stop_ends_the_streams_and_does_not_wait_for_them(
    alice: Handset, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = alice.world
    await world.stop()
    monkeypatch.setattr(front, "DRAIN", 3600.0)  # who waits for a stream to end by itself waits for ever
    monkeypatch.setattr(events, "_KEEP_ALIVE", 3600.0)
    await world.start()
    async with listening(alice) as one, listening(alice) as other:
        await world.stop()
        for ear in (one, other):
            assert await ear.end() == []


async def much(_: Any, seen: View, last: int) -> list[tuple[int, str]]:
    """More than the kernel takes for a phone that does not read; alice's alone."""
    if seen.owner != "alice":
        return []
    return [(last + number, f": {'x' * 100_000}\n\n") for number in range(100)]


async def test_a_phone_that_does_not_read_is_cut_off_and_holds_up_nobody(
    alice: Handset, bob: Handset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_WRITE", 0.05)
    world = alice.world
    host, port = world.bridge.bound.phone.removeprefix("http://").split(":")
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.to_thread(deaf.connect, (host, int(port)))
    head = f"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.credential}\r\n"
    deaf.sendall(f"{head}Last-Event-ID: 0\r\n\r\n".encode())
    await until(lambda: world.metric("event_streams") == 1)
    monkeypatch.setattr(events, "_news", much)
    async with listening(bob):
        await world.webhook(world.alert())
        await until(lambda: world.metric("event_streams") == 1, "the deaf phone was not cut off")
    deaf.close()


async def test_a_stream_that_fails_ends_and_can_be_opened_again(
    alice: Handset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer has begun: nothing but its end can be said, and the phone comes again."""
    async with listening(alice) as ear:
        with monkeypatch.context() as broken:
            broken.setattr(owned, "live_calls", None)
            await alice.world.webhook(alice.world.alert())
            assert await ear.end() == []
    async with listening(alice, ear.last) as ear:
        assert lines(await ear.until("ring")) == ["triggered", "ring"]
