"""How much of what comes in may be in the bridge at once, and how much of that is one sender's.

Bodies that are being read or decided on are memory, and webhooks that wait for their commit fill the writer's
queue. So both are bounded, and shared: one sender's flood leaves room for the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_WEBHOOKS: Final = 768
"""Webhooks at once: three quarters of what the ledger's writer lets wait; people have the rest."""

_BODIES: Final = 4
"""Bodies of the largest size that may be in memory at once."""


class Busy(Exception):
    """There is no room for this now; it is to be sent again."""


class Shares:
    """A limit that senders share: while others could come, nobody takes all of it."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    def take(self, who: str, amount: int, limit: int, own: int = 0) -> None:
        """Take some more for `who`, of which `own` is for the same thing already. Raises Busy.

        Each gets an equal share, as if one more were coming. What is alone gets whatever it needs.
        """
        others = self._held.total() - self._held[who]
        share = limit // (len(self._held.keys() | {who}) + 1)
        alone = self._held[who] == own
        if others + self._held[who] + amount > limit or (not alone and self._held[who] + amount > share):
            raise Busy
        self._held[who] += amount

    def give(self, who: str, amount: int) -> None:
        """Give it back."""
        self._held[who] -= amount
        if not self._held[who]:
            del self._held[who]


class Ticket:
    """One webhook's part of the memory; it grows with its body."""

    def __init__(self, bodies: Shares, who: str, limit: int) -> None:
        self._bodies = bodies
        self._who = who
        self._limit = limit
        self.size = 0

    def grow(self, amount: int) -> None:
        """Take room for so many bytes more. Raises Busy."""
        self._bodies.take(self._who, amount, self._limit, self.size)
        self.size += amount


class Admission:
    """Lets webhooks in."""

    def __init__(self) -> None:
        self._webhooks = Shares()
        self._bodies = Shares()

    @contextmanager
    def enter(self, who: str, largest: int) -> Iterator[Ticket]:
        """Let one in, whose body has at most `largest` bytes, until it is answered. Raises Busy."""
        self._webhooks.take(who, 1, _WEBHOOKS)
        ticket = Ticket(self._bodies, who, _BODIES * largest)
        try:
            yield ticket
        finally:
            self._webhooks.give(who, 1)
            self._bodies.give(who, ticket.size)
