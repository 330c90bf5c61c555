"""PING on idle and on suspicion, on a clock that the test moves."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from test_apns_fuzz import Wire, feed

from bridge.apns import framing
from bridge.apns.connection import Connection
from bridge.apns.limits import Timing
from bridge.apns.pulse import Pulse

TIMING = Timing(idle=45.0, suspicion=2.0, ping=3.0)


class Loop:
    """As much of an event loop as a pulse asks for."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        heapq.heappush(self._due, (self.now + delay, next(self._order), callback))
        return self

    def cancel(self) -> None:
        self._due.clear()

    def pass_(self, seconds: float) -> None:
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            self.now, _, callback = heapq.heappop(self._due)
            callback()
        self.now = end


class Patient:
    """A connection that is watched."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.pings: list[bytes] = []
        self.died = False
        self.busy = 0
        self.pulse = Pulse(
            self.loop,
            TIMING,
            ping=self.pings.append,
            busy=lambda: self.busy,
            dead=self.die,
            suspected=lambda: None,
        )
        self.pulse.start()

    def die(self) -> None:
        self.died = True
        self.pulse.stop()


@pytest.fixture
def patient() -> Patient:
    return Patient()


def test_an_idle_peer_is_asked_once_it_was_silent_for_long(patient: Patient) -> None:
    patient.loop.pass_(44)
    assert not patient.pings
    patient.loop.pass_(2)
    assert len(patient.pings) == 1


def test_a_peer_that_owes_an_answer_is_asked_soon(patient: Patient) -> None:
    patient.busy = 1
    patient.loop.pass_(3)
    assert len(patient.pings) == 1


def test_a_peer_that_makes_a_sound_is_not_asked(patient: Patient) -> None:
    patient.busy = 1
    for _ in range(20):
        patient.loop.pass_(1)
        patient.pulse.heard()
    assert not patient.pings


def test_a_peer_that_answers_its_ping_lives_and_is_asked_again_later(patient: Patient) -> None:
    for count in range(1, 5):
        patient.loop.pass_(47)
        assert len(patient.pings) == count
        patient.pulse.heard()
        patient.pulse.acknowledged(patient.pings[-1])
        assert not patient.pulse.doubtful
    assert not patient.died


def test_a_peer_that_does_not_answer_its_ping_is_doubtful_and_then_dead(patient: Patient) -> None:
    patient.pulse.suspect()
    assert not patient.pulse.doubtful
    patient.loop.pass_(1)
    assert patient.pulse.doubtful
    assert not patient.died
    patient.loop.pass_(3)
    assert patient.died


def test_noise_does_not_take_the_place_of_the_answer_to_a_ping(patient: Patient) -> None:
    patient.pulse.suspect()
    for _ in range(5):
        patient.loop.pass_(1)
        patient.pulse.heard()
        patient.pulse.acknowledged(b"anything")
    assert patient.died


def test_an_answer_to_a_push_does(patient: Patient) -> None:
    """On a link that is full the PING comes late, and the peer is alive all the same."""
    patient.busy = 1
    patient.pulse.suspect()
    for _ in range(20):
        patient.loop.pass_(1)
        patient.pulse.heard()
        patient.pulse.answered()
    assert not patient.died
    assert not patient.pulse.doubtful


def test_one_question_at_a_time(patient: Patient) -> None:
    for _ in range(3):
        patient.pulse.suspect()
    assert len(patient.pings) == 1


async def test_pushes_that_wait_for_a_doubtful_peer_go_out_when_it_answers_its_ping() -> None:
    """Else they would wait for the next push, or for another connection."""
    connection = Connection("x.voip")
    wire = Wire()
    connection.connection_made(wire)
    feed(connection, framing.settings({}))
    looks: list[bool] = []
    connection.on_change = lambda: looks.append(connection.pulse.doubtful)
    connection.pulse.suspect()
    feed(connection, framing.frame(framing.PING, framing.ACK, 0, (1).to_bytes(8, "big")))
    assert looks == [False]
    connection.end("done", at_once=True)
