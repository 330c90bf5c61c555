"""The outbox: claims, leases, settlements by attempt, and one call at a time on each phone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from builders import at
from ledgers import (
    ALICE,
    BOB,
    LEASE,
    Look,
    accept,
    claim,
    device,
    incident,
    on_any,
    page,
    put,
    settle,
    sync,
)
from movedclock import MovedClock
from msgspec.structs import replace
from sqlalchemy import literal, select, update

from bridge.bundles import Bundle, Call
from bridge.incidents import Change, Incident, Page
from bridge.store import Scope, Store, Tx, outbox
from bridge.store.outbox import Claim, Settled
from bridge.store.tables import calls, pages

HOOK = "hook"


@pytest.fixture
async def store(store: Store) -> Store:
    """A ledger that knows two phones."""
    await sync(store, device(ALICE), device(BOB))
    return store


def incidents_of(count: int) -> list[Incident]:
    return [incident(f"Alert{number}") for number in range(count)]


async def put_pages(store: Store, *new: Page) -> None:
    await store.write(lambda tx: tx.put(new))


async def try_again(store: Store, bundle: Bundle, reason: str, after: float) -> tuple[Settled, ...]:
    async def job(tx: Any) -> tuple[Settled, ...]:
        when = tx.now + timedelta(seconds=after)
        return await outbox.try_again(tx.connection, bundle, reason, when, tx.now)

    return await store.write(job)


async def withdraw(store: Store, of: Incident) -> None:
    await store.update(Scope(ids=(of.id,)), lambda found, *_: [Change(found[0]).withdrawn("acknowledged")])


def only(claimed: Claim) -> Bundle:
    (bundle,) = claimed.bundles
    return bundle


def call_of(bundle: Bundle) -> Call:
    assert bundle.call is not None
    return bundle.call


def told(bundles: Iterable[Bundle]) -> list[str]:
    """The ids of the pages that these bundles carry."""
    return [line.page.id for bundle in bundles for line in bundle.lines]


def outcomes(settled: Sequence[Settled]) -> list[tuple[str, str | None]]:
    return [(item.outcome, item.reason) for item in settled]


# --- claims and leases ------------------------------------------------------------------------


async def test_a_claim_raises_the_attempt_takes_the_lease_and_binds_the_call(
    store: Store, look: Look
) -> None:
    await put_pages(store, page(incident()))
    bundle = only(await claim(store))
    row = await look.row(pages)
    assert (row["state"], row["attempt"], row["next_attempt_at"]) == ("sending", 1, at(0) + LEASE)
    assert row["call_id"] == call_of(bundle).id == (await look.row(calls))["id"]
    assert [(line.attempt, line.call_id) for line in bundle.lines] == [(1, call_of(bundle).id)]


async def test_a_page_that_is_not_due_yet_is_left_alone(store: Store, clock: MovedClock) -> None:
    await put_pages(store, page(incident(), due=10))
    assert await claim(store) == Claim()
    clock.move(10)
    assert told((await claim(store)).bundles) == [page(incident(), due=10).id]


async def test_what_is_claimed_is_not_claimed_again_while_its_lease_lasts(
    store: Store, clock: MovedClock
) -> None:
    await put_pages(store, page(incident()), page(incident(), HOOK, kind="webhook"))
    assert len((await claim(store)).bundles) == 2
    clock.move(14.9)
    assert await claim(store) == Claim()


async def test_of_many_claims_at_once_one_alone_gets_a_page(store: Store) -> None:
    await put_pages(store, *(page(one, HOOK, kind="webhook") for one in incidents_of(20)))
    claims = await asyncio.gather(*(claim(store) for _ in range(10)))
    ids = [name for one in claims for name in told(one.bundles)]
    assert len(ids) == len(set(ids)) == 20


async def test_when_a_lease_has_run_out_the_page_is_claimed_again_with_the_same_call(
    store: Store, clock: MovedClock, look: Look
) -> None:
    """Identity: a second try must be the same call to CallKit, and the same apns-id to Apple."""
    one, two = incident("One"), incident("Two")
    await put_pages(store, page(one), page(two))
    first = only(await claim(store))
    clock.move(15)
    await put_pages(store, page(incident("Three")))
    again = only(await claim(store))
    assert call_of(again) == call_of(first)
    assert sorted(told([again])) == sorted(told([first]))
    assert [line.attempt for line in again.lines] == [2, 2]
    assert len(await look.rows(calls)) == 1


# --- settlements ------------------------------------------------------------------------------


async def test_a_settlement_is_recorded_once(store: Store, look: Look) -> None:
    await put_pages(store, page(incident()))
    bundle = only(await claim(store))
    assert outcomes(await settle(store, bundle, "rejected", "BadPriority")) == [("rejected", "BadPriority")]
    assert await settle(store, bundle, "accepted") == ()
    row = await look.row(pages)
    assert (row["state"], row["outcome"], row["reason"]) == ("settled", "rejected", "BadPriority")
    assert row["settled_at"] == at(0)


async def test_a_settlement_counts_only_while_the_attempt_is_still_the_claims(
    store: Store, clock: MovedClock, look: Look
) -> None:
    await put_pages(store, page(incident()))
    first = only(await claim(store))
    clock.move(15)
    second = only(await claim(store))
    assert await settle(store, first, "rejected", "late") == ()
    assert await try_again(store, first, "late", 1) == ()
    row = await look.row(pages)
    assert (row["state"], row["attempt"], row["reason"]) == ("sending", 2, None)
    assert outcomes(await settle(store, second)) == [("accepted", None)]


async def test_an_answer_that_comes_after_its_lease_still_counts_if_nobody_claimed_since(
    store: Store, clock: MovedClock
) -> None:
    await put_pages(store, page(incident()))
    bundle = only(await claim(store))
    clock.move(20)
    assert outcomes(await settle(store, bundle)) == [("accepted", None)]
    assert await claim(store) == Claim()


async def test_a_page_that_is_to_be_tried_again_waits_and_keeps_its_call(
    store: Store, clock: MovedClock, look: Look
) -> None:
    await put_pages(store, page(incident()))
    first = only(await claim(store))
    assert await try_again(store, first, "TooManyRequests", 5) == ()
    row = await look.row(pages)
    assert (row["state"], row["reason"], row["next_attempt_at"]) == ("waiting", "TooManyRequests", at(5))
    assert await claim(store) == Claim()
    clock.move(5)
    again = only(await claim(store))
    assert (call_of(again), again.lines[0].attempt) == (call_of(first), 2)


async def test_no_page_waits_for_an_attempt_beyond_its_own_time(store: Store, clock: MovedClock) -> None:
    """A Retry-After of an hour: at its end the page is settled, not forgotten."""
    await put_pages(store, page(incident()))
    await try_again(store, only(await claim(store)), "TooManyRequests", 3600)
    assert await store.read(outbox.next_due) == page(incident()).expires_at
    clock.move(45)
    assert outcomes((await claim(store)).settled) == [("expired", "TooManyRequests")]
    assert await store.read(outbox.next_due) is None


# --- pages that nobody wants any more ---------------------------------------------------------


async def test_a_page_that_is_withdrawn_while_it_is_being_sent_settles_when_its_answer_comes(
    store: Store, look: Look
) -> None:
    await put(store, incident(), pages=[page(incident())])
    bundle = only(await claim(store))
    await withdraw(store, incident())
    assert (await look.row(pages))["state"] == "sending"
    assert outcomes(await settle(store, bundle)) == [("accepted", None)]
    row = await look.row(pages)
    assert (row["outcome"], row["withdrawn"]) == ("accepted", "acknowledged")


async def test_a_page_that_is_withdrawn_while_it_is_being_sent_is_not_tried_again(
    store: Store, clock: MovedClock, look: Look
) -> None:
    one, other = incident("One"), incident("Other")
    await put(store, one, other, pages=[page(one), page(other)])
    bundle = only(await claim(store))
    await withdraw(store, one)
    assert outcomes(await try_again(store, bundle, "Timeout", 1)) == [("withdrawn", "acknowledged")]
    assert (await look.row(pages, id=page(one).id))["outcome"] == "withdrawn"
    clock.move(1)
    assert told([only(await claim(store))]) == [page(other).id]


async def test_a_withdrawn_page_whose_sender_died_settles_when_its_lease_has_run_out(
    store: Store, clock: MovedClock
) -> None:
    await put(store, incident(), pages=[page(incident())])
    await claim(store)
    await withdraw(store, incident())
    assert await claim(store) == Claim()
    clock.move(15)
    claimed = await claim(store)
    assert (claimed.bundles, outcomes(claimed.settled)) == ((), [("withdrawn", "acknowledged")])


async def test_a_page_that_nobody_could_try_in_its_time_is_settled_as_expired(
    store: Store, clock: MovedClock, look: Look
) -> None:
    await put_pages(store, page(incident()))
    clock.move(45)
    claimed = await claim(store)
    assert (claimed.bundles, outcomes(claimed.settled)) == ((), [("expired", "its phone was busy")])
    assert [item.attempts for item in claimed.settled] == [0]
    assert (await look.row(pages))["outcome"] == "expired"


async def test_a_page_without_an_answer_in_its_time_says_so(store: Store, clock: MovedClock) -> None:
    await put_pages(store, page(incident()))
    await claim(store)
    clock.move(45)
    claimed = await claim(store)
    assert (claimed.bundles, outcomes(claimed.settled)) == ((), [("expired", "no answer in time")])
    assert [item.attempts for item in claimed.settled] == [1]


async def test_a_page_that_expires_keeps_the_reason_of_its_last_try(store: Store, clock: MovedClock) -> None:
    await put_pages(store, page(incident()))
    await try_again(store, only(await claim(store)), "ServiceUnavailable", 1)
    clock.move(45)
    assert outcomes((await claim(store)).settled) == [("expired", "ServiceUnavailable")]


async def test_a_call_that_could_only_be_repeated_after_its_deadline_is_settled_with_its_reason(
    store: Store, clock: MovedClock
) -> None:
    """The call is over after 30 s, though its page would be of use for 45."""
    await put_pages(store, page(incident()))
    await try_again(store, only(await claim(store)), "ServiceUnavailable", 29.9)
    clock.move(30)
    claimed = await claim(store)
    assert (claimed.bundles, outcomes(claimed.settled)) == ((), [("expired", "ServiceUnavailable")])


async def test_a_page_that_is_being_sent_is_left_to_its_sender_until_its_lease_has_run_out(
    store: Store, clock: MovedClock
) -> None:
    await put_pages(store, replace(page(incident()), expires_at=at(5)))
    bundle = only(await claim(store))
    clock.move(6)
    assert await claim(store) == Claim()
    assert outcomes(await settle(store, bundle)) == [("accepted", None)]


async def test_however_many_have_expired_none_of_them_is_sent(store: Store, clock: MovedClock) -> None:
    await put_pages(store, *(page(one) for one in incidents_of(1201)))
    clock.move(45)
    claims = [await claim(store) for _ in range(3)]
    assert [one.bundles for one in claims] == [(), (), ()]
    assert sum(len(one.settled) for one in claims) == 1201
    assert await store.read(outbox.next_due) is None


# --- one call at a time -----------------------------------------------------------------------


async def test_rule_5_while_a_call_is_on_its_way_what_falls_due_waits_and_then_travels_together(
    store: Store, clock: MovedClock
) -> None:
    first, second, third = incidents_of(3)
    await put_pages(store, page(first))
    bundle = only(await claim(store))
    await put_pages(store, page(second), page(third), page(second, BOB))
    others = only(await claim(store))
    assert told([others]) == [page(second, BOB).id]
    for one in (bundle, others):
        await accept(store, one)
    clock.move(29.9)
    assert await claim(store) == Claim(free_at=at(30))
    clock.move(0.1)
    assert await claim(store) == Claim(free_at=at(60)), "the call is over, the gap is not"
    clock.move(15)
    await put_pages(store, replace(page(first, due=45), id="ring 2", ring=2))
    assert sorted(told([only(await claim(store))])) == ["ring 2"]


async def test_rule_5_after_the_call_comes_the_quiet_gap_then_the_next_call(
    store: Store, clock: MovedClock
) -> None:
    first, second, third = incidents_of(3)
    await put_pages(store, page(first))
    await accept(store, only(await claim(store)))
    clock.move(20)
    await put_pages(store, page(second, due=20), page(third, due=20))
    clock.move(39.9)
    assert (await claim(store)).bundles == ()
    clock.move(0.1)
    assert sorted(told((await claim(store)).bundles)) == sorted(
        [page(second, due=20).id, page(third, due=20).id]
    )


async def test_a_repeated_ring_keeps_its_pace_and_takes_along_what_waits(
    store: Store, clock: MovedClock
) -> None:
    first, second = incidents_of(2)
    await put_pages(store, page(first))
    await accept(store, only(await claim(store)))
    clock.move(45)
    again = replace(page(first, due=45), id="ring 2", ring=2)
    await put_pages(store, again, page(second, due=40))
    assert sorted(told([only(await claim(store))])) == sorted([again.id, page(second, due=40).id])


async def test_a_call_that_nobody_took_leaves_its_phone_free(store: Store) -> None:
    first, second = incidents_of(2)
    await put_pages(store, page(first))
    await settle(store, only(await claim(store)), "rejected", "PayloadTooLarge")
    await put_pages(store, page(second))
    assert told([only(await claim(store))]) == [page(second).id]


async def test_a_call_that_waits_for_its_next_try_keeps_its_phone(store: Store, clock: MovedClock) -> None:
    first, second = incidents_of(2)
    await put_pages(store, page(first))
    await try_again(store, only(await claim(store)), "Timeout", 5)
    await put_pages(store, page(second))
    assert await claim(store) == Claim()
    clock.move(5)
    assert told([only(await claim(store))]) == [page(first).id]


async def test_notifications_and_webhooks_do_not_wait_for_a_busy_phone(store: Store) -> None:
    first, second = incidents_of(2)
    await put_pages(store, page(first))
    await accept(store, only(await claim(store)))
    await put_pages(store, page(second, kind="fallback"), page(second, ALICE, kind="webhook"))
    assert len(told((await claim(store)).bundles)) == 2


# --- however many -----------------------------------------------------------------------------


async def test_a_claim_takes_a_bounded_number_and_the_next_ones_take_the_rest(store: Store) -> None:
    await put_pages(store, *(page(one, HOOK, kind="webhook") for one in incidents_of(1201)))
    claims = [told((await claim(store)).bundles) for _ in range(3)]
    assert [len(ids) for ids in claims] == [500, 500, 201]
    assert len({name for ids in claims for name in ids}) == 1201


async def test_a_storm_for_one_phone_is_one_call_however_many_pages_it_is(
    store: Store, clock: MovedClock
) -> None:
    """Nothing that is due is left for a second call, at the first attempt and at each other."""
    storm = [replace(page(one), expires_at=at(3600)) for one in incidents_of(1201)]
    await put_pages(store, *storm)
    first = only(await claim(store))
    assert sorted(told([first])) == sorted(one.id for one in storm)
    await try_again(store, first, "Timeout", 5)
    clock.move(5)
    again = only(await claim(store))
    assert (again.call, len(again.lines)) == (first.call, 1201)
    await accept(store, again)
    assert await store.read(outbox.next_due) is None


BUSY = {"on its way": 0.0, "ringing": 10.0, "in its quiet gap": 40.0}


@pytest.mark.parametrize("moment", BUSY)
async def test_pages_that_wait_for_a_busy_phone_starve_nobody_however_many_they_are(
    store: Store, clock: MovedClock, moment: str
) -> None:
    await put_pages(store, page(incident()))
    bundle = only(await claim(store))
    if BUSY[moment]:
        await accept(store, bundle)
    waiting = [replace(page(one), expires_at=at(3600)) for one in incidents_of(601)]
    await put_pages(store, *waiting)
    clock.move(BUSY[moment])
    later = [
        page(incident(), BOB, due=BUSY[moment]),
        page(incident(), HOOK, kind="webhook", due=BUSY[moment]),
    ]
    await put_pages(store, *later)
    assert sorted(told((await claim(store)).bundles)) == sorted(one.id for one in later)


async def test_a_repeated_ring_is_seen_behind_however_many_pages_that_wait_for_the_gap(
    store: Store, clock: MovedClock
) -> None:
    await put_pages(store, page(incident()))
    await accept(store, only(await claim(store)))
    clock.move(45)
    await put_pages(store, *(replace(page(one), expires_at=at(3600)) for one in incidents_of(601)))
    assert (await claim(store)).bundles == ()
    await put_pages(store, replace(page(incident(), due=45), id="ring 2", ring=2))
    assert len(only(await claim(store)).lines) == 602


async def test_a_call_is_repeated_whole_also_where_a_claim_takes_no_more(
    store: Store, clock: MovedClock
) -> None:
    together = [replace(page(one), expires_at=at(3600)) for one in incidents_of(5)]
    await put_pages(store, *together)
    await try_again(store, only(await claim(store)), "Timeout", 5)
    await put_pages(store, *(page(one, HOOK, kind="webhook") for one in incidents_of(498)))
    clock.move(5)
    repeated = [bundle for bundle in (await claim(store)).bundles if bundle.call is not None]
    assert sorted(told(repeated)) == sorted(one.id for one in together)


# --- what is due next -------------------------------------------------------------------------


async def test_the_outbox_says_when_it_has_something_to_do_next(store: Store, clock: MovedClock) -> None:
    assert await store.read(outbox.next_due) is None
    await put_pages(store, page(incident(), due=30), page(incident(), BOB, due=20))
    assert await store.read(outbox.next_due) == at(20)
    assert await store.read(lambda c: outbox.next_due(c, since=at(20))) == at(20)
    assert await store.read(lambda c: outbox.next_due(c, since=at(20.000001))) == at(30)
    assert await store.read(lambda c: outbox.next_due(c, since=at(31))) is None
    clock.move(20)
    bundle = only(await claim(store))
    assert await store.read(outbox.next_due) == at(30)
    clock.move(10)
    await claim(store)
    assert await store.read(outbox.next_due) == at(35), "the first lease runs out"
    await settle(store, bundle)
    assert await store.read(outbox.next_due) == at(45)


async def test_a_claim_that_finds_nothing_to_send_wakes_nobody(store: Store) -> None:
    await put_pages(store, page(incident("One")))
    await claim(store)
    await put_pages(store, page(incident("Two")))
    calls: list[str] = []
    on_any(store, lambda _: calls.append("called"))
    assert await claim(store) == Claim()
    assert calls == []


async def test_32768_busy_phones_keep_no_other_waiting(store: Store) -> None:
    """A database takes no more than 32,767 values in one statement."""
    one = incident()
    await put(store, one)
    busy = page(one, "busy")
    await put_pages(store, busy)
    others = [column for column in pages.c if column.name not in {"id", "target", "call_id", "state"}]

    async def fill(tx: Tx) -> None:
        await tx.connection.execute(
            update(pages).values(state="sending", call_id="call", next_attempt_at=at(30))
        )
        for number in range(15):
            mark = literal(f"-{number}")
            twins = select(pages.c.id + mark, pages.c.target + mark, pages.c.call_id, pages.c.state, *others)
            names = ["id", "target", "call_id", "state", *(column.name for column in others)]
            await tx.connection.execute(pages.insert().from_select(names, twins))

    await store.write(fill)
    await put_pages(store, page(one), replace(busy, id="waits"))
    (bundle,) = (await claim(store)).bundles
    assert bundle.call is not None
    assert bundle.call.device == ALICE
