"""What the peer may answer, and what the transport must make of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bridge.pushes import (
    Accepted,
    Misconfigured,
    Outcome,
    Quarantined,
    Rejected,
    Retryable,
    Unregistered,
)


@dataclass(frozen=True)
class Answer:
    """Status, the pieces of its body (a DATA frame for each), and the kind and reason of the outcome."""

    status: int
    pieces: tuple[bytes, ...]
    outcome: type[Outcome]
    reason: str
    fields: tuple[tuple[str, str], ...] = ()


GOOD: Final = Answer(200, (), Accepted, "")
BAD: Final = (
    Answer(410, (b'{"reason":"Unregistered","timestamp":1800000000000}',), Unregistered, "Unregistered"),
    Answer(400, (b'{"reason":"BadDevice', b'Token"}'), Quarantined, "BadDeviceToken"),
    Answer(429, (b'{"reason":"TooManyRequests"}',), Retryable, "TooManyRequests", (("retry-after", "7"),)),
    Answer(500, (b"<html>no</html>",), Retryable, "HTTP 500"),
    Answer(503, (), Retryable, "HTTP 503"),
    Answer(403, (b'{"reason":"BadTopic"}',), Misconfigured, "BadTopic"),
    Answer(413, (b'{"reason":"PayloadTooLarge"}', b""), Rejected, "PayloadTooLarge"),
)
ANSWERS: Final = (GOOD, *BAD)
_BY_OUTCOME: Final = {(answer.outcome, answer.reason): number for number, answer in enumerate(ANSWERS)}


def answer_of(outcome: Outcome) -> int | None:
    """Give the number of the answer that this outcome tells of; None where it tells of none."""
    return _BY_OUTCOME.get((type(outcome), getattr(outcome, "reason", "")))
