"""What phones say back, and what becomes of their tokens."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from builders import at
from ledgers import ALICE, BOB, Look, accept, claim, device, incident, page, put, settle, sync
from movedclock import MovedClock
from msgspec.structs import replace

from bridge.bundles import Bundle, Call
from bridge.incidents import Change, Page
from bridge.store import Scope, Store, calls, devices, outbox
from bridge.store.calls import Receipt
from bridge.store.devices import Device
from bridge.store.tables import calls as call_table
from bridge.store.tables import devices as device_table
from bridge.store.tables import receipts


async def put_pages(store: Store, *new: Page) -> None:
    await store.write(lambda tx: tx.put(new))


async def ring(store: Store, target: str = ALICE, kind: Any = "ring", *, taken: bool = True) -> Call:
    """Have a call rung, or on its way where APNs has not taken it yet."""
    await put_pages(store, replace(page(incident(), target, kind=kind), expires_at=at(3600)))
    (bundle,) = (await claim(store)).bundles
    if taken:
        await accept(store, bundle)
    assert bundle.call is not None
    return bundle.call


async def say(store: Store, call: Call, kind: Any, event: str = "e1", code: int | None = None) -> bool:
    receipt = Receipt(event, kind, "2026-11-25T02:00:05Z", code)
    return await store.write(lambda tx: calls.record(tx, call, receipt))


async def state(store: Store, call: Call) -> str:
    return await store.read(lambda connection: calls.state(connection, call.id))


@pytest.fixture
async def store(store: Store) -> Store:
    """A ledger that knows two phones."""
    await sync(store, device(ALICE), device(BOB))
    return store


# --- receipts ---------------------------------------------------------------------------------


async def test_a_receipt_is_kept_with_both_clocks_words(store: Store, clock: MovedClock, look: Look) -> None:
    call = await ring(store)
    clock.move(6)
    assert await say(store, call, "failed", code=3)
    assert await look.row(receipts) == {
        "call_id": call.id,
        "event_id": "e1",
        "receipt": "failed",
        "error_code": 3,
        "at": "2026-11-25T02:00:05Z",
        "received_at": at(6),
    }


async def test_a_receipt_counts_once_however_often_it_is_posted(
    store: Store, clock: MovedClock, look: Look
) -> None:
    call = await ring(store)
    first = await asyncio.gather(*(say(store, call, "answered") for _ in range(5)))
    clock.move(5)
    later = await say(store, call, "declined")
    assert (sorted(first), later) == ([False, False, False, False, True], False)
    assert len(await look.rows(receipts)) == 1
    assert await state(store, call) == "answered"


async def test_one_event_id_on_two_calls_makes_two_receipts(store: Store, look: Look) -> None:
    for call in (await ring(store, ALICE), await ring(store, BOB)):
        assert await say(store, call, "received")
    assert len(await look.rows(receipts)) == 2


@pytest.mark.parametrize("kind", ["answered", "declined", "failed"])
async def test_a_last_word_is_the_calls_state(store: Store, kind: Any) -> None:
    call = await ring(store)
    assert await state(store, call) == "open"
    await say(store, call, kind)
    assert await state(store, call) == kind


async def test_received_says_when_the_call_came_and_ends_nothing(
    store: Store, clock: MovedClock, look: Look
) -> None:
    call = await ring(store)
    clock.move(2)
    await say(store, call, "received", "e1")
    clock.move(2)
    await say(store, call, "answered", "e2")
    row = await look.row(call_table)
    assert (row["accepted_at"], row["received_at"], row["state"]) == (at(0), at(2), "answered")


async def test_a_repeated_push_that_met_its_own_ringing_call_ends_nothing(store: Store) -> None:
    call = await ring(store)
    await say(store, call, "failed", code=2)
    assert await state(store, call) == "open"


# --- a word frees the phone -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["answered", "declined", "failed"])
async def test_rule_5_a_call_is_live_until_its_last_receipt_then_comes_the_quiet_gap(
    store: Store, clock: MovedClock, look: Look, kind: Any
) -> None:
    call = await ring(store)
    clock.move(5)
    await say(store, call, kind)
    assert (await look.row(device_table, name=ALICE))["live_until"] == at(5)
    await put_pages(store, replace(page(incident("Other"), due=5), expires_at=at(3600)))
    clock.move(29.9)
    assert (await claim(store)).bundles == ()
    clock.move(0.1)
    assert len((await claim(store)).bundles) == 1


@pytest.mark.parametrize(("kind", "code"), [("received", None), ("failed", 2)])
async def test_a_word_that_ends_no_call_frees_no_phone(
    store: Store, clock: MovedClock, look: Look, kind: Any, code: int | None
) -> None:
    call = await ring(store)
    clock.move(5)
    await say(store, call, kind, code=code)
    assert (await look.row(device_table, name=ALICE))["live_until"] == call.expires_at


async def test_a_receipt_that_overtakes_apns_answer_ends_the_call_for_good(
    store: Store, clock: MovedClock, look: Look
) -> None:
    await put_pages(store, page(incident()))
    (bundle,) = (await claim(store)).bundles
    assert bundle.call is not None
    clock.move(2)
    await say(store, bundle.call, "declined")
    await accept(store, bundle)
    row = await look.row(device_table, name=ALICE)
    assert (row["live_call"], row["called_at"], row["live_until"]) == (bundle.call.id, at(0), at(2))
    assert await state(store, bundle.call) == "declined"


async def test_a_receipt_that_comes_when_its_call_is_long_over_moves_nothing(
    store: Store, clock: MovedClock, look: Look
) -> None:
    call = await ring(store)
    clock.move(300)
    await say(store, call, "answered")
    assert (await look.row(device_table, name=ALICE))["live_until"] == call.expires_at


async def test_a_word_on_an_earlier_call_does_not_end_the_one_that_rings(
    store: Store, clock: MovedClock, look: Look
) -> None:
    earlier = await ring(store)
    clock.move(60)
    await put_pages(store, replace(page(incident("Other"), due=60), expires_at=at(3600)))
    (bundle,) = (await claim(store)).bundles
    await accept(store, bundle)
    clock.move(1)
    await say(store, earlier, "declined")
    assert bundle.call is not None
    row = await look.row(device_table, name=ALICE)
    assert (row["live_call"], row["live_until"]) == (bundle.call.id, bundle.call.expires_at)


@pytest.mark.parametrize("kind", ["received", "answered", "declined"])
async def test_a_notification_never_keeps_its_phone_busy(store: Store, look: Look, kind: Any) -> None:
    call = await ring(store, kind="fallback")
    await say(store, call, kind)
    row = await look.row(device_table, name=ALICE)
    assert (row["live_call"], row["called_at"], row["live_until"]) == (None, None, None)


# --- a call of which nobody heard -------------------------------------------------------------


async def withdraw(store: Store) -> None:
    await store.update(
        Scope(ids=(incident().id,)), lambda found, *_: [Change(found[0]).withdrawn("acknowledged")]
    )


async def killed_then_withdrawn(store: Store, bundle: Bundle) -> None:
    await store.write(lambda tx: outbox.release(tx.connection, tx.now))
    await withdraw(store)


async def late_then_withdrawn(store: Store, bundle: Bundle) -> None:
    await store.write(lambda tx: outbox.try_again(tx.connection, bundle, "Timeout", at(10), tx.now))
    await withdraw(store)


async def late_then_refused(store: Store, bundle: Bundle) -> None:
    await store.write(lambda tx: outbox.try_again(tx.connection, bundle, "Timeout", tx.now, tx.now))
    (again,) = (await claim(store)).bundles
    await settle(store, again, "unregistered")


@pytest.mark.parametrize("ends", [killed_then_withdrawn, late_then_withdrawn, late_then_refused])
async def test_rule_5_a_call_that_may_have_come_through_keeps_its_phone_busy(
    store: Store, clock: MovedClock, ends: Any
) -> None:
    """Its page is over, but the phone may be ringing with it all the same: until the call's deadline."""
    await put(store, incident(), pages=[page(incident())])
    (bundle,) = (await claim(store)).bundles
    await ends(store, bundle)
    await put_pages(store, replace(page(incident("Other")), expires_at=at(3600)))
    clock.move(29)
    assert (await claim(store)).bundles == ()
    clock.move(1)
    assert len((await claim(store)).bundles) == 1, "without a quiet gap: most probably it never rang"


async def test_a_call_that_apns_refused_keeps_no_phone_busy(store: Store) -> None:
    await put(store, incident(), pages=[page(incident())])
    (bundle,) = (await claim(store)).bundles
    await settle(store, bundle, "unregistered")
    await put_pages(store, page(incident("Other")))
    assert len((await claim(store)).bundles) == 1


async def test_the_pages_of_a_call_are_those_that_it_carried(store: Store) -> None:
    many = [page(incident(f"Alert{number}")) for number in range(3)]
    await put_pages(store, *many, page(incident(), BOB))
    for bundle in (await claim(store)).bundles:
        assert bundle.call is not None
        found = await store.read(lambda connection, name=bundle.call.id: calls.pages_of(connection, name))
        assert sorted(one.id for one in found) == sorted(line.page.id for line in bundle.lines)


async def test_a_call_that_there_is_not_is_not_found(store: Store) -> None:
    assert await store.read(lambda connection: calls.find(connection, "none")) is None


# --- devices ----------------------------------------------------------------------------------


async def mark(store: Store, trouble: str, since: Any = None, **fields: Any) -> bool:
    where = {"name": ALICE, "push": "voip", "token": f"{ALICE}-voip"} | fields
    return await store.write(
        lambda tx: devices.mark_trouble(tx.connection, trouble=trouble, since=since, **where)
    )


async def usable(store: Store, name: str = ALICE) -> Device | None:
    found = await store.read(lambda connection: devices.by_name(connection, [name]))
    return found.get(name)


async def test_devices_are_those_of_the_configuration(store: Store, look: Look) -> None:
    assert await usable(store) == device(ALICE)
    assert {row["name"] for row in await look.rows(device_table)} == {ALICE, BOB}
    assert {row["voip_registered_at"] for row in await look.rows(device_table)} == {at(0)}


async def test_a_device_that_is_gone_is_marked_and_not_deleted(
    store: Store, clock: MovedClock, look: Look
) -> None:
    clock.move(10)
    await sync(store, device(BOB))
    assert (await look.row(device_table, name=ALICE))["removed_at"] == at(10)
    assert await usable(store) is None
    clock.move(10)
    await sync(store, device(BOB))
    assert (await look.row(device_table, name=ALICE))["removed_at"] == at(10), "it says since when"


async def test_a_device_that_comes_back_is_used_again(store: Store, look: Look) -> None:
    await mark(store, "unregistered")
    await sync(store, device(BOB))
    await sync(store, device(ALICE), device(BOB))
    assert (await look.row(device_table, name=ALICE))["removed_at"] is None
    assert await usable(store) == device(ALICE, voip_token=None), "its dead token is as dead as before"


async def test_a_token_that_was_set_aside_is_not_used_and_the_other_one_is(store: Store) -> None:
    assert await mark(store, "quarantined: BadDeviceToken")
    assert await usable(store) == device(ALICE, voip_token=None)
    assert await mark(store, "unregistered: Unregistered", push="alert", token=f"{ALICE}-alert")
    assert await usable(store) == device(ALICE, voip_token=None, alert_token=None)
    assert await usable(store, BOB) == device(BOB)


async def test_a_new_token_clears_the_trouble_of_the_old_one_and_of_no_other(
    store: Store, clock: MovedClock, look: Look
) -> None:
    await mark(store, "quarantined: BadDeviceToken")
    await mark(store, "unregistered: Unregistered", push="alert", token=f"{ALICE}-alert")
    clock.move(10)
    renewed = device(ALICE, voip_token="new")
    await sync(store, renewed, device(BOB))
    row = await look.row(device_table, name=ALICE)
    assert [row["voip_token"], row["voip_registered_at"], row["voip_trouble"]] == ["new", at(10), None]
    assert [row["alert_registered_at"], row["alert_trouble"]] == [at(0), "unregistered: Unregistered"]
    assert await usable(store) == dataclasses.replace(renewed, alert_token=None)


@pytest.mark.parametrize("change", [{"topic": "com.example.other"}, {"environment": "sandbox"}])
async def test_another_topic_or_environment_gives_both_tokens_a_new_chance(
    store: Store, clock: MovedClock, change: dict[str, str]
) -> None:
    """BadDeviceToken and DeviceTokenNotForTopic may mean just that."""
    await mark(store, "quarantined: DeviceTokenNotForTopic")
    await mark(store, "quarantined: BadDeviceToken", push="alert", token=f"{ALICE}-alert")
    clock.move(10)
    await sync(store, device(ALICE, **change), device(BOB))
    assert await usable(store) == device(ALICE, **change)


async def test_a_reload_that_changes_nothing_keeps_trouble_and_age(
    store: Store, clock: MovedClock, look: Look
) -> None:
    await mark(store, "quarantined: BadDeviceToken")
    before = [await look.row(device_table, name=name) for name in (ALICE, BOB)]
    clock.move(10)
    await sync(store, device(ALICE), device(BOB))
    assert [await look.row(device_table, name=name) for name in (ALICE, BOB)] == before


async def test_another_owner_keeps_the_tokens_as_they_are(store: Store, look: Look) -> None:
    await mark(store, "quarantined: BadDeviceToken")
    await sync(store, device(ALICE, owner="carol"), device(BOB))
    row = await look.row(device_table, name=ALICE)
    assert (row["owner"], row["voip_trouble"]) == ("carol", "quarantined: BadDeviceToken")


async def test_a_token_that_was_taken_away_cannot_be_used(store: Store) -> None:
    await sync(store, device(ALICE, alert_token=None), device(BOB))
    assert await usable(store) == device(ALICE, alert_token=None)


@pytest.mark.parametrize(("since", "dead"), [(-0.001, False), (0, True), (60, True), (None, True)])
async def test_a_410_counts_only_for_a_token_that_was_registered_before_it(
    store: Store, since: float | None, dead: bool
) -> None:
    """Apple: a 410 carries the time at which the token was last known to be dead."""
    assert await mark(store, "unregistered", None if since is None else at(since)) is dead
    assert (await usable(store) == device(ALICE)) is not dead


async def test_a_verdict_on_a_token_that_has_changed_since_does_nothing(store: Store) -> None:
    await sync(store, device(ALICE, voip_token="new"), device(BOB))
    assert not await mark(store, "quarantined: BadDeviceToken")
    assert await usable(store) == device(ALICE, voip_token="new")


async def test_a_token_is_set_aside_once(store: Store, look: Look) -> None:
    """The second answer is no news: no second alarm."""
    assert await mark(store, "quarantined: BadDeviceToken")
    assert not await mark(store, "unregistered: Unregistered")
    assert (await look.row(device_table, name=ALICE))["voip_trouble"] == "quarantined: BadDeviceToken"


async def test_no_token_is_in_what_is_shown_of_a_device() -> None:
    assert "secret" not in repr(device(ALICE, voip_token="secret 1", alert_token="secret 2"))
