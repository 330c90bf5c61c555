"""What a send means for the ledger, where no answer of APNs shows it: stand-ins for what was never taken, late words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from builders import at
from desks import Office, office
from ledgers import ALICE, LEASE, device, incident, page, put, sync
from msgspec.structs import replace
from sqlalchemy import event

from bridge import settlement
from bridge.bundles import Bundle
from bridge.pushes import Accepted, Outcome, Quarantined, Rejected, Retryable, Unregistered
from bridge.store.outbox import Ways
from bridge.store.tables import calls, devices, incidents, pages


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path) as found:
        await put(found.store, incident())
        yield found


async def claim(room: Office) -> settlement.Claimed:
    ways = Ways.PUSHES | Ways.POSTS
    return await room.store.write(lambda tx: settlement.claim(tx, room.desk.settings, LEASE, ways))


async def claimed(room: Office, **fields: Any) -> Bundle:
    """Have one page on its way to alice's phone."""
    one = replace(page(incident()), **fields)
    await room.store.write(lambda tx: tx.put([one]))
    (bundle,) = (await claim(room)).bundles
    return bundle


async def settle(room: Office, bundle: Bundle, outcome: Any, token: str = f"{ALICE}-voip") -> Any:
    return await room.store.write(
        lambda tx: settlement.settle(tx, room.desk.settings, bundle, outcome, token)
    )


async def alarms(room: Office) -> list[tuple[str, str, str, str]]:
    """The bridge's own: receiver, name, phone, reason."""
    found = [
        (row["receiver"], dict(row["group_values"]))
        for row in await room.look.rows(incidents, source="pushkit-bridge")
    ]
    return [(to, group["alertname"], group["device"], group["reason"]) for to, group in found]


async def kinds(room: Office) -> list[tuple[str, str | None]]:
    return sorted((row["kind"], row["outcome"]) for row in await room.look.rows(pages))


# --- what was never taken ---------------------------------------------------------------------


async def test_a_claim_reads_no_alerts_while_all_who_write_wait_for_it(room: Office) -> None:
    """An incident can have thousands: those that a push tells of are read beside the writer, after the commit."""
    await room.store.write(lambda tx: tx.put([page(incident())]))
    said: list[str] = []
    engine = room.store._writer._engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *call: said.append(call[2]))
    assert len((await claim(room)).bundles) == 1
    assert said
    assert [one for one in said if "FROM episodes" in one] == []


async def test_for_a_call_that_was_tried_and_never_taken_an_alert_push_stands_in(room: Office) -> None:
    bundle = await claimed(room)
    await settle(room, bundle, Retryable("Timeout"))
    room.clock.move(45)
    standing = await claim(room)
    assert [(item.outcome, item.reason) for item in standing.settled] == [("expired", "Timeout")]
    assert await kinds(room) == [("fallback", None), ("ring", "expired")]
    row = await room.look.row(pages, kind="fallback")
    assert (row["target"], row["push"], row["due_at"]) == (ALICE, "alert", at(45))
    assert row["expires_at"] == at(90), "it has a ring's time of its own"


async def test_for_a_call_that_was_never_tried_nothing_stands_in(room: Office) -> None:
    """Its phone was busy: whoever rings there is told of it by the next ring."""
    await claimed(room)
    await room.store.write(lambda tx: tx.put([replace(page(incident()), id="waits")]))
    room.clock.move(45)
    await claim(room)
    assert (await room.look.row(pages, id="waits"))["outcome"] == "expired"
    assert len([kind for kind, _ in await kinds(room) if kind == "fallback"]) == 1, (
        "for the one that was tried"
    )


@pytest.mark.parametrize(
    "fields", [{"push": "alert"}, {"kind": "webhook"}, {"kind": "fallback", "push": "alert"}]
)
async def test_nothing_stands_in_for_what_is_no_call(room: Office, fields: dict[str, Any]) -> None:
    bundle = await claimed(room, **fields)
    await settle(room, bundle, Retryable("Timeout"))
    room.clock.move(45)
    await claim(room)
    assert [outcome for _, outcome in await kinds(room)] == ["expired"]


async def test_where_the_device_has_no_alert_token_nothing_stands_in(room: Office) -> None:
    await sync(room.store, device(ALICE, alert_token=None))
    await settle(room, await claimed(room), Retryable("Timeout"))
    room.clock.move(45)
    await claim(room)
    assert await kinds(room) == [("ring", "expired")]


async def test_a_stand_in_is_asked_for_once(room: Office) -> None:
    bundle = await claimed(room)
    await settle(room, bundle, Rejected("BadPriority"))
    assert await kinds(room) == [("fallback", None), ("ring", "rejected")]
    await settle(room, bundle, Rejected("BadPriority"))
    assert await kinds(room) == [("fallback", None), ("ring", "rejected")]


# --- late words -------------------------------------------------------------------------------


async def test_a_late_yes_of_an_earlier_attempt_settles_no_page_but_the_call_rings(room: Office) -> None:
    """Rule 5: no second call, for the phone is ringing."""
    first = await claimed(room)
    room.clock.move(15)
    (second,) = (await claim(room)).bundles
    assert await settle(room, first, Accepted()) == ()
    assert (await room.look.row(pages))["state"] == "sending"
    assert (await room.look.row(devices, name=ALICE))["live_until"] == at(30)
    settled = await settle(room, second, Accepted())
    assert [item.outcome for item in settled] == ["accepted"]


@pytest.mark.parametrize("outcome", [Unregistered("Unregistered"), Quarantined("BadDeviceToken")])
async def test_a_dead_token_is_set_aside_also_by_an_answer_that_comes_too_late_for_its_page(
    room: Office, outcome: Any
) -> None:
    """And somebody is told in the same commit: no crash comes in between."""
    first = await claimed(room)
    room.clock.move(15)
    await claim(room)
    assert await alarms(room) == []
    assert await settle(room, first, outcome) == ()
    assert await alarms(room) == [("platform", "PushkitBridgeDeviceCannotRing", ALICE, outcome.reason)]
    assert await settle(room, first, outcome) == ()
    assert len(await alarms(room)) == 1, "once"


# --- pauses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "seconds"),
    [
        (Retryable("NotSent", certainly_not_processed=True), (0, 0)),
        (Retryable("TooManyRequests", after=7), (7, 7)),
        (Retryable("TooManyRequests", after=7, certainly_not_processed=True), (7, 7)),
        (Retryable("Timeout"), (0.375, 0.625)),
    ],
)
async def test_the_pause_before_the_second_attempt(
    room: Office, outcome: Any, seconds: tuple[float, float]
) -> None:
    await settle(room, await claimed(room), outcome)
    pause = ((await room.look.row(pages))["next_attempt_at"] - room.clock.now()).total_seconds()
    assert seconds[0] <= pause <= seconds[1]


async def test_what_was_not_sent_twice_waits_like_anything_else(room: Office) -> None:
    await settle(room, await claimed(room), Retryable("NotSent", certainly_not_processed=True))
    (again,) = (await claim(room)).bundles
    await settle(room, again, Retryable("NotSent", certainly_not_processed=True))
    pause = ((await room.look.row(pages))["next_attempt_at"] - room.clock.now()).total_seconds()
    assert 0.75 <= pause <= 1.25


# --- a token that changed meanwhile -----------------------------------------------------------


@pytest.mark.parametrize(
    "outcome", [Unregistered("Unregistered", at(0)), Quarantined("BadDeviceToken")], ids=["410", "400"]
)
async def test_what_apns_says_of_a_token_that_has_been_replaced_costs_the_call_nothing(
    room: Office, outcome: Any
) -> None:
    bundle = await claimed(room)
    await sync(room.store, device(ALICE, voip_token="another"), device("bob-iphone"))
    assert await settle(room, bundle, outcome) == ()
    assert (await room.look.row(devices, name=ALICE))["voip_trouble"] is None
    assert await alarms(room) == []
    (again,) = (await claim(room)).bundles
    assert (again.call, again.lines[0].attempt) == (bundle.call, 2)


# --- several at once --------------------------------------------------------------------------


async def test_sends_that_end_together_are_settled_each_by_its_own_outcome(room: Office) -> None:
    names = (ALICE, "bob-iphone", "carol-iphone", "dave-iphone")
    await sync(room.store, *map(device, names))
    new = [page(incident(), name) for name in names]
    await room.store.write(lambda tx: tx.put([*new, page(incident(), "hook", kind="webhook")]))
    bundles = {bundle.lines[0].page.target: bundle for bundle in (await claim(room)).bundles}
    outcomes: dict[str, Outcome] = dict.fromkeys(("hook", ALICE, "bob-iphone"), Accepted())
    outcomes |= {"carol-iphone": Rejected("BadPriority"), "dave-iphone": Retryable("Timeout")}
    jobs = [
        settlement.Settle(room.desk.settings, bundles[name], outcome, f"{name}-voip")
        for name, outcome in outcomes.items()
    ]
    taken = (await room.look.row(pages, target=ALICE))["attempt"] + 1
    late = Bundle(tuple(replace(line, attempt=taken) for line in bundles[ALICE].lines), bundles[ALICE].call)
    jobs.append(settlement.Settle(room.desk.settings, late, Accepted(), ""))

    settled = await asyncio.gather(*(room.store.write(job) for job in jobs))
    assert [[(item.page.target, item.outcome) for item in items] for items in settled[:4]] == [
        [("hook", "accepted")],
        [(ALICE, "accepted")],
        [("bob-iphone", "accepted")],
        [("carol-iphone", "rejected")],
    ]
    assert settled[4:] == [(), ()], "one is tried again, and one has lost its claim"
    told = (await room.look.row(incidents))["told"]
    assert sorted(told) == [ALICE, "bob-iphone"]
    opened = [row["device"] for row in await room.look.rows(calls, state="open")]
    assert sorted(opened) == [ALICE, "bob-iphone"]
    live = [row["name"] for row in await room.look.rows(devices) if row["live_call"]]
    assert sorted(live) == [ALICE, "bob-iphone"]
