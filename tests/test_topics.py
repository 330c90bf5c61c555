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
    """A loop with an outlook: `log` says what it did, `due` is what the ledger would answer."""

    def __init__(self) -> None:
        self.clock = MovedClock()
        self.outlook = Outlook(self.clock, self._ask)
        self.due: datetime | None = None
        self.log: list[str] = []

    async def _ask(self) -> datetime | None:
        self.log.append("ask")
        return self.due

    async def claim(self) -> None:
        self.log.append("claim")
        self.due = None

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
        it.due = at(0.5)
        it.outlook.wake(at(0.5))
        assert await it.did(0.4) == []
        assert await it.did(0.1) == ["ask", "claim", "ask"]


async def test_what_another_bridge_has_said_is_asked_for_first() -> None:
    it = Round()
    async with running(it.run()):
        await it.did()
        it.outlook.look()
        assert await it.did() == ["ask"]
        it.due = at(0)
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
        it.due = at(0.2)
        assert await it.did(0.2) == ["ask", "claim", "ask"]


async def test_a_poll_stands_behind_each_word() -> None:
    it = Round()
    async with running(it.run()):
        await it.did()
        it.due = at(0.1)
        assert await it.did(0.999) == []
        assert await it.did(0.001) == ["ask", "claim", "ask"]


async def test_an_appointment_is_kept_at_the_earliest_instant_that_was_named_since_the_last() -> None:
    clock = MovedClock()
    appointment = Appointment(clock)
    kept = asyncio.create_task(appointment.keep(at(0.9)))
    await clock.asleep(1)
    appointment.name(at(0.7))
    appointment.name(at(0.8))
    await clock.asleep(1)
    clock.move(0.6)
    await clock.asleep(1)
    clock.move(0.1)
    await kept
    appointment.begin()
    kept = asyncio.create_task(appointment.keep(None))
    await clock.asleep(1)
    appointment.name(AT_ONCE)
    await kept
