"""The soak counts right, and a short one finds both sides of one mind."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bench.soak.answers import ANSWERS
from bench.soak.books import ANSWERED, NOT_PROCESSED, UNKNOWN, Outcomes, Record, Sum, disagreements
from bench.soak.faults import CONNECTION_FAULTS, EVERY, Faults
from bridge.pushes import Accepted, Misconfigured, Outcome, Retryable, Unregistered

ROOT = Path(__file__).parent.parent
LOST = Retryable("ConnectionLost")
REFUSED = Retryable("StreamRefused", None, certainly_not_processed=True)


def books(outcome: Outcome | None, *, taken: int, answers: tuple[int, ...] = ()) -> tuple[Outcomes, Record]:
    """One push, as both sides have it in their books."""
    outcomes, record = Outcomes.empty(1), Record.empty(1)
    if outcome is not None:
        outcomes.note(0, outcome)
    for _ in range(taken):
        record.take(0)
    for answer in answers:
        record.answer(0, answer)
    return outcomes, Record.from_bytes(record.to_bytes())


@pytest.mark.parametrize(
    ("outcome", "taken", "answers"),
    [
        (Accepted(), 1, (0,)),
        (Unregistered("Unregistered", datetime(2027, 1, 15, tzinfo=UTC)), 1, (1,)),
        (REFUSED, 0, ()),
        (LOST, 0, ()),
        (LOST, 1, ()),
        (LOST, 1, (0,)),
    ],
)
def test_the_books_agree(outcome: Outcome, taken: int, answers: tuple[int, ...]) -> None:
    assert not disagreements(*books(outcome, taken=taken, answers=answers))


@pytest.mark.parametrize(
    ("outcome", "taken", "answers", "wrong"),
    [
        (None, 0, (), "no outcome"),
        (Misconfigured("Surprise"), 1, (0,), "an outcome that nothing explains"),
        (Accepted(), 0, (), "an outcome that the peer did not answer, once and thus"),
        (Accepted(), 1, (), "an outcome that the peer did not answer, once and thus"),
        (Accepted(), 1, (1,), "an outcome that the peer did not answer, once and thus"),
        (Accepted(), 1, (0, 0), "an outcome that the peer did not answer, once and thus"),
        (LOST, 2, (), "processed twice"),
        (REFUSED, 1, (), "processed, but said to be certainly not"),
    ],
)
def test_the_books_disagree(
    outcome: Outcome | None, taken: int, answers: tuple[int, ...], wrong: str
) -> None:
    assert wrong in disagreements(*books(outcome, taken=taken, answers=answers))


def test_a_second_outcome_is_seen() -> None:
    outcomes, record = books(LOST, taken=0)
    outcomes.note(0, LOST)
    assert disagreements(outcomes, record) == {"a second outcome": 1}


def test_each_push_is_added_up_once_and_the_unknown_ones_by_what_the_peer_knows() -> None:
    outcomes, record = Outcomes.empty(6), Record.empty(6)
    outcomes.marks[:] = bytes([ANSWERED, ANSWERED + 3, NOT_PROCESSED, UNKNOWN, UNKNOWN, UNKNOWN])
    record.taken[:] = bytes([1, 1, 0, 1, 1, 0])
    record.answers[:] = bytes([1, 1, 0, 1, 0, 0])
    assert Sum.of(outcomes, record) == Sum(1, 1, 1, 1, 1, 1)


def test_no_two_answers_lead_to_the_same_outcome() -> None:
    assert len({(answer.outcome, answer.reason) for answer in ANSWERS}) == len(ANSWERS)


def test_every_fault_of_a_connection_has_its_turn_and_a_seed_repeats_them() -> None:
    first, second = Faults(7), Faults(7)
    drawn = [first.of_connection() for _ in range(EVERY * len(CONNECTION_FAULTS))]
    assert {fault for fault in drawn if fault} == set(CONNECTION_FAULTS)
    assert drawn == [second.of_connection() for _ in drawn]


@pytest.mark.real
def test_eight_thousand_pushes_through_every_fault_have_one_outcome_each_that_the_peer_confirms() -> None:
    command = [sys.executable, "-m", "bench", "soak", "--pushes=8000", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    report = json.loads(done.stdout)
    assert report["wrong"] == {}
    assert done.returncode == 0
    assert sum(report["total"].values()) == 8_000
    assert set(report["peer"]["faults"]) >= set(CONNECTION_FAULTS)
    assert report["total"]["accepted"] > 7_000
