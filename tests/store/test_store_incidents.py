"""Incidents in the ledger: one open in each slot, decisions that see each other, values that come back as they were."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Awaitable, Sequence
from typing import Any

import pytest
from builders import at, make_alert, notification
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledgers import (
    ALICE,
    BOB,
    Look,
    Transactions,
    accept,
    claim,
    episode,
    incident,
    opening,
    page,
    put,
    resolved,
    slot,
    sync,
)
from ledgers import device as phone
from movedclock import MovedClock
from msgspec.structs import replace
from sqlalchemy.exc import IntegrityError

from bridge.bundles import Call
from bridge.incidents import Change, Episode, Incident, Page, Slot, State, begin
from bridge.lifecycle import Destination, Times, receive
from bridge.oncall import OnCall, Phone, Roster
from bridge.policy import Receiver, Step
from bridge.schedules import Override
from bridge.store import Scope, Store, Tx, calls, outbox, overrides, rows
from bridge.store.calls import call_of, call_row
from bridge.store.tables import calls as call_table
from bridge.store.tables import episodes, incidents, pages, timeline


async def load(store: Store, scope: Scope) -> tuple[Incident, ...]:
    return await store.write(lambda tx: tx.incidents(scope))


def arriving(*names: str, to: Slot) -> Any:
    """A decision that takes in one notification, as the webhook does; nobody is there to ring."""
    alerts = [make_alert(name) for name in names]
    ways = {alert.fingerprint: (Destination(to),) for alert in alerts}
    policy = Receiver("platform", (Step(),))

    def decide(found: tuple[Incident, ...], _: Roster, now: Any) -> Sequence[Change]:
        by_slot = {one.slot: one for one in found}
        return receive(
            by_slot, notification(*alerts), ways, lambda _: policy, OnCall({}, ()), Times(), now
        )  # fmt: skip

    return decide


# --- one open incident in each slot -----------------------------------------------------------


async def test_the_ledger_itself_refuses_a_second_open_incident_in_a_slot(store: Store, look: Look) -> None:
    """Rule 1, and the design's word for slot: held by a unique index, whatever the code believes."""
    await put(store, incident())
    with pytest.raises(IntegrityError):
        await put(store, incident(id="another"))
    await put(store, incident("Other"))
    assert len(await look.rows(incidents)) == 2


async def test_of_two_that_open_one_slot_together_one_alone_is_refused(store: Store, look: Look) -> None:
    one, two, other = incident(), incident(id="another"), incident("Other")
    done = await asyncio.gather(
        *(store.update(Scope(), opening(each)) for each in (one, other, two)), return_exceptions=True
    )
    assert [type(result) for result in done] == [tuple, tuple, IntegrityError]
    assert {row["id"] for row in await look.rows(incidents)} == {one.id, other.id}


async def test_a_resolved_incident_frees_its_slot(store: Store) -> None:
    one = incident()
    await put(store, one)
    await put(store, resolved(one))
    await put(store, replace(one, id="the next"))
    assert [found.id for found in await load(store, Scope(slots=(one.slot,)))] == ["the next"]


async def test_a_slot_is_handed_over_in_one_transaction(store: Store, look: Look) -> None:
    one = incident()
    await put(store, one)
    await put(store, resolved(one), replace(one, id="the next"))
    assert {row["id"]: row["state"] for row in await look.rows(incidents)} == {
        one.id: "resolved",
        "the next": "triggered",
    }


@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one after another"])
async def test_many_notifications_for_one_slot_make_one_incident(store: Store, at_once: bool) -> None:
    place, names = slot(), [f"Alert{number}" for number in range(30)]
    scope = Scope(slots=(place,), source="default")
    updates = [store.update(scope, arriving(name, to=place)) for name in names]
    if at_once:
        await asyncio.gather(*updates)
    else:
        for update in updates:
            await update
    (found,) = await load(store, scope)
    assert {alert.labels["alertname"] for alert in found.alerts.values()} == set(names)
    assert (found.revision, found.series) == (30, 30)


# --- decisions of one batch -------------------------------------------------------------------


async def test_two_notifications_in_one_transaction_see_each_others_decisions(
    store: Store, transactions: Transactions, look: Look
) -> None:
    place = slot()
    scope = Scope(slots=(place,))
    first, second = await asyncio.gather(
        store.update(scope, arriving("One", to=place)), store.update(scope, arriving("Two", to=place))
    )
    assert transactions.count("commit") == 1
    assert [change.incident.revision for change in (*first, *second)] == [1, 2]
    assert second[0].incident.id == first[0].incident.id
    assert len(await look.rows(episodes)) == 2


async def test_an_alert_is_found_by_its_fingerprint_where_the_same_transaction_has_put_it(
    store: Store, transactions: Transactions
) -> None:
    """A resolve right behind its alert, and in another group: rule 1, the receiver was picked when it opened."""
    one = incident()
    (name,) = one.alerts
    found: list[tuple[Incident, ...]] = []

    def see(known: tuple[Incident, ...], *_: Any) -> list[Change]:
        found.append(known)
        return []

    elsewhere = Scope(slots=(slot("Other"),), source="default", fingerprints=(name,))
    await asyncio.gather(store.update(Scope(), opening(one)), store.update(elsewhere, see))
    assert transactions.count("commit") == 1
    assert found == [(one,)]


async def test_open_close_and_open_again_in_one_transaction_make_two_incidents(
    store: Store, transactions: Transactions, look: Look
) -> None:
    place = slot()

    def start(found: tuple[Incident, ...], _: Any, now: Any) -> list[Change]:
        assert found == ()
        return [Change(begin(place, now))]

    def end(found: tuple[Incident, ...], _: Any, now: Any) -> list[Change]:
        return [Change(replace(found[0], state=State.RESOLVED, resolved_at=now, due_at=None))]

    scope = Scope(slots=(place,))
    await asyncio.gather(*(store.update(scope, verb) for verb in (start, end, start)))
    assert transactions.count("commit") == 1
    assert sorted(row["state"] for row in await look.rows(incidents)) == ["resolved", "triggered"]


async def test_a_page_that_is_withdrawn_in_the_transaction_that_made_it_never_goes_out(
    store: Store, look: Look
) -> None:
    """It is in the ledger all the same, with the reason: nothing is dropped without a trace."""
    one, asked, later = incident(), page(incident()), page(incident(), BOB)

    def withdraw(found: tuple[Incident, ...], *_: Any) -> list[Change]:
        return [Change(found[0]).withdrawn("acknowledged").page(later)]

    scope = Scope(slots=(one.slot,))
    await asyncio.gather(store.update(scope, opening(one, pages=[asked])), store.update(scope, withdraw))
    gone = await look.row(pages, id=asked.id)
    assert [gone[name] for name in ("state", "outcome", "reason")] == ["settled", "withdrawn", "acknowledged"]
    (bundle,) = (await claim(store)).bundles
    assert [line.page for line in bundle.lines] == [later]


async def test_withdrawing_spares_the_pages_of_other_incidents(store: Store) -> None:
    one, other = incident("One"), incident("Other")

    def withdraw(found: tuple[Incident, ...], *_: Any) -> list[Change]:
        return [Change(found[0]).withdrawn("acknowledged")]

    await asyncio.gather(
        store.update(Scope(), opening(other, pages=[page(other)])),
        store.update(Scope(), opening(one, pages=[page(one, BOB)])),
        store.update(Scope(slots=(one.slot,)), withdraw),
    )
    (bundle,) = (await claim(store)).bundles
    assert [line.page for line in bundle.lines] == [page(other)]


async def test_withdrawing_settles_the_pages_that_wait_and_marks_the_one_that_is_being_sent(
    store: Store, look: Look
) -> None:
    one = incident()
    sent, waiting = page(one), page(one, BOB, due=60)
    await put(store, one, pages=[sent, waiting])
    await claim(store)
    await store.update(Scope(ids=(one.id,)), lambda found, *_: [Change(found[0]).withdrawn("acknowledged")])
    states = {row["id"]: (row["state"], row["withdrawn"], row["outcome"]) for row in await look.rows(pages)}
    assert states == {
        sent.id: ("sending", "acknowledged", None),
        waiting.id: ("settled", "acknowledged", "withdrawn"),
    }


async def test_withdrawals_of_one_transaction_keep_each_its_own_reason(store: Store, look: Look) -> None:
    reasons = {"One": "acknowledged", "Two": "resolved", "Three": "acknowledged"}
    many = {name: incident(name) for name in reasons}
    await put(store, *many.values(), pages=[page(one) for one in many.values()])
    await asyncio.gather(
        *(
            store.update(
                Scope(ids=(many[name].id,)), lambda found, *_, r=reason: [Change(found[0]).withdrawn(r)]
            )
            for name, reason in reasons.items()
        )
    )
    told = {row["incident_id"]: row["reason"] for row in await look.rows(pages)}
    assert told == {many[name].id: reason for name, reason in reasons.items()}


@pytest.mark.parametrize("kind", ["fallback", "ring"])
async def test_a_page_that_stands_in_for_another_enters_the_outbox_once(
    store: Store, look: Look, kind: str
) -> None:
    """A notification, or another device of the same owner's; also where that rang before a reload."""
    stand_in = page(incident(), kind=kind)

    async def job(tx: Tx) -> None:
        await tx.put([stand_in])
        await tx.put([stand_in])

    await store.write(job)
    await store.write(job)
    assert (await look.row(pages))["id"] == stand_in.id


async def test_the_timeline_keeps_the_order_of_what_happened(store: Store, look: Look) -> None:
    one = incident()
    await put(store, one)
    notes = [
        store.update(Scope(ids=(one.id,)), lambda found, *_, n=number: [Change(found[0]).note("k", str(n))])
        for number in range(20)
    ]
    await asyncio.gather(*notes)
    told = sorted(await look.rows(timeline), key=lambda row: row["id"])
    assert [row["text"] for row in told] == [str(number) for number in range(20)]


# --- what a scope finds -----------------------------------------------------------------------


async def test_a_slot_finds_its_open_incident_alone(store: Store) -> None:
    await put(store, incident("One"), incident("Two"))
    await put(store, resolved(incident("Two")))
    assert await load(store, Scope(slots=(slot("One"), slot("Two"), slot("Three")))) == (incident("One"),)


async def test_slots_differ_by_source_receiver_and_group_values(store: Store) -> None:
    places = [
        Slot("default", "platform", (("a", "b"),)),
        Slot("other", "platform", (("a", "b"),)),
        Slot("default", "other", (("a", "b"),)),
        Slot("default", "platform", (("a", "c"),)),
        Slot("default", "platform", (("a", "b"), ("c", ""))),
        Slot("default", "platform"),
    ]
    await put(store, *(incident(at_slot=place) for place in places))
    for place in places:
        assert [one.slot for one in await load(store, Scope(slots=(place,)))] == [place]


async def test_a_fingerprint_finds_the_incidents_of_its_source_in_which_it_is_open(store: Store) -> None:
    here = incident("One", episode("Shared"), episode("Mine"))
    there = incident("Two", episode("Shared"))
    foreign = incident("Three", episode("Shared"), at_slot=slot("Three", source="other"))
    ended = incident("Four", episode("Open"), replace(episode("Shared"), status="resolved", ended_at=at(1)))
    await put(store, here, there, foreign, ended, resolved(incident("Five", episode("Shared"))))
    shared = episode("Shared").fingerprint
    found = await load(store, Scope(source="default", fingerprints=(shared,)))
    assert {one.id for one in found} == {here.id, there.id}
    assert {one.id: one for one in found}[here.id] == here


async def test_an_id_finds_an_incident_whatever_its_state(store: Store) -> None:
    one = resolved(incident())
    await put(store, incident())
    await put(store, one)
    assert await load(store, Scope(ids=(one.id, "there is none"))) == (one,)


async def test_an_incident_that_is_named_in_three_ways_is_found_once(store: Store) -> None:
    one = incident()
    await put(store, one)
    scope = Scope((one.slot,), "default", (*one.alerts,), (one.id,))
    assert await load(store, scope) == (one,)


async def test_a_scope_may_name_thousands(store: Store) -> None:
    many = [incident(f"Alert{number}") for number in range(1201)]
    await put(store, *many)
    slots = Scope(slots=tuple(one.slot for one in many))
    fingerprints = Scope(source="default", fingerprints=tuple(name for one in many for name in one.alerts))
    ids = Scope(ids=tuple(one.id for one in many))
    for scope in (slots, fingerprints, ids):
        assert len(await load(store, scope)) == len(many)


async def test_a_decision_is_told_of_every_phone_that_the_configuration_names(store: Store) -> None:
    await sync(store, phone(ALICE), phone(BOB, alert_token=None), phone("carol-iphone"))
    await sync(store, phone(ALICE), phone(BOB, alert_token=None))
    told: list[Phone] = []

    def see(_: Any, roster: Roster, *__: Any) -> list[Change]:
        told.extend(roster.phones)
        return []

    await store.update(Scope(), see)
    assert sorted(told, key=lambda each: each.name) == [
        Phone(ALICE, "alice", voip=True, alert=True),
        Phone(BOB, "bob", voip=True, alert=False),
    ]


async def test_a_decision_is_told_of_the_overrides_that_are_not_over_in_the_order_of_writing(
    store: Store, clock: MovedClock
) -> None:
    def write(schedule: str, one: Override) -> Awaitable[int]:
        return store.write(lambda tx: overrides.add(tx.connection, schedule, one, tx.now))

    first, second = Override("bob", at(0), at(60), "carol"), Override("alice", at(30), at(90))
    keys = [await write("primary", one) for one in (first, second)]
    keys.append(await write("backup", first))
    assert keys == [1, 2, 3]
    told: list[Any] = []

    def see(_: Any, roster: Roster, *__: Any) -> list[Change]:
        told.append(roster.overrides)
        return []

    await store.update(Scope(), see)
    clock.move(60)
    await store.update(Scope(), see)
    one, two, three = (
        dataclasses.replace(first, id=1),
        dataclasses.replace(second, id=2),
        dataclasses.replace(first, id=3),
    )
    assert told == [{"primary": (one, two), "backup": (three,)}, {"primary": (two,)}]


async def test_an_overrides_id_is_never_given_again(store: Store) -> None:
    def write() -> Awaitable[int]:
        return store.write(
            lambda tx: overrides.add(tx.connection, "primary", Override("bob", at(0), at(60)), tx.now)
        )

    def remove(key: int) -> Awaitable[bool]:
        return store.write(lambda tx: overrides.remove(tx.connection, key))

    key = await write()
    assert await remove(key)
    assert not await remove(key)
    assert await write() == key + 1


# --- values -----------------------------------------------------------------------------------

# What a database may get into trouble with: quotation marks, NUL's neighbours, combining marks, astral
# characters, right-to-left, and both normal forms of one letter. NUL and lone surrogates never get
# this far (tests/test_alerts.py).
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20) | st.sampled_from(
    ["", " ", "'; --", '"', "\\", "%s", ":name", "é", "e\u0301", "\u202eabc", "🇨🇭👩‍👩‍👧", "\uffff", "\x01\x7f", "\u2028"]
)  # fmt: skip
MOMENT = st.datetimes().map(lambda when: at((when - when.replace(microsecond=0)).total_seconds())) | st.datetimes(
    timezones=st.just(at(0).tzinfo)
)  # fmt: skip
COUNT = st.integers(0, 2**31 - 1)
LABELS = st.dictionaries(TEXT, TEXT, max_size=4)
ANY_EPISODE = st.builds(
    Episode,
    fingerprint=TEXT,
    labels=LABELS,
    annotations=LABELS,
    generator_url=TEXT,
    starts_at=MOMENT,
    expires_at=MOMENT,
    status=st.sampled_from(["firing", "resolved", "expired"]),
    ended_at=st.none() | MOMENT,
    ended_here_at=st.none() | MOMENT,
    revision=COUNT,
    repairs=st.lists(TEXT, max_size=3).map(tuple),
)
ANY_SLOT = st.builds(
    Slot, source=TEXT, receiver=TEXT, group=st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)
)
ANY_INCIDENT = st.builds(
    Incident,
    id=st.uuids().map(str),
    slot=ANY_SLOT,
    opened_at=MOMENT,
    state=st.sampled_from(State),
    revision=COUNT,
    series=COUNT,
    round=COUNT,
    step=COUNT,
    ring=COUNT,
    due_at=st.none() | MOMENT,
    step_ends_at=st.none() | MOMENT,
    reached=st.booleans(),
    out=LABELS,
    told=st.lists(TEXT, max_size=3).map(tuple),
    acknowledged_at=st.none() | MOMENT,
    acknowledged_by=st.none() | TEXT,
    resolved_at=st.none() | MOMENT,
    resolution=st.none() | TEXT,
    unanswered_at=st.none() | MOMENT,
    group_key=TEXT,
    external_url=TEXT,
    truncated_alerts=st.integers(0, 2**53 - 1),
    alerts=st.lists(ANY_EPISODE, max_size=4).map(lambda found: {one.fingerprint: one for one in found}),
)
ANY_PAGE = st.builds(
    Page,
    id=st.uuids().map(str),
    incident_id=TEXT,
    revision=COUNT,
    kind=st.sampled_from(["ring", "fallback", "webhook", "resolved"]),
    target=TEXT,
    series=COUNT,
    round=COUNT,
    step=COUNT,
    ring=COUNT,
    push=st.sampled_from(["voip", "alert"]),
    interruption_level=st.sampled_from(["critical", "time-sensitive", "active", "passive"]),
    due_at=MOMENT,
    expires_at=MOMENT,
    every=st.floats(0, 1e9),
    lasts=st.floats(0, 1e9),
    call_uuid=st.uuids().map(str),
)
ANY_CALL = st.builds(
    Call,
    id=st.uuids().map(str),
    uuid=st.uuids().map(str),
    device=TEXT,
    push=st.sampled_from(["voip", "alert"]),
    kind=st.sampled_from(["ring", "fallback", "resolved"]),
    carries=st.lists(st.tuples(TEXT, COUNT), max_size=3).map(tuple),
    created_at=MOMENT,
    expires_at=MOMENT,
)
ANY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@ANY
@given(ANY_INCIDENT)
async def test_an_incident_comes_back_field_by_field_as_it_went_in(store: Store, one: Incident) -> None:
    one = replace(one, id=str(uuid.uuid4()), slot=replace(one.slot, source=str(uuid.uuid4())))
    await put(store, one)
    (found,) = await load(store, Scope(ids=(one.id,)))
    assert found == one


@ANY
@given(ANY_INCIDENT, ANY_INCIDENT)
async def test_an_incident_that_changed_comes_back_as_it_was_changed(
    store: Store, before: Incident, after: Incident
) -> None:
    place = replace(before.slot, source=str(uuid.uuid4()))
    before = replace(before, id=str(uuid.uuid4()), slot=place)
    # No decision moves an incident, or takes an alert out of it.
    after = replace(after, id=before.id, slot=place, alerts={**before.alerts, **after.alerts})
    await put(store, before)
    await store.update(Scope(ids=(before.id,)), lambda *_: [Change(after)])
    (found,) = await load(store, Scope(ids=(before.id,)))
    assert found == after


@ANY
@given(ANY_PAGE)
async def test_a_page_comes_back_field_by_field_as_it_went_in(store: Store, look: Look, one: Page) -> None:
    one = replace(one, id=str(uuid.uuid4()))
    await store.write(lambda tx: tx.put([one]))
    found: Any = await look.row(pages, id=one.id)
    assert rows.page(found) == one


@ANY
@given(ANY_CALL)
async def test_a_call_comes_back_field_by_field_as_it_went_in(store: Store, look: Look, one: Call) -> None:
    one = replace(one, id=str(uuid.uuid4()))
    await store.write(lambda tx: tx.connection.execute(call_table.insert(), call_row(one)))
    found: Any = await look.row(call_table, id=one.id)
    assert call_of(found) == one
    assert await store.read(lambda connection: calls.find(connection, one.id)) == one


async def test_a_call_as_it_is_claimed_is_the_call_as_it_is_found(store: Store) -> None:
    await sync(store, phone())
    await put(store, incident(), pages=[page(incident())])
    (bundle,) = (await claim(store)).bundles
    assert bundle.call is not None
    assert await store.read(lambda connection: calls.find(connection, bundle.call.id)) == bundle.call
    await accept(store, bundle)
    assert await store.read(outbox.next_due) is None
