"""The heartbeats that are waited for, as the ledger keeps them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from builders import NOW, at
from desks import make_settings
from ledgers import Look, Transactions
from movedclock import MovedClock

from bridge import watcher
from bridge.matchers import parse_matchers
from bridge.store import Store, heartbeats
from bridge.store.tables import incidents
from bridge.watchdogs import Heartbeat, Watch

ALL = Watch("full", NOW, at(1.000001), at(2), at(3), at(4))
BARE = Watch("bare", NOW, NOW)


async def save(store: Store, *watches: Watch) -> None:
    async def job(tx: Any) -> None:
        await heartbeats.save(tx.connection, await heartbeats.load(tx.connection), watches)

    await store.write(job)


async def test_what_is_written_is_read_again_to_the_microsecond(store: Store) -> None:
    await save(store, ALL, BARE)
    assert await store.read(heartbeats.load) == {"full": ALL, "bare": BARE}


async def test_one_that_changes_changes_alone(store: Store) -> None:
    await save(store, ALL, BARE)
    later = Watch("bare", NOW, at(9), at(9))
    await save(store, ALL, later)
    assert await store.read(heartbeats.load) == {"full": ALL, "bare": later}


async def test_the_forgotten_are_gone(store: Store) -> None:
    await save(store, ALL, BARE)
    await store.write(lambda tx: heartbeats.forget(tx.connection, ["full", "unknown"]))
    assert await store.read(heartbeats.load) == {"bare": BARE}


async def test_several_who_look_at_the_same_instant_open_one_incident_with_the_decision(
    store: Store, clock: MovedClock, look: Look, transactions: Transactions
) -> None:
    """Whoever sees that it is missing sees its incident too: one commit has both."""
    times = {"every": timedelta(minutes=5), "grace": timedelta(minutes=1)}
    one = Heartbeat("full", parse_matchers("alertname=Watchdog"), receiver="platform", **times)
    settings = make_settings(heartbeats={"full": one})
    await store.write(lambda tx: watcher.look(tx, settings))
    for _ in range(11):
        clock.move(30)
        await store.write(lambda tx: watcher.look(tx, settings))
    clock.move(30)
    commits = transactions.count("commit")
    looks = [store.write(lambda tx: watcher.look(tx, settings)) for _ in range(3)]
    found = await asyncio.gather(*looks)
    assert [len(looked.missing) for looked in found] == [1, 0, 0]
    assert transactions.count("commit") == commits + 1
    (incident,) = await look.rows(incidents)
    assert (incident["receiver"], incident["state"]) == ("platform", "triggered")
    assert (await store.read(heartbeats.load))["full"].missing_since == at(360)


async def test_a_bridge_that_does_not_know_a_heartbeat_ends_neither_another_bridges_wait_nor_its_alarm(
    store: Store, clock: MovedClock, look: Look
) -> None:
    """Two replicas, of which one was not reloaded."""
    times = {"every": timedelta(minutes=5), "grace": timedelta(minutes=1)}
    one = Heartbeat("full", parse_matchers("alertname=Watchdog"), receiver="platform", **times)
    has, has_not = make_settings(heartbeats={"full": one}), make_settings()
    for _ in range(15):
        await store.write(lambda tx: watcher.look(tx, has))
        looked = await store.write(lambda tx: watcher.look(tx, has_not))
        assert (looked.watches, looked.others) == ((), ("full",))
        clock.move(30)
    (incident,) = await look.rows(incidents)
    assert incident["state"] == "triggered"
    assert (await store.read(heartbeats.load))["full"].missing_since == at(360)


async def test_one_that_nobody_looks_at_any_more_is_forgotten_and_its_alarm_ends(
    store: Store, clock: MovedClock, look: Look
) -> None:
    """It was taken out while no bridge was running."""
    times = {"every": timedelta(minutes=5), "grace": timedelta(minutes=1)}
    one = Heartbeat("full", parse_matchers("alertname=Watchdog"), receiver="platform", **times)
    for _ in range(14):
        await store.write(lambda tx: watcher.look(tx, make_settings(heartbeats={"full": one})))
        clock.move(30)
    clock.move(570)
    assert (await store.write(lambda tx: watcher.look(tx, make_settings()))).others == ("full",)
    clock.move(1)
    assert (await store.write(lambda tx: watcher.look(tx, make_settings()))).others == ()
    assert await store.read(heartbeats.load) == {}
    (incident,) = await look.rows(incidents)
    assert incident["state"] == "resolved"
