"""A phone repeats its receipts as long as the app is running (docs/phone-protocol.md, Receipts)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any

import pytest

from bridge.simulator import Phone, Simulator

from .client import Sender
from .conftest import Bridge, Receiver, Time, listening


class Outage:
    """Alice answers a call while the bridge is away; it comes back after `lasts`, if ever.

    Time passes where a receipt waits, from when `begin` is called; `kill` is what becomes of the app then, and
    `back_after` when all is as it was. `heard_before` is what the bridge had heard by then.
    """

    def __init__(self, sim: Simulator, time: Time, receiver: Receiver, stack: AsyncExitStack) -> None:
        self.phone: Phone = sim.phone("alice")
        self.receiver = receiver
        self.pauses: list[float] = []
        self.lasts: float | None = None
        self.kill: Any = None
        self.back_after: float | None = None
        self.heard_before: list[str] | None = None
        self._sim = sim
        self._time = time
        self._stack = stack
        self._goes_on = asyncio.Event()

    async def ring(self) -> datetime:
        """Ring, and have the call answered while nobody listens; gives when the call ends."""
        bridge = Bridge(self._sim, self._time)
        async with Sender(self._sim) as sender:
            await bridge.push(sender, bridge.call(**self.receiver.call()))
        return self.phone.answer().expires_at

    def begin(self) -> None:
        if self.kill is not None:
            self.phone.profile.behaviour = self.kill
        self._goes_on.set()

    async def sleep(self, seconds: float) -> None:
        await self._goes_on.wait()
        self.pauses.append(seconds)
        self._time.now += timedelta(seconds=seconds)
        if self.back_after is not None and sum(self.pauses) >= self.back_after:
            self.back_after, self.heard_before = None, self.receiver.kinds
            self.phone.profile.behaviour = "normal"
        if self.lasts is not None and sum(self.pauses) >= self.lasts:
            self.lasts = None
            await self._stack.enter_async_context(listening(self.receiver))


@pytest.fixture
async def outage(time: Time, away: Receiver, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Outage]:
    async with AsyncExitStack() as stack, Simulator(phones=["alice"], clock=time) as sim:
        it = Outage(sim, time, away, stack)
        monkeypatch.setattr(sim.agenda, "sleep", it.sleep)
        yield it


@pytest.mark.parametrize("lasts", [8, 200])
async def test_an_answer_counts_though_the_bridge_was_away_for_long(outage: Outage, lasts: float) -> None:
    await outage.ring()
    outage.lasts = lasts
    outage.begin()
    receipts = await outage.phone.receipts.until(2, 30)
    assert [(one.kind, one.status) for one in receipts] == [("received", 200), ("answered", 200)]
    assert outage.receiver.kinds == ["received", "answered"]
    assert outage.pauses[:3] == [0.5, 1, 2]
    assert max(outage.pauses) <= 10


@pytest.mark.parametrize("behaviour", ["silent", "unregistered"])
async def test_an_app_that_was_killed_posts_no_receipt_that_still_waits(
    outage: Outage, behaviour: str
) -> None:
    await outage.ring()
    outage.lasts, outage.kill = 0, behaviour
    outage.begin()
    receipts = await outage.phone.receipts.until(2, 30)
    assert [(one.kind, one.status) for one in receipts] == [("received", None), ("answered", None)]
    assert (outage.receiver.kinds, len(outage.pauses)) == ([], 1)


async def test_a_phone_that_is_told_to_wait_waits_so_long_and_posts_again(
    outage: Outage,
) -> None:
    """Retry-After is in seconds; where it is none, the pauses are as ever."""
    outage.receiver.statuses, outage.receiver.waits = [429, 429, 200], ["37", "soon"]
    await outage.ring()
    outage.lasts = 0
    outage.begin()
    receipts = await outage.phone.receipts.until(2, 30)
    assert [(one.kind, one.status) for one in receipts] == [("received", 200), ("answered", 200)]
    assert outage.receiver.kinds == ["received", "received", "received", "answered"]
    assert outage.pauses == [0.5, 37, 2]


async def test_in_flight_mode_a_receipt_waits_until_the_phone_is_back(outage: Outage) -> None:
    await outage.ring()
    outage.lasts, outage.kill, outage.back_after = 0, "cut-off", 20
    outage.begin()
    receipts = await outage.phone.receipts.until(2, 30)
    assert [(one.kind, one.status) for one in receipts] == [("received", 200), ("answered", 200)]
    assert outage.receiver.kinds == ["received", "answered"]
    assert outage.heard_before == []


async def test_receipts_are_given_up_five_minutes_after_the_end_of_the_call(
    outage: Outage, time: Time
) -> None:
    expires_at = await outage.ring()
    outage.begin()
    receipts = await outage.phone.receipts.until(2, 30)
    assert [one.status for one in receipts] == [None, None]
    over = time.now - expires_at
    assert timedelta(minutes=5) <= over <= timedelta(minutes=5, seconds=10)


async def test_a_phone_that_is_taken_away_repeats_nothing_and_posts_nothing_later(
    time: Time, away: Receiver
) -> None:
    async with Simulator(phones=["alice"], clock=time) as sim, Sender(sim) as sender:
        time.sim, phone, bridge = sim, sim.phone("alice"), Bridge(sim, time)
        phone.profile.auto_answer = 10
        await bridge.push(sender, bridge.call(**away.call()))
        assert len(phone._outgoing._tasks) == 1
        await sim.remove_phone("alice")
        time.pass_(seconds=11)
        assert [call.state for call in phone.calls.items] == ["answered"]
        assert phone._outgoing._tasks == set()


async def test_the_simulator_stops_while_receipts_wait(time: Time, away: Receiver) -> None:
    async with Simulator(phones=["alice"], clock=time) as sim, Sender(sim) as sender:
        phone, bridge = sim.phone("alice"), Bridge(sim, time)
        await bridge.push(sender, bridge.call(**away.call()))
        phone.answer()
        assert len(phone._outgoing._tasks) == 1
    assert phone._outgoing._tasks == set()
