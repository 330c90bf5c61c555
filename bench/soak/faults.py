"""Which fault comes when: drawn from a seed, so that a run can be repeated. Pure."""

from __future__ import annotations

import random
from collections import Counter
from typing import Final

from bench.soak.answers import BAD

EVERY: Final = 250  # requests between two faults of a whole connection
CONNECTION_FAULTS: Final = (
    "goes away, and finishes what it took",
    "goes away at once, and drops what it did not take",
    "resets the connection",
    "closes the connection",
    "freezes",
    "changes the stream limit",
    "changes the window of streams",
    "changes the header table",
)
# Of one push each, in a million.
PUSH_FAULTS: Final = {
    "answers with an error": 30_000,
    "answers slowly": 10_000,
    "refuses the stream": 3_000,
    "resets the stream after processing": 1_000,
    "never answers": 100,
}


class Faults:
    """Says what to do with each request, and counts it."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._until_next = EVERY
        self._cycle: list[str] = []
        self.counts: Counter[str] = Counter()

    def of_connection(self) -> str | None:
        """Count a request; name the fault that the connection has now, in most cases None."""
        self._until_next -= 1
        if self._until_next > 0:
            return None
        self._until_next = EVERY
        if not self._cycle:
            self._cycle = self._random.sample(CONNECTION_FAULTS, len(CONNECTION_FAULTS))
        return self._counted(self._cycle.pop())

    def of_push(self) -> str | None:
        """Name the fault that this push meets, in most cases None."""
        drawn = self._random.randrange(1_000_000)
        for name, share in PUSH_FAULTS.items():
            if drawn < share:
                return self._counted(name)
            drawn -= share
        return None

    def delay(self) -> float:
        """Give the seconds of a slow answer."""
        return self._random.uniform(0.01, 0.2)

    def error(self) -> int:
        """Give the number of an answer that is not 200."""
        return self._random.randrange(len(BAD)) + 1

    def one_of(self, values: tuple[int, ...]) -> int:
        return self._random.choice(values)

    def _counted(self, name: str) -> str:
        self.counts[name] += 1
        return name
