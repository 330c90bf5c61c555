"""Whether a loop still goes round: what a watchdog and a liveness probe have to know."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Final

STILL: Final = 60.0
"""Seconds without a round after which a loop stands still; the ledger's own time limits end far below."""


class Pulse:
    """Beats whenever its loop goes round, whatever the round came to.

    A ledger that is away is no standstill: each try ends with an error, and a restart would help nobody.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.beat()

    def beat(self) -> None:
        """Say that the loop is there."""
        self._at = monotonic()

    def age(self) -> float:
        """Seconds since the last beat; a machine that sleeps makes none of them."""
        return monotonic() - self._at


def standing(pulses: Iterable[Pulse]) -> list[str]:
    """Give a reason for each loop that stands still."""
    return [f"the {one.name} stands still" for one in pulses if one.age() > STILL]
