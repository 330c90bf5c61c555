"""Several bridges on one PostgreSQL: whatever one of them does, the others know, and nothing happens twice."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from appworld import until
from handset import Handset, listening
from replicas import Crew, crew

from bench import pgserver
from bridge.clock import Clock
from bridge.simulator import Answer
from bridge.store import listener


@pytest.fixture
def database() -> Iterator[str]:
    """With a password, which the server does not ask for: it must be told to nobody."""
    with pgserver.shared().ledger() as url:
        yield url.replace("postgres@", f"postgres:{pgserver.PASSWORD}@")


@pytest.fixture
async def stage(tmp_path: Path, database: str) -> AsyncIterator[Crew]:
    async with crew(tmp_path, database) as bridges:
        yield bridges


@pytest.fixture
async def three(stage: Crew) -> Crew:
    await stage.start()
    return stage


async def test_a_notification_that_comes_to_all_at_once_is_one_incident_and_rings_once(three: Crew) -> None:
    """Two clustered Alertmanagers may both send it, each to another replica (rule 5)."""
    body = three[0].message(three[0].alert())
    answers = await asyncio.gather(*(one.post("/webhook", body) for one in [*three, *three]))
    assert [answer.status for answer in answers] == [200] * 6
    await three.pass_(100)
    assert len(await three[1].incidents()) == 1
    assert three[0].rings() == [0, 45, 90]
    assert three[0].fates() == ["rang"] * 3


async def test_a_storm_over_all_of_them_is_one_call_at_a_time_and_every_alert_is_in_one(three: Crew) -> None:
    """Rule 5: replicas claim the device, then all that is due for it."""
    names = [f"Trouble{number}" for number in range(40)]
    posts = (
        three[number % 3].post("/webhook", three[0].message(three[0].alert(name)))
        for number, name in enumerate(names)
    )
    assert {answer.status for answer in await asyncio.gather(*posts)} == {200}
    await three.pass_(44)
    alice = three[0].alice
    assert three[0].fates() == ["rang"] * len(three[0].rings())
    calls = [(call.history[0][0], call) for call in alice.calls.items]
    assert all((after[0] - before[0]).total_seconds() >= 30 for before, after in itertools.pairwise(calls))
    await three.pass_(60)
    stories = [
        (await three[2].get(f"/api/v1/incidents/{one['id']}")).json for one in await three[2].incidents()
    ]
    rung = {one["title"] for one in stories if any(page["outcome"] == "accepted" for page in one["pages"])}
    assert rung == set(names)


async def test_an_acknowledgement_on_one_ends_the_ring_on_the_others_and_the_phone_hears_it_there(
    stage: Crew,
) -> None:
    stage.stage.config["devices"] = []
    stage.stage.alice.profile.behaviour = "silent"
    await stage.start()
    await stage.hearing()
    first, second, third = stage
    handset = await Handset.enrolled(first)
    await handset.put(voip_token=first.alice.profile.voip_token)
    handset.world = second
    async with listening(handset) as ear:
        await third.post("/webhook", first.message(first.alert()))
        told = await ear.until("ring")
        (one,) = await first.incidents()
        assert (await first.post(f"/api/v1/incidents/{one['id']}/acknowledge?by=alice")).status == 200
        told += await ear.until("acknowledged")
    kinds = [one.data["event"]["kind"] if one.kind == "incident" else one.kind for one in told]
    assert kinds == ["triggered", "ring", "call_ended", "acknowledged"]
    await stage.pass_(200)
    assert first.fates() == ["silent"]


async def test_a_stream_goes_on_at_another_replica_where_it_was(stage: Crew) -> None:
    stage.stage.config["devices"] = []
    stage.stage.alice.profile.behaviour = "silent"
    await stage.start()
    handset = await Handset.enrolled(stage[0])
    await handset.put(voip_token=stage[0].alice.profile.voip_token)
    async with listening(handset) as ear:
        await stage[1].post("/webhook", stage[0].message(stage[0].alert()))
        before = await ear.until("ring")
    await stage[2].post("/webhook", stage[0].message(stage[0].alert("Other")))
    await stage.settled()
    handset.world = stage[2]
    async with listening(handset, after=before[-1].number) as ear:
        after = await ear.until("triggered")
    assert {one.data["event"]["kind"] for one in after if one.kind == "incident"} == {"triggered"}
    ids = [one.number for one in [*before, *after] if one.number is not None]
    assert ids == sorted(set(ids))


async def test_what_a_replica_was_sending_when_it_died_is_sent_by_another_as_the_same_call(
    three: Crew,
) -> None:
    """Its lease has to run out, for nobody knows that it is dead (rule 8)."""
    three[0].alice.profile.behaviour = "silent"  # a receipt would settle the page, whoever sends it
    three[0].alice.answer_next(Answer(manner="never", delivered=True))
    await three[0].post("/webhook", three[0].message(three[0].alert()))
    first = await three[0].alice.wait_for_push(30)
    (sending,) = [number for number, one in enumerate(three) if one.bridge.sender._tasks]
    await three.kill(sending)
    await three.pass_(16)
    again = await three[0].alice.wait_for_push(30)
    assert again.apns_id == first.apns_id
    assert again.payload["call"]["uuid"] == first.payload["call"]["uuid"]
    assert three[0].fates() == ["silent", "silent"]


async def test_replicas_that_stop_one_after_the_other_change_no_ring(three: Crew) -> None:
    """A rolling restart."""
    await three[0].post("/webhook", three[0].message(three[0].alert()))
    for number in range(3):
        await three.pass_(50)
        await three[number].restart()
    assert three[0].rings() == [0, 45, 90, 135]


async def test_replicas_that_start_at_the_same_moment_on_an_empty_database_agree(
    tmp_path: Path,
) -> None:
    server = pgserver.shared()
    name = server.empty()
    async with crew(tmp_path, server.url(name)) as bridges:
        await bridges.start()
        await bridges[1].post("/webhook", bridges[0].message(bridges[0].alert()))
        await bridges.settled()
        assert bridges[0].rings() == [0]
    server.drop(name)


async def test_a_replica_whose_machine_is_hours_off_brings_apple_no_other_provider_token(
    stage: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All go by PostgreSQL's clock (rule 10). Apple would refuse the other one at all of them, for 20 minutes."""
    first, second, _ = stage
    first.clock, second.clock = Clock(), Clock()  # type: ignore[assignment]
    await first.start()
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + 5 * 3600)
    await second.start()
    assert first.bridge.transport.token is not None
    assert second.bridge.transport.token == first.bridge.transport.token


async def test_a_listener_whose_connection_died_is_replaced_and_nothing_is_missed(
    stage: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "_CHECK", 0.05)
    await stage.start()
    await stage.hearing()
    heard = stage[1].bridge.store.listener
    assert heard is not None
    heard.hears.clear()
    pgserver.shared().execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_notify%' AND "
        "pid <> pg_backend_pid()"
    )
    async with asyncio.timeout(30):
        await heard.hears.wait()
    await stage[0].post("/webhook", stage[0].message(stage[0].alert()))
    await stage.settled()
    assert stage[0].rings() == [0]


async def test_while_postgresql_is_away_webhooks_are_503_and_the_rest_goes_on_when_it_is_back(
    three: Crew,
) -> None:
    server = pgserver.shared()
    first = three[0]
    await first.post("/webhook", first.message(first.alert()))
    await three.settled()
    server.stop()
    try:
        for one in three:
            answer = await one.post("/webhook", first.message(first.alert("Other")))
            assert answer.status == 503
            assert "PostgreSQL at postgresql://127.0.0.1" in answer.json["hint"]
            assert pgserver.PASSWORD not in answer.text
            first.clock.move(1)
            await until(lambda one=one: _unready(one))  # type: ignore[misc]
    finally:
        server.start()
    answer = await three[1].post("/webhook", first.message(first.alert("Other")))
    assert answer.status == 200
    first.clock.move(1)
    for one in three:
        await until(lambda one=one: _ready(one))  # type: ignore[misc]
    for _ in range(2):
        first.clock.move(45)
        await three.settled()
    assert len(first.rings()) == 3
    assert set(first.fates()) == {"rang"}
    for one in await three[2].incidents():
        story = (await three[2].get(f"/api/v1/incidents/{one['id']}")).json
        assert "accepted" in {page["outcome"] for page in story["pages"]}


async def _ready(one: object) -> bool:
    return (await one.get("/-/ready")).status == 200  # type: ignore[attr-defined]


async def _unready(one: object) -> bool:
    one.clock.move(0.1)  # type: ignore[attr-defined]
    return (await one.get("/-/ready")).status == 503  # type: ignore[attr-defined]
