"""What a commit says it gives whom to do, and how one bridge tells another."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest
from builders import at
from desks import running
from hypothesis import given
from hypothesis import strategies as some
from ledgers import incident, page
from movedclock import MovedClock
from msgspec.structs import replace

from bridge.alerts import DRILL_SOURCE
from bridge.outlook import Appointment, Outlook
from bridge.store import Topic
from bridge.store.topics import AT_ONCE, News, add, everything, heard, of, word

INSTANTS = some.datetimes(timezones=some.just(at(0).tzinfo))


@given(some.dictionaries(some.sampled_from(Topic), INSTANTS, min_size=1))
def test_another_bridge_hears_what_was_said_and_one_of_before_takes_it_for_no_echo(news: News) -> None:
    assert heard(word(news)) == news
    assert " " not in word(news), "by that a bridge of before tells an echo"


@pytest.mark.parametrize("text", ["", ";", ";pages", ";pages=", ";pages=1=2", ";new=1", f";pages={10**30}"])
def test_what_is_not_understood_may_be_anything(text: str) -> None:
    assert heard(text) == everything()


def test_of_each_topic_the_first_instant_counts() -> None:
    news: News = {Topic.PAGES: at(5)}
    add(news, {Topic.PAGES: at(6), Topic.CLOCK: at(7), Topic.DRILLS: None})
    add(news, {Topic.PAGES: at(4)})
    assert news == {Topic.PAGES: at(4), Topic.CLOCK: at(7)}


def test_an_incident_says_when_the_clock_decides_and_whether_it_wishes_silence_or_is_a_drill() -> None:
    one = incident(due_at=at(9))
    silent = replace(one, silenced_until=at(60))
    drill = replace(one, slot=replace(one.slot, source=DRILL_SOURCE))
    nothing: dict[Topic, datetime | None] = {topic: None for topic in Topic if topic is not Topic.STORY}
    assert of([(None, one)], [], at(1)) == nothing | {Topic.CLOCK: at(9)}
    assert of([(one, silent)], [], at(1)) == nothing | {Topic.CLOCK: at(9), Topic.SILENCES: at(1)}
    assert of([(drill, drill)], [], at(1)) == nothing | {Topic.CLOCK: at(9), Topic.DRILLS: at(1)}
    assert of([], [page(one), replace(page(one), due_at=at(-3))], at(1)) == nothing | {Topic.PAGES: at(-3)}


# --- when a loop has something to do ----------------------------------------------------------


class Round:
    """A loop with an outlook: `log` says what it did.

    `outbox` is when the ledger's pages are due, `busy` those of phones in use; a claim `takes` so many seconds.
    """

    def __init__(self) -> None:
        self.clock = MovedClock()
        self.outlook = Outlook(self.clock, self._ask)
        self.outbox: list[datetime] = []
        self.busy: list[datetime] = []
        self.takes = 0.0
        self.free_at: datetime | None = None
        self.log: list[str] = []

    async def _ask(self, since: datetime) -> datetime | None:
        self.log.append("ask")
        return min((at for at in self.outbox if at >= since), default=None)

    async def claim(self) -> datetime | None:
        self.log.append("claim")
        now = self.clock.now()
        self.outbox = [at for at in self.outbox if at > now or at in self.busy]
        self.clock.move(self.takes)
        return self.free_at

    async def run(self) -> None:
        while True:
            await self.outlook.work(self.claim)
            await self.outlook.wait()

    async def did(self, seconds: float = 0) -> list[str]:
        """Let time pass, and give what it did then."""
        self.clock.move(seconds)
        await self.clock.asleep(1)
        done, self.log = self.log, []
        return done


async def test_what_a_commit_has_said_is_claimed_without_a_question_and_at_its_time() -> None:
    it = Round()
    async with running(it.run()):
        assert await it.did() == ["ask"]
        it.outlook.wake()
        assert await it.did() == ["claim"]
        it.outbox = [at(0.5)]
        it.outlook.wake(at(0.5))
        assert await it.did(0.4) == []
        assert await it.did(0.1) == ["ask", "claim", "ask"]


async def test_what_another_bridge_has_said_is_asked_for_first() -> None:
    it = Round()
    async with running(it.run()):
        await it.did()
        it.outlook.look()
        assert await it.did() == ["ask"]
        it.outbox = [at(0)]
        it.outlook.look()
        assert await it.did() == ["ask", "claim", "ask"]


async def test_a_later_word_does_not_hide_an_earlier_one_nor_what_comes_after() -> None:
    it = Round()
    async with running(it.run()):
        await it.did()
        it.outlook.wake(at(0.8))
        it.outlook.wake(at(0.2))
        it.outlook.wake()
        assert await it.did() == ["claim"]
        it.outbox = [at(0.2)]
        assert await it.did(0.2) == ["ask", "claim", "ask"]


async def test_a_poll_stands_behind_each_word() -> None:
    it = Round()
    async with running(it.run()):
        await it.did()
        it.outbox = [at(0.1)]
        assert await it.did(0.999) == []
        assert await it.did(0.001) == ["ask", "claim", "ask"]


async def test_a_page_that_falls_due_during_a_claim_is_claimed_after_it() -> None:
    it = Round()
    async with running(it.run()):
        await it.did()
        it.outbox = [at(0.5)]
        it.outlook.wake(at(0.5))
        assert await it.did(0.49) == []
        it.takes = 0.02
        it.outlook.wake()
        assert await it.did() == ["claim", "ask", "claim", "ask"]
        assert it.outbox == []


async def test_a_page_that_waits_for_its_phone_hides_none_that_is_due_later() -> None:
    it = Round()
    it.outbox = it.busy = [at(0)]
    async with running(it.run()):
        assert await it.did() == ["ask", "claim", "ask"]
        assert await it.did(0.5) == [], "it is tried once a second"
        it.outbox = [at(0), at(0.7)]
        it.outlook.wake(at(0.7))
        assert await it.did(0.2) == ["ask", "claim", "ask"]
        assert it.outbox == [at(0)]
        it.outbox = [at(0), at(1.3)]
        assert await it.did(0.3) == ["ask", "claim", "ask"]
        assert await it.did(0.3) == ["ask", "claim", "ask"], "the ledger has named it"
        assert it.outbox == [at(0)]


async def test_what_a_claim_has_left_is_tried_when_its_phone_may_be_free() -> None:
    it = Round()
    it.outbox = it.busy = [at(0)]
    it.free_at = at(0.3)
    async with running(it.run()):
        assert await it.did() == ["ask", "claim", "ask"]
        assert await it.did(0.29) == []
        it.busy, it.free_at = [], None
        assert await it.did(0.01) == ["ask", "claim", "ask"]
        assert it.outbox == []


async def test_a_round_that_failed_is_tried_again_after_a_second_or_with_the_next_word() -> None:
    it = Round()
    it.outlook.look()
    it.outlook.forget()
    async with running(it.run()):
        assert await it.did(0.999) == []
        assert await it.did(0.001) == ["ask"]


@pytest.mark.parametrize("seconds", [-600, 600])
async def test_a_clock_that_is_set_holds_up_no_poll(seconds: float) -> None:
    """Rule 10: PostgreSQL's steers it."""
    it = Round()
    async with running(it.run()):
        await it.did()
        assert await it.did(0.5) == []
        it.clock.set(seconds)
        assert await it.did(0.5) == ["ask"]
        assert await it.did(1) == ["ask"]


async def test_a_clock_that_is_set_back_during_a_round_holds_up_no_poll() -> None:
    """Rule 10."""
    it = Round()
    async with running(it.run()):
        await it.did()
        it.takes = -600
        it.outlook.wake()
        await it.did()
        it.takes = 0
        assert await it.did(1) == ["ask"]


async def test_an_appointment_is_kept_when_the_ledger_said_or_at_once_where_a_sooner_instant_is_named() -> (
    None
):
    clock = MovedClock()
    appointment = Appointment(clock)
    kept = asyncio.create_task(appointment.keep(at(0.7)))
    await clock.asleep(1)
    appointment.name(at(0.8))
    await clock.asleep(1)
    appointment.name(at(0.6))
    await kept
    kept = asyncio.create_task(appointment.keep(at(0.7)))
    await clock.asleep(1)
    clock.move(0.6)
    await kept
    for named in (AT_ONCE, at(0.5)):
        appointment.begin()
        appointment.name(named)
        await appointment.keep(None)


async def test_a_later_word_costs_the_loop_that_keeps_an_appointment_no_look() -> None:
    clock = MovedClock()
    appointment = Appointment(clock)
    appointment.begin()
    appointment.name(at(45))
    kept = asyncio.create_task(appointment.keep(None))
    await clock.asleep(1)
    for seconds in (60, 46, 44, 1):
        appointment.name(at(seconds))
    await clock.asleep(1)
    clock.move(1)
    await kept


async def test_an_appointment_is_kept_within_a_second_wherever_the_clock_is_set() -> None:
    """Rule 10: PostgreSQL's steers it."""
    clock = MovedClock()
    appointment = Appointment(clock)
    kept = asyncio.create_task(appointment.keep(at(30)))
    await clock.asleep(1)
    clock.set(-600)
    appointment.name(at(5))
    clock.move(1)
    await kept
