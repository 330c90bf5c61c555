"""Random stories of the outbox: whatever happens in whatever order, its promises hold after every step."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import at
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ledgers import (
    ALICE,
    BACKENDS,
    BOB,
    GAP,
    LEASE,
    Backend,
    claim,
    device,
    incident,
    ledger,
    opened,
    page,
    put,
    settle,
    sync,
)
from movedclock import MovedClock
from msgspec.structs import replace
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.bundles import Bundle, Call
from bridge.incidents import Change
from bridge.store import Scope, Store, Tx, calls, outbox
from bridge.store.calls import Receipt
from bridge.store.tables import calls as rung
from bridge.store.tables import pages

INCIDENTS = [incident(f"Alert{number}") for number in range(3)]

STEPS = st.one_of(
    st.tuples(st.just("page"), st.sampled_from([ALICE, BOB, "hook"]), st.integers(0, 2), st.integers(1, 2)),
    st.tuples(st.just("notify"), st.sampled_from([ALICE, BOB]), st.integers(0, 2)),
    st.tuples(st.just("wait"), st.sampled_from([1, 5, 14, 16, 30, 45])),
    st.tuples(st.just("claim"), st.integers(1, 3)),
    st.tuples(st.just("accept"), st.integers(0, 20)),
    st.tuples(st.just("reject"), st.integers(0, 20)),
    st.tuples(st.just("try again"), st.integers(0, 20), st.sampled_from([0, 1, 100])),
    st.tuples(st.just("receipt"), st.integers(0, 20), st.sampled_from(["received", "answered", "declined"])),
    st.tuples(st.just("withdraw"), st.integers(0, 2)),
    st.tuples(st.just("restart")),
)


@dataclass
class Story:
    """Plays the steps, each a method here, and remembers what an onlooker would."""

    store: Store
    clock: MovedClock
    sent: list[Bundle] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)
    bound: dict[str, str] = field(default_factory=dict)
    calls: dict[str, Call] = field(default_factory=dict)
    over: dict[str, datetime] = field(default_factory=dict)
    """By call: when it is over on the phone."""
    held: dict[str, datetime] = field(default_factory=dict)
    """By page: the lease of the last claim."""
    pages: int = 0

    async def play(self, step: tuple[Any, ...]) -> None:
        name, *values = step
        await getattr(self, name.replace(" ", "_"))(*values)

    # --- the steps ---

    async def page(self, target: str, of: int, ring: int) -> None:
        await self.put("webhook" if target == "hook" else "ring", target, of, ring)

    async def notify(self, target: str, of: int) -> None:
        await self.put("fallback", target, of, 1)

    async def put(self, kind: str, target: str, of: int, ring: int) -> None:
        self.pages += 1
        made = page(INCIDENTS[of], target, kind=kind, due=(self.clock.now() - at(0)).total_seconds())
        one = replace(made, id=f"page {self.pages}", call_uuid=f"uuid {self.pages}", ring=ring)
        await self.store.write(lambda tx: tx.put([one]))

    async def wait(self, seconds: int) -> None:
        self.clock.move(seconds)

    async def claim(self, at_once: int) -> None:
        ringing = await self.on_their_way()
        claims = await asyncio.gather(*(claim(self.store) for _ in range(at_once)))
        for bundle in (bundle for one in claims for bundle in one.bundles):
            self.one_call_at_a_time(bundle, ringing)
            self.claimed(bundle)

    async def accept(self, number: int) -> None:
        """APNs took one, perhaps long ago: the call rings from then on, if it is not over already."""
        bundle = self.any(self.sent, number)
        if bundle is None:
            return
        before = await self.store.write(lambda tx: accepted(tx, bundle))
        if before == "sending" and bundle.call is not None and bundle.call.push == "voip":
            self.over[bundle.call.id] = bundle.call.expires_at

    async def reject(self, number: int) -> None:
        if bundle := self.any(self.sent, number):
            await settle(self.store, bundle, "rejected", "BadPriority")

    async def try_again(self, number: int, after: int) -> None:
        bundle = self.any(self.sent, number)
        if bundle is None:
            return

        async def job(tx: Tx) -> Any:
            its = pages.c.id.in_([line.page.id for line in bundle.lines])
            still = (pages.c.state == "sending") & (pages.c.attempt == bundle.lines[0].attempt)
            mine = list((await tx.connection.execute(select(pages.c.id).where(its & still))).scalars())
            when = tx.now + timedelta(seconds=after)
            await outbox.try_again(tx.connection, bundle, "Timeout", when, tx.now)
            return mine

        for one in await self.store.write(job):
            self.held.pop(one, None)

    async def receipt(self, number: int, kind: Any) -> None:
        call = self.any(list(self.calls.values()), number)
        if call is None:
            return
        now = self.clock.now()
        word = Receipt(f"{kind} {len(self.over)} {now}", kind)
        await self.store.write(lambda tx: calls.record(tx, call, word))
        if kind != "received" and call.push == "voip":
            self.over[call.id] = min(self.over.get(call.id, now), now)

    async def withdraw(self, of: int) -> None:
        ids = (INCIDENTS[of].id,)
        await self.store.update(
            Scope(ids=ids), lambda found, *_: [Change(found[0]).withdrawn("acknowledged")]
        )

    async def restart(self) -> None:
        await self.store.write(lambda tx: outbox.release(tx.connection, tx.now))
        self.held.clear()

    # --- what must hold ---

    def claimed(self, bundle: Bundle) -> None:
        now = self.clock.now()
        for line in bundle.lines:
            name = line.page.id
            assert line.attempt == self.attempts.get(name, 0) + 1, "an attempt is counted once"
            assert self.held.get(name, at(0)) <= now, "it was claimed while another claim held it"
            self.attempts[name] = line.attempt
            self.held[name] = now + LEASE
            if bundle.call is not None:
                assert self.bound.setdefault(name, bundle.call.id) == bundle.call.id, "bound for good"
        if bundle.call is not None:
            known = self.calls.setdefault(bundle.call.id, bundle.call)
            assert known == bundle.call, "a repeated push carries its call unchanged"
            assert bundle.call.expires_at > now, "a call that is over rings nobody"
        self.sent.append(bundle)

    def one_call_at_a_time(self, bundle: Bundle, ringing: set[str]) -> None:
        """Rule 5: a phone on whose last call there is no word yet, or whose call is up, gets no new one."""
        call, now = bundle.call, self.clock.now()
        if call is None or call.push != "voip" or bundle.lines[0].attempt > 1:
            return
        assert call.device not in ringing
        up = [over for name, over in self.over.items() if self.calls[name].device == call.device]
        assert all(over <= now for over in up)
        if not any(line.page.ring > 1 for line in bundle.lines):
            assert all(over + GAP <= now for over in up)

    async def nothing_is_lost(self) -> None:
        """When all time is over each page has its outcome, and nothing is due any more."""
        self.clock.move(7200)
        for _ in range(3):
            await claim(self.store)
        assert await self.ids(select(pages.c.id).where(pages.c.outcome.is_(None))) == set()
        assert await self.store.read(outbox.next_due) is None

    async def on_their_way(self) -> set[str]:
        """The phones whose call has been claimed, has no outcome, and may ring still.

        One that is over is settled by the first of several claims, so that the second may ring anew.
        """
        bound = (pages.c.state != "settled") & (pages.c.push == "voip") & (pages.c.call_id == rung.c.id)
        return await self.ids(select(pages.c.target).where(bound & (rung.c.expires_at > self.clock.now())))

    async def ids(self, query: Any) -> set[str]:
        async def read(connection: AsyncConnection) -> set[str]:
            return set((await connection.execute(query)).scalars())

        return await self.store.read(read)

    @staticmethod
    def any(found: list[Any], number: int) -> Any:
        return found[number % len(found)] if found else None


async def accepted(tx: Tx, bundle: Bundle) -> str | None:
    """Settle as the sender does; gives the state in which the call was."""
    await outbox.settle(tx.connection, bundle, "accepted", None, tx.now)
    if bundle.call is None:
        return None
    before = await calls.state(tx.connection, bundle.call.id)
    await outbox.accept_call(tx.connection, bundle.call, tx.now, None)
    return before


async def tell(backend: Backend, steps: list[tuple[Any, ...]]) -> None:
    clock = MovedClock()
    async with opened(backend, clock.now) as store:
        await sync(store, device(ALICE), device(BOB))
        await put(store, *INCIDENTS)
        story = Story(store, clock)
        for step in steps:
            await story.play(step)
        await story.nothing_is_lost()


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, min_size=5, max_size=40))
@example(steps=[("page", ALICE, 0, 1), ("claim", 1), ("page", ALICE, 0, 1), ("wait", 30), ("claim", 2)])
def test_whatever_happens_to_it_a_page_is_claimed_by_one_bound_for_good_and_never_lost(
    backend: str, steps: list[tuple[Any, ...]]
) -> None:
    """Rule 5, and the outbox's promises: attempts, leases, calls that stay the same."""
    with tempfile.TemporaryDirectory() as folder, ledger(backend, Path(folder)) as lent:
        asyncio.run(tell(lent, steps))
