"""Questions to the ledger: counts, listings, one incident's story; and what is deleted when it is old."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial
from typing import Any

import orjson
import pytest
from builders import at, make_alert
from ledgers import (
    ALICE,
    BOB,
    Look,
    accept,
    claim,
    device,
    episode,
    incident,
    opening,
    page,
    put,
    resolved,
    settle,
    slot,
    sync,
)
from movedclock import MovedClock
from msgspec.structs import replace
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.incidents import Change, State
from bridge.schedules import Override
from bridge.store import Scope, Store, Tx, actions, calls, devices, overrides, queries, unheard
from bridge.store.calls import Receipt
from bridge.store.queries import Stats
from bridge.store.tables import actions as actions_table
from bridge.store.tables import calls as call_table
from bridge.store.tables import (
    enrolments,
    episodes,
    incidents,
    metadata,
    notifications,
    pages,
    receipts,
    timeline,
)
from bridge.store.tables import overrides as overrides_table
from bridge.store.tables import silences as silences_table
from bridge.store.tables import unheard as unheard_table


@pytest.mark.parametrize("asked", [False, True])
async def test_the_statements_of_a_read_see_one_state_and_leave_the_next_query_free(
    store: Store, asked: bool
) -> None:
    async def twice(connection: AsyncConnection) -> list[int]:
        before = (await connection.execute(count)).scalar_one()
        await store.write(lambda tx: tx.apply([Change(incident(str(before)))]))
        return [before, (await connection.execute(count)).scalar_one()]

    count = select(func.count()).select_from(incidents)
    assert await store.read(twice) == [0, 0]
    one = store.ask if asked else store.read
    assert await one(lambda connection: _scalar(connection, count)) == 1


async def test_a_query_that_is_cancelled_or_fails_leaves_no_old_state_to_the_next(store: Store) -> None:
    count = select(func.count()).select_from(incidents)
    began = asyncio.Event()

    async def stuck(connection: AsyncConnection) -> None:
        await connection.execute(count)
        began.set()
        await asyncio.Event().wait()

    async def wrong(connection: AsyncConnection) -> None:
        await connection.execute(count)
        raise LookupError

    for _ in range(10):
        began.clear()
        task = asyncio.create_task(store.read(stuck))
        await began.wait()
        task.cancel()
        await asyncio.wait([task])
        with pytest.raises(LookupError):
            await store.read(wrong)
    await put(store, incident())
    for _ in range(10):
        assert await store.ask(lambda connection: _scalar(connection, count)) == 1


async def test_a_second_statement_of_a_question_is_noticed(store: Store) -> None:
    with pytest.raises(AssertionError, match=r"several statements is for Store\.read"):
        await store.ask(lambda connection: queries.stats(connection, at(0)))


async def _scalar(connection: AsyncConnection, query: Any) -> Any:
    return (await connection.execute(query)).scalar_one()


async def listed(store: Store, *, closed: bool = False, limit: int = 100) -> list[dict[str, Any]]:
    return await store.read(partial(queries.list_incidents, closed=closed, limit=limit))


async def shown(store: Store, name: str) -> Any:
    return await store.read(partial(queries.show_incident, incident_id=name))


async def prune(store: Store, before: datetime, limit: int = 100) -> int:
    return await store.write(lambda tx: queries.prune(tx.connection, before, limit))


# --- counts -----------------------------------------------------------------------------------


async def test_an_empty_ledger_counts_nothing(store: Store) -> None:
    assert await store.stats() == Stats(
        pages={"waiting": 0, "sending": 0},
        incidents={"triggered": 0, "acknowledged": 0},
        unanswered=0,
        oldest=None,
        overdue=0,
        troubled={},
    )


async def test_what_is_counted(store: Store, clock: MovedClock) -> None:
    await sync(store, device(ALICE), device(BOB))
    one, two, three, four, five = (incident(f"Alert{number}") for number in range(5))
    done = replace(resolved(five), unanswered_at=at(5))
    await put(
        store,
        one,
        replace(two, unanswered_at=at(5)),
        replace(three, state=State.ACKNOWLEDGED),
        replace(four, state=State.ACKNOWLEDGED, unanswered_at=at(5)),
        done,
        pages=[page(one), page(one, BOB, due=20), page(two, due=30), page(three, due=-10)],
    )
    for bundle in (await claim(store)).bundles:
        await settle(store, bundle)
    clock.move(20)
    await claim(store)
    await store.write(
        lambda tx: devices.mark_trouble(tx.connection, BOB, "alert", f"{BOB}-alert", "unregistered", None)
    )
    assert await store.stats() == Stats(
        pages={"waiting": 1, "sending": 1},
        incidents={"triggered": 2, "acknowledged": 2},
        unanswered=1,
        oldest=at(20),
        overdue=0,
        troubled={BOB: "unregistered"},
        bare=2,
    )


@pytest.mark.parametrize(("seconds", "overdue"), [(164.9, 0), (165, 1)])
async def test_a_page_two_minutes_past_its_time_without_an_outcome_is_overdue(
    store: Store, clock: MovedClock, seconds: float, overdue: int
) -> None:
    """Rule 12: then the bridge withholds its own sign of life."""
    await put(store, incident(), pages=[page(incident())])
    clock.move(seconds)
    assert (await store.stats()).overdue == overdue
    await claim(store)
    assert (await store.stats()).overdue == 0


async def test_the_trouble_of_a_device_that_is_gone_is_not_counted(store: Store) -> None:
    await sync(store, device(ALICE))
    await store.write(
        lambda tx: devices.mark_trouble(tx.connection, ALICE, "voip", f"{ALICE}-voip", "unregistered", None)
    )
    await sync(store)
    assert (await store.stats()).troubled == {}


# --- what the clock has to decide -------------------------------------------------------------


async def test_the_incidents_that_are_due_come_first_due_first_and_no_more_than_asked_for(
    store: Store,
) -> None:
    when = {"b": 2, "a": 1, "d": 4, "c": 3}
    await put(store, *(incident(name, id=name, due_at=at(second)) for name, second in when.items()))
    assert await store.read(partial(queries.due_incidents, now=at(3), limit=100)) == ["a", "b", "c"]
    assert await store.read(partial(queries.due_incidents, now=at(3), limit=2)) == ["a", "b"]
    assert await store.read(queries.next_decision) == at(1)


async def test_an_incident_that_is_over_or_rings_nobody_wakes_only_for_its_alerts_end(store: Store) -> None:
    ends = replace(episode("Acked"), expires_at=at(500))
    await put(
        store,
        incident("Acked", ends, state=State.ACKNOWLEDGED, due_at=None),
        resolved(incident("Over")),
    )
    assert await store.read(queries.next_decision) == at(500)
    assert await store.read(partial(queries.due_incidents, now=at(499), limit=9)) == []


# --- listings ---------------------------------------------------------------------------------


async def test_a_listing_shows_the_open_incidents_the_newest_first(store: Store) -> None:
    for number in range(4):
        await put(store, incident(f"Alert{number}", id=str(number), opened_at=at(number)))
    await put(store, resolved(incident("Alert2", id="2", opened_at=at(2))))
    assert [one["id"] for one in await listed(store)] == ["3", "1", "0"]
    assert [one["id"] for one in await listed(store, limit=2)] == ["3", "1"]
    assert [one["id"] for one in await listed(store, closed=True)] == ["3", "2", "1", "0"]


async def test_a_summary_says_what_a_person_looks_for(store: Store) -> None:
    firing, over = episode("DiskFull"), replace(episode("Other"), status="resolved", ended_at=at(1))
    one = incident(
        "DiskFull", firing, over, step=2, ring=3, truncated_alerts=7, acknowledged_by="bob",
        acknowledged_at=at(5), unanswered_at=at(6), state=State.ACKNOWLEDGED,
    )  # fmt: skip
    await put(store, one)
    assert await listed(store) == [
        {
            "id": one.id,
            "state": "acknowledged",
            "source": "default",
            "drill": False,
            "receiver": "platform",
            "group": {"alertname": "DiskFull"},
            "title": "DiskFull",
            "alerts_firing": 1,
            "alerts": 2,
            "truncated_alerts": 7,
            "revision": 1,
            "step": 2,
            "ring": 3,
            "next_ring_at": at(45).isoformat(),
            "silenced_until": None,
            "opened_at": at(0).isoformat(),
            "acknowledged_at": at(5).isoformat(),
            "acknowledged_by": "bob",
            "resolved_at": None,
            "resolution": None,
            "unanswered_at": at(6).isoformat(),
        }
    ]


async def test_an_incident_that_is_grouped_by_other_labels_has_an_alerts_name_for_its_title(
    store: Store,
) -> None:
    nameless = make_alert(labels={"team": "db"})
    alone = replace(episode(), fingerprint=nameless.fingerprint, labels=nameless.labels)
    place = replace(slot(), group=(("team", "db"),))
    await put(
        store,
        incident("One", at_slot=place),
        incident("Two", alone, at_slot=replace(place, receiver="other")),
        resolved(incident("Three", at_slot=replace(place, receiver="third"))),
    )
    assert {one["title"] for one in await listed(store, closed=True)} == {"One", "", "Three"}


async def test_the_story_of_an_incident_has_everything_and_is_json(store: Store, clock: MovedClock) -> None:
    await sync(store, device(ALICE), device(BOB))
    one, other = incident("One", group_key="{}:{}", external_url="http://am"), incident("Other")
    await put(store, one, other, pages=[page(one), page(other), page(one, BOB, due=10), page(other, BOB)])
    for bundle in (await claim(store)).bundles:
        await accept(store, bundle)
    clock.move(3)

    async def answer(tx: Any) -> None:
        hers = call_table.select().where(call_table.c.device == ALICE)  # no order is promised of two
        row = (await tx.connection.execute(hers)).mappings().one()
        call = await calls.find(tx.connection, row["id"])
        assert call is not None
        await calls.record(tx, call, Receipt("e1", "answered"))

    await store.write(answer)
    await store.update(
        Scope(ids=(one.id,)), lambda found, *_: [Change(found[0]).note("answered", "by alice")]
    )
    story = await shown(store, one.id)
    assert story["id"] == one.id
    assert (story["group_key"], story["external_url"]) == ("{}:{}", "http://am")
    assert [row["labels"] for row in story["episodes"]] == [{"alertname": "One"}]
    assert [(row["target"], row["state"], row["outcome"]) for row in story["pages"]] == [
        (ALICE, "settled", "accepted"),
        (BOB, "waiting", None),
    ]
    assert [(row["device"], row["state"]) for row in story["calls"]] == [(ALICE, "answered")]
    assert [row["receipt"] for row in story["receipts"]] == ["answered"]
    assert story["timeline"] == [{"at": at(3).isoformat(), "kind": "answered", "text": "by alice"}]
    orjson.dumps(story)


async def test_an_incident_that_there_is_not_has_no_story(store: Store) -> None:
    assert await shown(store, "none") is None


# --- what is old ------------------------------------------------------------------------------


async def rung(store: Store, name: str, *, closed: float | None) -> None:
    """An incident with one alert, one call with a receipt, and a line in its timeline."""
    one = incident(name, id=name)
    await put(store, one, pages=[replace(page(one, f"{name}-phone"), id=f"{name} page")])
    (bundle,) = (await claim(store)).bundles
    await accept(store, bundle)

    async def job(tx: Any) -> None:
        assert bundle.call is not None
        await calls.record(tx, bundle.call, Receipt("e", "received"))

    await store.write(job)
    after = one if closed is None else resolved(one, closed)
    await store.update(Scope(ids=(name,)), lambda *_: [Change(after).note("note", name)])


TABLES = (incidents, episodes, pages, timeline, call_table, receipts)


async def counts(look: Look) -> list[int]:
    return [len(await look.rows(table)) for table in TABLES]


async def test_every_table_that_grows_is_pruned() -> None:
    others = (actions_table, enrolments, overrides_table, silences_table, notifications, unheard_table)
    pruned = {table.name for table in (*TABLES, *others)}
    as_many_as_configured = {"meta", "devices", "heartbeats", "drills", "drill_runs"}
    assert pruned == {*metadata.tables} - as_many_as_configured


async def test_requests_and_codes_are_kept_for_as_long_as_incidents(store: Store, look: Look) -> None:
    async def job(tx: Tx) -> None:
        for event in ("old", "young"):
            now = at(0 if event == "old" else 3000)
            assert await actions.first(tx.connection, actions.Once("alice-iphone", event), now)
            code = {"code": event, "owner": "alice", "created_at": now, "expires_at": now}
            await tx.connection.execute(enrolments.insert(), code)
            await overrides.add(tx.connection, event, Override("bob", now, now), now)
            await unheard.keep(tx.connection, incident("A"), [event], now)

    await store.write(job)
    assert await prune(store, at(2000)) == 4
    assert [row["fingerprint"] for row in await look.rows(unheard_table)] == ["young"]
    assert [row["schedule"] for row in await look.rows(overrides_table)] == ["young"]
    assert [row["event_id"] for row in await look.rows(actions_table)] == ["young"]
    assert [row["code"] for row in await look.rows(enrolments)] == ["young"]


async def test_what_closed_long_ago_is_deleted_with_all_that_hangs_on_it(
    store: Store, clock: MovedClock, look: Look
) -> None:
    for name, closed in {"old": 10, "young": 3000, "open": None}.items():
        await rung(store, name, closed=closed)
    clock.move(4000)
    assert await prune(store, at(2000)) == 6, "one row of each table"
    assert {row["id"] for row in await look.rows(incidents)} == {"young", "open"}
    assert await counts(look) == [2] * 6
    assert await prune(store, at(2000)) == 0


async def test_an_open_incident_is_kept_however_old_it_is_with_all_that_hangs_on_it(
    store: Store, look: Look
) -> None:
    await rung(store, "open", closed=None)
    assert await prune(store, at(10**8)) == 0
    assert await counts(look) == [1] * 6


async def test_an_incident_with_a_page_that_has_no_outcome_is_kept(store: Store, look: Look) -> None:
    """A retention of seconds must not lose the push that says that it is over."""
    one = incident()
    await put(store, resolved(one), pages=[page(one, kind="resolved")])
    assert await prune(store, at(3600)) == 0
    (bundle,) = (await claim(store)).bundles
    assert await prune(store, at(3600)) == 0
    await settle(store, bundle)
    assert await prune(store, at(3600)) == 4
    assert await counts(look) == [0] * 6


async def test_a_call_is_kept_as_long_as_one_of_its_incidents(store: Store, look: Look) -> None:
    one, other = incident("One"), incident("Other")
    await put(store, one, other, pages=[page(one), page(other)])
    (bundle,) = (await claim(store)).bundles
    await accept(store, bundle)
    await put(store, resolved(one))
    assert await prune(store, at(3600)) == 3
    assert len(await look.rows(call_table)) == 1
    await put(store, resolved(other))
    assert await prune(store, at(3600)) == 4
    assert await counts(look) == [0] * 6


async def test_a_batch_is_small_and_says_whether_there_is_more(store: Store, look: Look) -> None:
    """More calls than incidents, as after many rings: none of them is left behind."""
    many = [resolved(incident(f"Alert{number}")) for number in range(7)]
    asked = [
        replace(page(one, f"phone {number} of {one.id}"), id=f"{one.id} {number}")
        for one in many
        for number in range(3)
    ]
    await store.update(Scope(), opening(*many, pages=asked))
    for bundle in (await claim(store)).bundles:
        await accept(store, bundle)
    deleted = []
    while count := await prune(store, at(3600), 5):
        deleted.append(count)
    assert max(deleted) <= 4 * 5, "five of each table that has any"
    assert sum(deleted) == 7 + 7 + 21 + 21
    assert await counts(look) == [0] * 6


async def test_an_incident_with_more_alerts_than_a_batch_is_deleted_in_several_and_goes_last(
    store: Store, look: Look
) -> None:
    """However large the backlog is, the writer is never held up by more than a batch."""
    many = [episode(f"Alert{number}") for number in range(12)]
    await put(store, resolved(incident("Storm", *many)))
    left = []
    while await prune(store, at(3600), 5):
        left.append((len(await look.rows(episodes)), len(await look.rows(incidents))))
    assert left == [(7, 1), (2, 1), (0, 0)]
