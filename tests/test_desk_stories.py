"""Random stories of a whole bridge without a network: what may never happen to incidents, pages and phones.

The store, the desk, the escalator and the settlement are the real ones; the story plays Alertmanager,
APNs, the phones and their people, and kills the bridge now and then.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from builders import receiver, step
from desks import GROUPS, Office, make_settings, office
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ledgers import ALICE, BOB, GAP, LEASE, device, release, verify

from bridge import people, settlement
from bridge.bundles import Bundle, Call
from bridge.config import Settings
from bridge.escalator import Escalator
from bridge.incidents import QUIET, State
from bridge.oncall import DeviceGroup
from bridge.pushes import Accepted, Misconfigured, Quarantined, Rejected, Retryable, Unregistered
from bridge.store import Scope, Topic, Tx, devices, enrolment
from bridge.store.calls import Receipt
from bridge.store.enrolment import Tokens
from bridge.store.outbox import Ways
from bridge.store.tables import incidents, pages

IPAD = "alice-ipad"
NAMES = ["DiskFull", "NodeDown", "Latency"]
OUTCOMES = [
    "accepted",
    "accepted",
    "accepted",
    "retryable",
    "unregistered",
    "quarantined",
    "rejected",
    "bad key",
]
MAY_HAVE_RUNG = {"accepted", "retryable"}
"""Outcomes after which the phone may show the call: a push whose answer was lost may have got through."""

STEPS = st.one_of(
    st.tuples(st.just("fire"), st.lists(st.sampled_from(NAMES), min_size=1, unique=True)),
    st.tuples(st.just("fire"), st.lists(st.sampled_from(NAMES), min_size=1, unique=True)),
    st.tuples(st.just("resolve"), st.sampled_from(NAMES)),
    st.tuples(st.just("wait"), st.sampled_from([1, 5, 10, 15, 30, 45, 60, 300])),
    st.tuples(st.just("wait"), st.sampled_from([1, 10, 30])),
    st.tuples(st.just("send")),
    st.tuples(st.just("send")),
    st.tuples(st.just("settle"), st.integers(0, 9), st.sampled_from(OUTCOMES)),
    st.tuples(st.just("settle"), st.integers(0, 9), st.sampled_from(OUTCOMES)),
    st.tuples(
        st.just("receipt"),
        st.integers(0, 9),
        st.sampled_from(["received", "answered", "declined", "failed"]),
        st.sampled_from([2, 3]),
    ),
    st.tuples(
        st.just("act"), st.integers(0, 9), st.sampled_from(["acknowledge", "unacknowledge", "hand_on"])
    ),
    st.tuples(st.just("silence"), st.integers(0, 9), st.sampled_from([1, 60, 1000])),
    st.tuples(st.just("new token"), st.sampled_from([ALICE, IPAD])),
    st.tuples(st.just("reload"), st.integers(0, 2)),
    st.tuples(st.just("kill")),
)

POLICIES = [
    receiver(step("iphone"), step("second"), receipt_timeout=timedelta(seconds=10)),
    receiver(step("platform", "second", every=60, then_after=120), ack_timeout=timedelta(seconds=100)),
    receiver(
        step("second", "iphone", times=1, then_after=30), step("platform", push="alert", times=2), repeat=1
    ),
]


def reloaded(number: int) -> Settings:
    groups = GROUPS | {"iphone": DeviceGroup("iphone", devices=(ALICE,))}
    return make_settings(POLICIES[number], groups=groups, quiet_gap=GAP)


@dataclass
class Story:
    """Plays the steps, each a method here, and remembers what an onlooker would."""

    room: Office
    escalator: Escalator
    air: list[tuple[Bundle, str]] = field(default_factory=list)
    """What is on its way, each to which token."""
    calls: list[Call] = field(default_factory=list)
    rung: set[str] = field(default_factory=set)
    """The calls that their phone may have shown."""
    accepted: set[str] = field(default_factory=set)
    over: dict[str, datetime] = field(default_factory=dict)
    """By call: when it is over on the phone, at the latest."""
    silent: dict[str, datetime] = field(default_factory=dict)
    """By incident: when its silence ends."""
    tokens: int = 0

    async def play(self, step: tuple[Any, ...]) -> None:
        self.room.clock.move(0.001)  # no two things happen at one instant
        name, *values = step
        await getattr(self, name.replace(" ", "_"))(*values)
        await self.escalator.tick()
        await self.every_alert_has_somebody_who_answers_for_it()

    # --- the steps ---

    async def fire(self, names: list[str]) -> None:
        await self.room.fire(*names)

    async def resolve(self, name: str) -> None:
        await self.room.resolve(name)

    async def wait(self, seconds: int) -> None:
        self.room.clock.move(seconds)

    async def send(self) -> None:
        desk = self.room.desk
        ways = Ways.PUSHES | Ways.POSTS
        claim = await desk.store.write(lambda tx: settlement.claim(tx, desk.settings, LEASE, ways))
        for bundle in claim.bundles:
            await self.nothing_unwanted_is_sent(bundle)
            self.one_call_at_a_time(bundle)
            self.air.append((bundle, await self.token(bundle)))

    async def settle(self, number: int, outcome: str) -> None:
        if not self.air:
            return
        bundle, token = self.air.pop(number % len(self.air))
        desk, now = self.room.desk, self.room.clock.now()
        assert bundle.call is not None
        if outcome == "accepted":
            self.accepted.add(bundle.call.id)
        if outcome in MAY_HAVE_RUNG:
            self.rung.add(bundle.call.id)
        elif bundle.call.id not in self.rung:
            self.calls = [call for call in self.calls if call.id != bundle.call.id]
        said: Any = {
            "accepted": Accepted(),
            "retryable": Retryable("Timeout"),
            "unregistered": Unregistered("Unregistered", now),
            "quarantined": Quarantined("BadDeviceToken"),
            "rejected": Rejected("BadPriority"),
            "bad key": Misconfigured("InvalidProviderToken"),
        }[outcome]
        await desk.store.write(lambda tx: settlement.settle(tx, desk.settings, bundle, said, token))

    async def receipt(self, number: int, kind: Any, code: int) -> None:
        if not self.calls:
            return
        call = self.calls[number % len(self.calls)]
        now = self.room.clock.now()
        word = Receipt(f"{kind} {now} {len(self.over)}", kind, None, code if kind == "failed" else None)
        if kind != "received" and not word.repeat:
            self.over[call.id] = min(self.over[call.id], now)
        assert await self.room.desk.receipt(call.id, word) is not None

    async def act(self, number: int, verb: str) -> None:
        name = await self.any_incident(number)
        if name is None:
            return
        after = await self.room.desk.act(name, getattr(people, verb)("alice"))
        assert after is not None
        if after.silenced_until is None:
            self.silent.pop(name, None)
        if verb == "acknowledge" and after.open:
            assert after.state is State.ACKNOWLEDGED

    async def silence(self, number: int, seconds: int) -> None:
        name = await self.any_incident(number)
        if name is not None:
            self.silent[name] = self.room.clock.now() + timedelta(seconds=seconds)
            await self.room.desk.act(name, people.silence(self.silent[name], "bob"))

    async def new_token(self, name: str) -> None:
        self.tokens += 1
        new = Tokens(f"{name} voip {self.tokens}", f"{name} alert {self.tokens}")

        async def job(tx: Tx) -> None:
            await enrolment.put_tokens(tx.connection, name, new, tx.now)
            tx.tell(Topic.STORY)

        await self.room.store.write(job)

    async def reload(self, number: int) -> None:
        self.room.desk.settings = reloaded(number)

    async def kill(self) -> None:
        """Whether what was in the air got through, nobody knows."""
        self.rung |= {bundle.call.id for bundle, _ in self.air if bundle.call is not None}
        self.air.clear()
        await release(self.room.store)

    # --- what must hold ---

    async def nothing_unwanted_is_sent(self, bundle: Bundle) -> None:
        """Acknowledged, silenced and overtaken incidents wake nobody."""
        now = self.room.clock.now()
        for line in bundle.lines:
            if line.page.kind in QUIET:
                continue
            (incident,) = await self.room.store.write(
                lambda tx, name=line.page.incident_id: tx.incidents(Scope(ids=(name,)))
            )
            assert (incident.state, incident.series) == (State.TRIGGERED, line.page.series)
            assert self.silent.get(incident.id, now) <= now

    def one_call_at_a_time(self, bundle: Bundle) -> None:
        """Rule 5."""
        call, now = bundle.call, self.room.clock.now()
        assert call is not None
        if call.push != "voip":
            return
        others = [one for one in self.calls if one.device == call.device and one.id != call.id]
        assert all(self.over[one.id] <= now for one in others), "a second call while one may ring"
        if call not in self.calls:
            if not any(line.page.ring > 1 for line in bundle.lines):
                taken = [one for one in others if one.id in self.accepted]
                assert all(self.over[one.id] + GAP <= now for one in taken), "the quiet gap"
            self.calls.append(call)
        self.over[call.id] = call.expires_at

    async def every_alert_has_somebody_who_answers_for_it(self) -> None:
        """A firing alert is due to ring, acknowledged, or named as unanswered, with an alarm of its own."""
        rows = [row for row in await self.room.look.rows(incidents) if row["state"] != "resolved"]
        alarmed = {dict(row["group_values"]).get("incident") for row in rows}
        for row in rows:
            if row["state"] == "acknowledged":
                assert (row["due_at"], row["unanswered_at"]) == (None, None)
            elif row["due_at"] is None:
                assert row["unanswered_at"] is not None
                assert row["source"] == "pushkit-bridge" or row["id"] in alarmed

    async def no_page_is_left_without_an_outcome(self) -> None:
        """When everybody has what they asked for and all time is over, each page has its outcome."""
        for row in await self.room.look.rows(incidents):
            await self.room.desk.act(row["id"], people.acknowledge("alice"))
        self.room.clock.move(7200)
        self.room.desk.settings = reloaded(0)  # its acknowledgements hold
        for _ in range(3):
            await self.send()
        found = await self.room.look.rows(pages)
        assert [row["id"] for row in found if row["outcome"] is None] == []

    # --- helpers ---

    async def token(self, bundle: Bundle) -> str:
        assert bundle.call is not None
        name, push = bundle.call.device, bundle.call.push
        found = await self.room.store.read(lambda connection: devices.by_name(connection, [name]))
        return found[name].token(push) or ""

    async def any_incident(self, number: int) -> str | None:
        found = [row["id"] for row in await self.room.look.rows(incidents, source="default")]
        return found[number % len(found)] if found else None


async def enrol(tx: Tx, name: str) -> None:
    tx.tell(Topic.STORY)
    code = await enrolment.make_code(tx.connection, "alice", name, tx.now)
    await enrolment.enrol(tx.connection, code.text, None, ("alice",), tx.now)
    await enrolment.put_tokens(tx.connection, name, Tokens(f"{name} voip", f"{name} alert"), tx.now)
    await enrolment.complete(tx.connection, name, "production", "com.example.oncall")


async def tell(folder: str, steps: list[tuple[Any, ...]]) -> None:
    async with office(Path(folder), reloaded(0), [device(BOB)]) as room:
        for name in (ALICE, IPAD):
            await room.store.write(lambda tx, name=name: enrol(tx, name))
        story = Story(room, Escalator(room.desk, room.clock))
        for step in steps:
            await story.play(step)
        await story.send()  # whatever the story left lying is overdue before
        assert await verify(room.store) == []
        await story.no_page_is_left_without_an_outcome()
        await story.escalator.tick()
        assert await verify(room.store) == []


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # A failure is told at once: shrinking it would take minutes. Shrink by hand, with Phase.shrink.
    phases=set(Phase) - {Phase.shrink, Phase.explain},
    report_multiple_bugs=False,
)
@given(steps=st.lists(STEPS, min_size=10, max_size=60))
def test_whatever_happens_nobody_is_woken_in_vain_and_nothing_is_lost(steps: list[tuple[Any, ...]]) -> None:
    """Rules 2, 4, 5 and 6 on the real ledger."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(tell(folder, steps))
