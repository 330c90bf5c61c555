"""The audit finds nothing in a sound ledger, and in one that is damaged exactly what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from builders import at, make_alert, notification, receiver, step
from desks import GROUPS, make_settings
from ledgers import ALICE, BOB, LEASE, Look, device, sync, verify
from movedclock import MovedClock
from sqlalchemy import Table, delete, update

from bridge import settlement
from bridge.alerts import Alert
from bridge.desk import Desk
from bridge.escalator import Escalator
from bridge.pushes import Accepted
from bridge.store import Store, Tx, enrolment
from bridge.store.calls import Receipt
from bridge.store.enrolment import Tokens
from bridge.store.outbox import Ways
from bridge.store.tables import calls, episodes, incidents, notifications, pages, receipts, timeline
from bridge.telemetry import Metrics

AT_ONCE = {"platform": step("platform"), "second": step("second", webhooks=("hook",))}


@dataclass
class Scene:
    """A bridge's ledger after a few hours of work: alice has enrolled, bob's phone is known by its tokens."""

    store: Store
    clock: MovedClock
    look: Look
    desk: Desk
    named: dict[str, str] = field(default_factory=dict)
    """Incidents by the name of their alert."""

    async def receive(self, *alerts: Alert) -> None:
        self.clock.move(1)
        for change in await self.desk.receive(notification(*alerts)):
            self.named[dict(change.incident.slot.group)["alertname"]] = change.incident.id

    async def fire(self, *names: str) -> None:
        await self.receive(*(make_alert(name) for name in names))

    async def resolve(self, *names: str) -> None:
        now = self.clock.now()
        await self.receive(*(make_alert(name, firing=False, ends_at=now) for name in names))

    async def send(self, outcome: Any = None) -> list[str]:
        """Send what is due; gives the ids of the calls."""
        settings = self.desk.settings
        ways = Ways.PUSHES | Ways.POSTS
        claim = await self.store.write(lambda tx: settlement.claim(tx, settings, LEASE, ways))
        said = outcome or Accepted()
        for bundle in claim.bundles:
            await self.store.write(
                lambda tx, bundle=bundle: settlement.settle(tx, settings, bundle, said, "none")
            )
        return [bundle.call.id for bundle in claim.bundles if bundle.call is not None]

    async def say(self, call: str, *kinds: Any) -> None:
        for kind in kinds:
            assert await self.desk.receipt(call, Receipt(kind, kind)) is not None

    async def later(self, seconds: float) -> None:
        self.clock.move(seconds)
        await Escalator(self.desk, self.clock).tick()

    async def damage(self, table: Table, where: dict[str, Any], **values: Any) -> None:
        """Write into the ledger by hand; without values, delete."""
        statement = update(table).values(values) if values else delete(table)
        named = {column: self.named.get(value, value) for column, value in where.items()}
        statement = statement.where(*(table.c[name] == value for name, value in named.items()))

        async def job(tx: Tx) -> int:
            return (await tx.connection.execute(statement)).rowcount

        assert await self.store.write(job) > 0, "nothing is damaged"

    async def mend(self, table: Table, rows: list[dict[str, Any]]) -> None:
        """Put a table's rows back."""

        async def job(tx: Tx) -> None:
            await tx.connection.execute(table.delete())
            await tx.connection.execute(table.insert(), rows)

        await self.store.write(job)


async def enrol(tx: Tx) -> None:
    code = await enrolment.make_code(tx.connection, "alice", ALICE, tx.now)
    await enrolment.enrol(tx.connection, code.text, None, ("alice",), tx.now)
    await enrolment.put_tokens(tx.connection, ALICE, Tokens("voip", "alert"), tx.now)
    await enrolment.complete(tx.connection, ALICE, "production", "com.example.oncall")


@pytest.fixture
async def scene(store: Store, clock: MovedClock, look: Look) -> Scene:
    """Answered is acknowledged, Unheard rings on and was resolved, Unseen rings without a word from the phone."""
    policy = receiver(AT_ONCE["platform"], AT_ONCE["second"], receipt_timeout=timedelta(seconds=10))
    settings = make_settings(policy, groups=GROUPS, quiet_gap=timedelta(seconds=5), refire_quiet=timedelta(0))
    await sync(store, device(BOB))
    await store.write(enrol)
    it = Scene(store, clock, look, Desk(store, settings, clock, Metrics()))
    await it.fire("Answered")
    (call,) = await it.send()
    await it.say(call, "received", "answered")
    await it.later(100)
    await it.fire("Ended")
    await it.send()
    await it.resolve("Ended")
    await it.later(100)
    await it.send()
    await it.fire("Unseen")
    await it.send()
    await it.later(11)
    return it


async def test_a_sound_ledger_is_clean(scene: Scene) -> None:
    assert await verify(scene.store) == []
    states = {row["id"]: row["state"] for row in await scene.look.rows(incidents)}
    assert {name: states[it] for name, it in scene.named.items()} == {
        "Answered": "acknowledged",
        "Ended": "resolved",
        "Unseen": "triggered",
    }
    assert len(await scene.look.rows(notifications)) == 4


DAMAGE: list[tuple[str, Table, dict[str, Any], dict[str, Any]]] = [
    ("alert-lost", episodes, {"incident_id": "Answered", "status": "firing"}, {"fingerprint": "0" * 16}),
    ("alert-lost", episodes, {"incident_id": "Answered"}, {"opened_here_at": at(5)}),
    ("alert-lost", episodes, {"incident_id": "Answered"}, {"mentioned_at": at(0)}),
    ("alert-lost", episodes, {"incident_id": "Answered"}, {"mentioned_at": None}),
    ("alert-lost", notifications, {"id": 1}, {"firing": ":0123456789abcdef"}),
    ("never-rang", incidents, {"id": "Answered"}, {"ring": 0}),
    ("ring-without-page", incidents, {"id": "Answered"}, {"ring": 2}),
    ("ring-without-page", incidents, {"id": "Answered"}, {"series": 2}),
    ("ring-without-page", pages, {"incident_id": "Answered"}, {}),
    ("no-wake-up", incidents, {"id": "Unseen"}, {"wake_at": None}),
    ("no-wake-up", incidents, {"id": "Unseen"}, {"wake_at": at(10**6)}),
    ("no-wake-up", incidents, {"id": "Unseen"}, {"wake_at": at(-1)}),
    ("no-wake-up", incidents, {"id": "Answered"}, {"acknowledged_until": at(300)}),
    ("end-wrong", episodes, {"incident_id": "Answered"}, {"status": "resolved"}),
    ("end-wrong", incidents, {"id": "Ended"}, {"resolution": None}),
    ("end-wrong", incidents, {"id": "Ended"}, {"resolved_at": None}),
    ("page-astray", pages, {"incident_id": "Ended", "kind": "resolved"}, {"incident_id": "nowhere"}),
    ("outcome-missing", pages, {"incident_id": "Answered"}, {"outcome": None}),
    ("outcome-missing", pages, {"incident_id": "Answered"}, {"outcome": "lost"}),
    ("outcome-missing", pages, {"incident_id": "Answered"}, {"outcome": "rejected", "reason": None}),
    ("outcome-missing", pages, {"incident_id": "Answered"}, {"settled_at": None}),
    ("outcome-missing", pages, {"incident_id": "Unseen", "kind": "fallback"}, {"outcome": "accepted"}),
    ("page-overdue", pages, {"incident_id": "Unseen", "kind": "fallback"}, {"expires_at": at(0)}),
    ("page-stuck", pages, {"incident_id": "Unseen", "kind": "fallback"}, {"next_attempt_at": at(0)}),
    ("call-missing", pages, {"incident_id": "Unseen", "kind": "fallback"}, {"state": "sending"}),
    ("call-missing", pages, {"incident_id": "Ended", "kind": "ring"}, {"call_id": None}),
    ("receipt-missing", receipts, {"receipt": "answered"}, {}),
    ("answer-lost", timeline, {"incident_id": "Answered", "kind": "acknowledged"}, {}),
]


async def test_a_ledger_that_is_damaged_by_hand_is_found_out_and_for_nothing_else(scene: Scene) -> None:
    for check, table, where, values in DAMAGE:
        before = await scene.look.rows(table)
        await scene.damage(table, where, **values)
        found = {one.check for one in await verify(scene.store)}
        assert found == {check}, (check, table.name, values)
        await scene.mend(table, before)
    assert await verify(scene.store) == []


async def test_a_page_that_can_still_ring_for_what_somebody_has_is_found_out(scene: Scene) -> None:
    page = {"state": "waiting", "outcome": None, "settled_at": None, "reason": None, "expires_at": at(10**6)}
    page |= {"next_attempt_at": at(10**5)}
    await scene.damage(pages, {"incident_id": "Answered"}, **page)
    (found,) = await verify(scene.store)
    assert (found.check, found.of, found.id) == ("ring-unwanted", "incident", scene.named["Answered"])
    assert found.text == "it is acknowledged, but 1 of its pages can still ring"


async def test_a_resolve_that_did_nothing_is_found_out(scene: Scene) -> None:
    await scene.damage(episodes, {"incident_id": "Ended"}, status="firing")
    assert {one.check for one in await verify(scene.store)} == {"resolve-lost", "end-wrong"}


async def test_a_resolve_that_was_stale_is_none_that_did_nothing(scene: Scene) -> None:
    """Rule 2: it is older than the episode, and the timeline says so."""
    await scene.receive(make_alert("Unseen", firing=False, ends_at=at(-100)))
    assert await verify(scene.store) == []
    await scene.damage(timeline, {"kind": "stale"})
    assert [one.check for one in await verify(scene.store)] == ["resolve-lost"]


async def test_a_call_of_which_a_phone_said_nothing_and_nothing_followed_is_found_out(scene: Scene) -> None:
    """Rule 6: accepted by APNs is not yet rung."""
    ring = {"incident_id": "Unseen", "kind": "ring"}
    assert len(await scene.look.rows(timeline, incident_id=scene.named["Unseen"], kind="fallback")) == 1
    await scene.damage(timeline, {"incident_id": "Unseen", "kind": "fallback"})
    (found,) = await verify(scene.store)
    page = await scene.look.row(pages, **ring | {"incident_id": scene.named["Unseen"]})
    assert (found.check, found.id) == ("unheard", page["call_id"])
    await scene.damage(incidents, {"id": "Unseen"}, out={ALICE: "no receipt in time"})
    assert await verify(scene.store) == []


async def test_a_receipt_that_nobody_waits_for_any_more_though_it_is_due_is_found_out(scene: Scene) -> None:
    (unheard,) = {
        row["call_id"] for row in await scene.look.rows(pages, incident_id=scene.named["Unseen"])
    } - {None}
    await scene.damage(calls, {"id": unheard}, receipt_due_at=at(1))
    await scene.later(0)
    await scene.damage(calls, {"id": unheard}, receipt_due_at=at(1))
    assert [(one.check, one.id) for one in await verify(scene.store)] == [("unheard", unheard)]


async def test_a_uuid_that_a_phone_may_take_for_a_repeat_is_found_out(scene: Scene) -> None:
    """Two calls may have one UUID where the first is over: an alert that flaps within a minute (ADR 0003)."""
    rang = await scene.look.rows(calls, device=ALICE, push="voip")
    _, first, second = sorted(rang, key=lambda row: row["created_at"])
    await scene.damage(calls, {"id": second["id"]}, uuid=first["uuid"])
    assert await verify(scene.store) == []
    await scene.damage(calls, {"id": second["id"]}, created_at=first["created_at"] + timedelta(seconds=0.5))
    found = [found for found in await verify(scene.store) if found.check == "uuid-twice"]
    assert [(one.id, first["id"] in one.text) for one in found] == [(second["id"], True)]
    await scene.damage(calls, {"id": first["id"]}, state="sending", accepted_at=None)
    refused = {"outcome": "misconfigured", "reason": "InvalidProviderToken", "attempt": 1}
    await scene.damage(pages, {"call_id": first["id"]}, **refused)
    checks = {found.check for found in await verify(scene.store)}
    assert "uuid-twice" not in checks, "it was refused: no phone rang"
    await scene.damage(pages, {"call_id": first["id"]}, attempt=2)
    assert "uuid-twice" in {found.check for found in await verify(scene.store)}, (
        "the first attempt may have rung"
    )
