"""Wishes for Alertmanager in the ledger: written with the decision, claimed by one, and never lost in between."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from builders import at
from ledgers import Look, incident, put, resolved
from movedclock import MovedClock
from msgspec.structs import replace

from bridge.incidents import Incident, Silence
from bridge.store import Store, queries, silences
from bridge.store.silences import Errand
from bridge.store.tables import silences as table

LEASE = timedelta(seconds=60)
ACKNOWLEDGED = replace(incident(), ack_silence_until=at(3600), acknowledged_by="alice")
WISH = Silence(at(3600), "alice")
LONGER = replace(ACKNOWLEDGED, ack_silence_until=at(7200))


async def claim(store: Store, of: Incident = ACKNOWLEDGED) -> Errand | None:
    return await store.write(
        lambda tx: silences.claim(tx.connection, of.id, tx.now, LEASE, lambda source: source == "default")
    )


async def claimed(store: Store) -> Errand:
    errand = await claim(store)
    assert errand is not None
    return errand


async def settle(store: Store, errand: Errand, again: float | None = None) -> bool:
    later = None if again is None else at(again)
    return await store.write(lambda tx: silences.settle(tx.connection, errand, later, tx.now))


async def due(store: Store, clock: MovedClock, limit: int = 10) -> list[str]:
    return await store.read(partial(silences.due, now=clock.now(), limit=limit))


async def test_an_incident_without_a_wish_has_no_row(store: Store, look: Look) -> None:
    await put(store, incident())
    assert await look.rows(table) == []
    assert await store.read(silences.next_due) is None


async def test_a_wish_is_there_with_the_decision_and_goes_to_one_alone(
    store: Store, clock: MovedClock
) -> None:
    await put(store, ACKNOWLEDGED)
    assert await due(store, clock) == [ACKNOWLEDGED.id]
    assert await claim(store) == Errand(ACKNOWLEDGED.id, "default", WISH, told=False, attempt=1)
    assert await claim(store) is None
    assert await due(store, clock) == []


async def test_who_died_with_it_leaves_it_to_be_done_again(store: Store, clock: MovedClock) -> None:
    await put(store, ACKNOWLEDGED)
    first = await claimed(store)
    clock.move(60)
    second = await claimed(store)
    assert (second.attempt, second.told) == (2, True), "it may stand: the answer was lost with the bridge"
    assert not await settle(store, first)
    assert await settle(store, second)
    assert await store.read(silences.next_due) is None


async def test_the_only_bridge_lets_go_at_its_start(store: Store, clock: MovedClock) -> None:
    await put(store, ACKNOWLEDGED)
    await claim(store)
    await store.write(lambda tx: silences.release(tx.connection, tx.now))
    assert await due(store, clock) == [ACKNOWLEDGED.id]


async def test_what_failed_waits_for_its_next_attempt(store: Store, clock: MovedClock) -> None:
    await put(store, ACKNOWLEDGED)
    await settle(store, await claimed(store), again=5)
    assert await store.read(silences.next_due) == at(5)
    assert await store.read(silences.waiting) == 1
    clock.move(4.9)
    assert await claim(store) is None
    clock.move(0.1)
    assert (await claimed(store)).attempt == 2


@pytest.mark.parametrize("again", [None, 30.0])
async def test_a_wish_that_changes_on_the_way_is_due_when_the_first_comes_back_and_not_before(
    store: Store, clock: MovedClock, again: float | None
) -> None:
    """Else two at once would leave two silences."""
    await put(store, ACKNOWLEDGED)
    first = await claimed(store)
    await put(store, LONGER)
    assert await claim(store) is None
    assert await settle(store, first, again)
    second = await claimed(store)
    assert (second.wish, second.attempt, second.told) == (Silence(at(7200), "alice"), 1, True)


async def test_a_wish_that_was_done_and_changes_is_due_anew(store: Store) -> None:
    await put(store, ACKNOWLEDGED)
    await settle(store, await claimed(store))
    await put(store, resolved(LONGER))
    ended = await claimed(store)
    assert (ended.wish, ended.told) == (Silence(at(7200), "alice"), True)


async def test_an_incident_that_ends_wishes_nothing_any_more(store: Store) -> None:
    await put(store, ACKNOWLEDGED)
    await settle(store, await claimed(store))
    await put(store, replace(resolved(ACKNOWLEDGED), ack_silence_until=None))
    ended = await claimed(store)
    assert (ended.wish, ended.told, ended.attempt) == (None, True, 1)


async def test_what_alertmanager_was_never_told_need_not_be_taken_back(store: Store) -> None:
    await put(store, ACKNOWLEDGED)
    await put(store, replace(resolved(ACKNOWLEDGED), ack_silence_until=None))
    assert await claimed(store) == Errand(ACKNOWLEDGED.id, "default", None, told=False, attempt=1)


async def test_when_its_time_is_over_nothing_is_wanted_and_nothing_stands(
    store: Store, clock: MovedClock
) -> None:
    await put(store, ACKNOWLEDGED)
    await settle(store, await claimed(store), again=3600)
    clock.move(3600)
    assert await claimed(store) == Errand(ACKNOWLEDGED.id, "default", None, told=False, attempt=2)


async def test_a_shorter_wish_remembers_what_may_stand_for_longer(store: Store, clock: MovedClock) -> None:
    await put(store, LONGER)
    await settle(store, await claimed(store), again=5)
    await put(store, ACKNOWLEDGED)
    await settle(store, await claimed(store), again=3600)
    clock.move(3600)
    assert await claimed(store) == Errand(ACKNOWLEDGED.id, "default", None, told=True, attempt=2)


async def test_a_silence_that_is_not_ended_yet_keeps_its_incident(
    store: Store, clock: MovedClock, look: Look
) -> None:
    async def prune() -> Any:
        return await store.write(lambda tx: queries.prune(tx.connection, clock.now(), 10))

    await put(store, ACKNOWLEDGED)
    await settle(store, await claimed(store))
    await put(store, replace(resolved(ACKNOWLEDGED), ack_silence_until=None))
    clock.move(20)
    assert await prune() == 0
    await settle(store, await claimed(store))
    assert await prune() == 3, "the incident, its alert and its silence"
    assert await look.rows(table) == []


async def test_the_longest_due_come_first(store: Store, clock: MovedClock) -> None:
    other = replace(incident("NodeDown"), silenced_until=at(3600), silenced_by="bob")
    await put(store, other)
    clock.move(1)
    await put(store, ACKNOWLEDGED)
    assert await due(store, clock) == [other.id, ACKNOWLEDGED.id]
    assert await due(store, clock, 1) == [other.id]


async def test_where_there_is_no_alertmanager_it_was_told_nothing(store: Store) -> None:
    elsewhere = replace(ACKNOWLEDGED, slot=replace(ACKNOWLEDGED.slot, source="eu"))
    await put(store, elsewhere)
    await settle(store, await claimed(store))
    await put(store, replace(resolved(elsewhere), ack_silence_until=None))
    assert await claimed(store) == Errand(elsewhere.id, "eu", None, told=False, attempt=1)
