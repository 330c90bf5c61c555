"""One count: webhooks for one system, and what came of each."""

from __future__ import annotations

import itertools
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import aiohttp

from bench.clients.measure import quantile
from bench.load import bodies
from bench.load.caller import Caller, Sent
from bench.load.ground import Book, Served, cpu
from bench.load.town import Town

STORM: Final = 64
"""Webhooks at once in a storm: Alertmanager sends one for each of its groups."""


@dataclass(frozen=True)
class Phase:
    """What is sent: `rate` webhooks a second by the clock, or with None as many as are answered."""

    name: str
    seconds: float
    rate: float | None = None
    connections: int = STORM


@dataclass
class Count:
    """What came of it. Times in ms, processor time in µs a webhook; webhooks and pages by the second."""

    system: str
    phase: str
    sent: int
    statuses: dict[int, int]
    webhooks: float
    pages: float
    accepted: int
    pushes: int
    unheard: int
    answer_p50: float | None
    answer_p99: float | None
    push_p50: float | None
    push_p99: float | None
    cpu: float
    database: float


@dataclass
class System:
    """A thing that is measured: its processes, what its database is, and the APNs that it alone talks to."""

    name: str
    town: Town
    served: Sequence[Served]
    book: Book
    database: int | None = None
    counts_pages: bool = True
    numbers: Iterable[int] = field(default_factory=itertools.count)

    def cpu(self) -> float:
        """Give the seconds of processor time of its own processes so far."""
        return sum(cpu(one.pid) for one in self.served)

    async def pages(self, http: aiohttp.ClientSession) -> float:
        """Count the calls that it knows to have been accepted; without a record, the pushes."""
        if not self.counts_pages:
            return len(self.book)
        return sum([await one.pages(http) for one in self.served])


async def run(system: System, phase: Phase, http: aiohttp.ClientSession) -> Count:
    """Send the webhooks of a phase, and wait until all that follows from them has happened."""
    ports = tuple(one.port for one in system.served)
    caller = Caller(ports, partial(bodies.body, system.town), connections=phase.connections // len(ports))
    pushes, pages = len(system.book), await system.pages(http)
    used, database = system.cpu(), cpu(system.database) if system.database else 0.0
    began, numbers = time.monotonic(), iter(system.numbers)
    if phase.rate is None:
        sent = await caller.closed(numbers, phase.seconds)
    else:
        sent = await caller.by_the_clock(numbers, phase.rate, phase.seconds)
    await system.book.quiet()
    used = system.cpu() - used
    database = cpu(system.database) - database if system.database else 0.0
    good = [one for one in sent if one.status == 200]
    answers = sorted(one.answered - one.due for one in good)
    heard = system.book.since(pushes)
    found = waits(system.town, good, heard)
    accepted = int(await system.pages(http) - pages)
    for_all = max((one.answered for one in good), default=began) - began
    last = heard[-1][1] - began if heard else 0.0
    return Count(
        system=system.name,
        phase=phase.name,
        sent=len(sent),
        statuses=dict(Counter(one.status for one in sent)),
        webhooks=len(good) / for_all if for_all else 0.0,
        pages=accepted / last if last else 0.0,
        accepted=accepted,
        pushes=len(heard),
        unheard=len(good) - len(found),
        answer_p50=quantile(answers, 0.5),
        answer_p99=quantile(answers, 0.99),
        push_p50=quantile(found, 0.5),
        push_p99=quantile(found, 0.99),
        cpu=used / max(len(good), 1) * 1e6,
        database=database / max(len(good), 1) * 1e6,
    )


def waits(town: Town, sent: Iterable[Sent], heard: Iterable[tuple[int, float]]) -> list[float]:
    """Give the seconds from each webhook to the first push that came to its team's phone after it, sorted."""
    by_phone: dict[int, list[float]] = {}
    for phone, at in heard:
        by_phone.setdefault(phone, []).append(at)
    found = []
    for one in sent:
        pushes = by_phone.get(one.number % town.teams, [])
        place = bisect_left(pushes, one.due)
        if place < len(pushes):
            found.append(pushes[place] - one.due)
    return sorted(found)
