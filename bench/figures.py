"""From rounds to figures: medians, spreads, and ratios made within each round. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.clients.measure import Result


@dataclass(frozen=True)
class Spread:
    """A median with the least and the greatest of its rounds."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        known = [value for value in values if value is not None]
        return cls(statistics.median(known), min(known), max(known)) if known else None

    def overlaps(self, other: Spread) -> bool:
        return self.least <= other.most and other.least <= self.most


@dataclass(frozen=True)
class Figures:
    """One client in one cell. `rate` in pushes a second, `p50` and `p99` in ms, `cpu` in µs a push."""

    rate: Spread
    ratio: Spread | None
    p50: Spread | None
    p99: Spread | None
    cpu: Spread | None
    failed: int
    lost: int
    why: str


def rate(result: Result) -> float:
    return result.answered / result.seconds


def figures(rounds: Sequence[Result], base: Sequence[Result]) -> Figures:
    """Give the figures of one client; `base` has the same rounds of the client that ratios refer to."""
    ratios = [
        rate(mine) / rate(theirs) for mine, theirs in zip(rounds, base, strict=False) if theirs.answered
    ]
    rates = Spread.of(map(rate, rounds))
    assert rates is not None
    return Figures(
        rate=rates,
        ratio=Spread.of(ratios),
        p50=Spread.of(result.p50 for result in rounds),
        p99=Spread.of(result.p99 for result in rounds),
        cpu=Spread.of(result.cpu / result.answered * 1e6 if result.answered else None for result in rounds),
        failed=sum(result.failed for result in rounds),
        lost=sum(result.lost for result in rounds),
        why=next((result.why for result in rounds if result.why), ""),
    )
