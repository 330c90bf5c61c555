"""The program's clock, and the one that stands in for it in the tests."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest
from builders import NOW
from movedclock import MovedClock

from bridge import clock as module
from bridge.clock import Clock


class Machine:
    """Both clocks of a machine, in seconds; it stands for the modules `time` and `datetime` in bridge.clock."""

    def __init__(self) -> None:
        self.wall = NOW.timestamp()
        self.steady = 1000.0
        self.CLOCK_BOOTTIME = time.CLOCK_BOOTTIME

    def clock_gettime(self, _: int) -> float:
        return self.steady

    def now(self, _: object = None) -> datetime:
        return datetime.fromtimestamp(self.wall, UTC)

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(module, "time", machine)
    monkeypatch.setattr(module, "datetime", machine)
    return machine


@pytest.mark.parametrize(
    "jump", [-7200, 7200, 1e9], ids=["back two hours", "ahead two hours", "ahead 30 years"]
)
def test_a_jump_of_the_wall_clock_moves_no_deadline(machine: Machine, jump: float) -> None:
    """Rule 10: what was due in 45 s is due in 45 s, whatever NTP or an operator does to the wall clock."""
    clock = Clock()
    due = clock.now() + timedelta(seconds=45)
    machine.wall += jump
    machine.pass_(44)
    assert clock.now() < due
    machine.pass_(1)
    assert clock.now() == due
    assert clock.drift() == pytest.approx(jump)


async def test_a_wait_across_a_jump_lasts_as_long_as_was_asked_for(machine: Machine) -> None:
    """Rule 10: the wait is measured on the steady clock too."""
    clock = Clock()
    until = clock.now() + timedelta(seconds=1000)
    machine.wall += 5000  # by the wall clock it is over
    never = asyncio.Event()
    waiting = asyncio.create_task(clock.wait(never, until))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    never.set()
    await waiting


async def test_a_wait_whose_time_has_come_returns_at_once() -> None:
    clock = Clock()
    async with asyncio.timeout(30):
        await clock.wait(asyncio.Event(), clock.now())
        await clock.wait(asyncio.Event(), clock.now() - timedelta(days=1))


async def test_a_wait_ends_with_its_event_before_its_time() -> None:
    clock, event = Clock(), asyncio.Event()
    waiting = asyncio.create_task(clock.wait(event, clock.now() + timedelta(days=1)))
    await asyncio.sleep(0)
    event.set()
    async with asyncio.timeout(30):
        await waiting


def test_the_clock_counts_time_in_which_the_machine_was_suspended() -> None:
    """A laptop that slept through a ring must not believe that no time has passed."""
    assert time.CLOCK_BOOTTIME == module._STEADY


# --- the moved clock --------------------------------------------------------------------------


async def test_a_moved_clock_wakes_those_whose_time_has_come_and_no_others() -> None:
    clock = MovedClock()
    soon, late = (
        asyncio.create_task(clock.wait(asyncio.Event(), NOW + timedelta(seconds=s))) for s in (1, 2)
    )
    await clock.asleep(2)
    clock.move(1)
    await soon
    await clock.asleep(1)
    assert not late.done()
    assert clock.now() == NOW + timedelta(seconds=1)
    clock.move(1)
    await late


async def test_whoever_was_woken_by_an_event_does_not_count_as_asleep() -> None:
    clock, event = MovedClock(), asyncio.Event()
    woken = asyncio.create_task(clock.wait(event, NOW + timedelta(seconds=1)))
    await clock.asleep(1)
    event.set()
    assert sum(sleeper.asleep for sleeper in clock._sleepers) == 0
    await woken


@pytest.mark.parametrize("turns", range(4))
async def test_a_loop_that_is_told_to_end_just_as_its_event_comes_does_end(turns: int) -> None:
    """A stop that meets a commit: asyncio.wait_for lost it in Python 3.11, and the bridge stopped for ever."""
    event, clock = asyncio.Event(), Clock()

    async def loop() -> None:
        while True:
            await clock.wait(event, clock.now() + timedelta(seconds=3600))
            event.clear()

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    event.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=5)
    ended = task.cancelled()
    task.cancel()
    assert ended
