"""What each side wrote down about each push, and whether the two agree. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from bench.soak.answers import answer_of
from bridge.pushes import Outcome, Retryable

NOTHING, NOT_PROCESSED, UNKNOWN, STRANGE = range(4)
ANSWERED: Final = 4  # and above: the number of the answer


def code(outcome: Outcome) -> int:
    """Give the mark of an outcome."""
    number = answer_of(outcome)
    if number is not None:
        return ANSWERED + number
    if isinstance(outcome, Retryable):
        return NOT_PROCESSED if outcome.certainly_not_processed else UNKNOWN
    return STRANGE


@dataclass
class Outcomes:
    """The sender's book: one octet for each push, made full at once so that it does not grow."""

    marks: bytearray
    twice: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    @classmethod
    def empty(cls, pushes: int) -> Outcomes:
        return cls(bytearray(b"\0" * pushes))

    def note(self, number: int, outcome: Outcome) -> None:
        self.twice += self.marks[number] != NOTHING
        self.marks[number] = code(outcome)
        certain = isinstance(outcome, Retryable) and outcome.certainly_not_processed
        name = f"{type(outcome).__name__} {getattr(outcome, 'reason', '')}".strip()
        self.reasons[f"{name} (certainly not processed)" if certain else name] += 1


@dataclass
class Record:
    """The peer's book: how often each push was taken for processing, how often answered, and with what."""

    taken: bytearray
    answers: bytearray
    last: bytearray  # the number of the last answer

    @classmethod
    def empty(cls, pushes: int) -> Record:
        return cls(bytearray(pushes), bytearray(pushes), bytearray(pushes))

    def take(self, number: int) -> None:
        self.taken[number] = min(255, self.taken[number] + 1)

    def answer(self, number: int, answer: int) -> None:
        self.answers[number] = min(255, self.answers[number] + 1)
        self.last[number] = answer

    def to_bytes(self) -> bytes:
        return bytes(self.taken + self.answers + self.last)

    @classmethod
    def from_bytes(cls, data: bytes) -> Record:
        size = len(data) // 3
        return cls(*(bytearray(data[start : start + size]) for start in (0, size, 2 * size)))


def disagreements(outcomes: Outcomes, record: Record) -> Counter[str]:
    """Count what must not be, by its name; empty if the books agree."""
    found: Counter[str] = Counter()
    rows = zip(outcomes.marks, record.taken, record.answers, record.last, strict=True)
    for mark, taken, answers, last in rows:
        found.update(_wrong(mark, taken, answers, last))
    if outcomes.twice:
        found["a second outcome"] = outcomes.twice
    return found


def _wrong(mark: int, taken: int, answers: int, last: int) -> Iterator[str]:
    if taken > 1:
        yield "processed twice"
    if mark == NOTHING:
        yield "no outcome"
    elif mark == STRANGE:
        yield "an outcome that nothing explains"
    elif mark == NOT_PROCESSED and taken:
        yield "processed, but said to be certainly not"
    elif mark >= ANSWERED and (taken, answers, last) != (1, 1, mark - ANSWERED):
        yield "an outcome that the peer did not answer, once and thus"


@dataclass(frozen=True)
class Sum:
    """Both sides, added up. What is unknown to the sender is known to the peer."""

    accepted: int
    refused: int  # answered with something but 200
    not_processed: int
    unknown_answered: int  # the answer was lost on its way
    unknown_processed: int  # it was never answered
    unknown_unseen: int  # it never came

    @classmethod
    def of(cls, outcomes: Outcomes, record: Record) -> Sum:
        rows = zip(outcomes.marks, record.taken, record.answers, strict=True)
        count = Counter(
            (mark, taken > 0, answers > 0) if mark == UNKNOWN else mark for mark, taken, answers in rows
        )
        return cls(
            accepted=count[ANSWERED],
            refused=sum(n for mark, n in count.items() if isinstance(mark, int) and mark > ANSWERED),
            not_processed=count[NOT_PROCESSED],
            unknown_answered=count[UNKNOWN, True, True],
            unknown_processed=count[UNKNOWN, True, False],
            unknown_unseen=count[UNKNOWN, False, False],
        )
