"""Starts the systems, lets them take turns, and measures memory, growth and replicas of the bridge alone."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench import running, world
from bench.cells import LARGE_WINDOW, Cell
from bench.load import bodies, contention, ground, ledgers, phases
from bench.load.caller import Caller
from bench.load.phases import Count, Phase, System
from bench.load.town import TOPIC, Town, token, write
from bench.pgserver import Server
from bridge.children import free_port

DURABLE: Final = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "autovacuum": "on",
    "wal_level": "replica",
    "shared_buffers": "128MB",
}
"""PostgreSQL's own defaults, where the tests' server has others."""

SQLITE: Final = "bridge, SQLite"
POSTGRESQL: Final = "bridge, PostgreSQL"
NAIVE: Final = "handler and aioapns, no record"

_ANSWER: Final = Cell(1, 1, LARGE_WINDOW, 0)
_SMALLER: Final = 512
"""Teams where several bridges have to start: reading the configuration takes longest."""

_GROWTH: Final = 100
"""Alerts of one webhook while the growth is measured."""


PARTS: Final = ("systems", "ledgers", "growth", "replicas")
_ALONE: Final = Phase("1/s", 20.0, rate=1)


@dataclass(frozen=True)
class Plan:
    """How much to measure."""

    teams: int = 2048
    rounds: int = 3
    turns: Sequence[Phase] = (
        Phase("storm", 5.0),
        Phase("100/s", 5.0, rate=100),
        Phase("1,000/s", 4.0, rate=1_000),
    )
    alone: Phase | None = _ALONE
    systems: Sequence[str] = (SQLITE, POSTGRESQL, NAIVE)
    ledgers: Sequence[int] = (10, 10_000, 100_000)
    growth: Sequence[int] = (1_000, 10_000, 100_000)
    replicas: Sequence[int] = (1, 2, 4)

    def only(self, parts: Sequence[str]) -> Plan:
        """Leave the other parts out."""
        left_out: dict[str, Any] = {part: () for part in PARTS if part not in parts}
        return replace(self, **left_out)


QUICK: Final = Plan(
    teams=32,
    rounds=1,
    turns=(Phase("storm", 0.3, connections=8), Phase("50/s", 0.6, rate=50, connections=8)),
    alone=None,
    systems=(SQLITE, NAIVE),
    ledgers=(),
    growth=(),
    replicas=(),
)


@dataclass
class Memory:
    """MiB of a bridge with so many phones and open incidents: when ready, and at most while it works."""

    size: int
    ready: float
    working: float


@dataclass
class Growth:
    """What the last alerts cost, when there are so many: µs of processor time, and of the clock."""

    alerts: int
    cpu: float
    clock: float


@dataclass
class Replicas:
    """So many bridges on one PostgreSQL. `waiting`: the share of time in which one waits for the turn."""

    number: int
    count: Count
    waiting: float


@dataclass
class Report:
    """All that was measured."""

    counts: list[Count] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    replicas: list[Replicas] = field(default_factory=list)


class Ground:
    """A folder with what every system needs; `say` hears what is being measured."""

    def __init__(
        self, folder: Path, plan: Plan, http: aiohttp.ClientSession, say: Callable[[str], None]
    ) -> None:
        self.folder = folder
        self.plan = plan
        self.http = http
        self.say = say
        self.world = world.World(folder)
        self.town = Town(plan.teams)
        self.bridges_core, self.others_core = running.cores()
        self._names = itertools.count(1)

    @asynccontextmanager
    async def system(
        self,
        name: str,
        ledger: str,
        town: Town | None = None,
        postgres: Server | None = None,
        replicas: int = 1,
    ) -> AsyncIterator[System]:
        """Run one: with APNs to itself, so that what that writes down is about nobody else."""
        town, number = town or self.town, next(self._names)
        book = self.folder / f"book-{number}"
        async with AsyncExitStack() as stack:
            port = stack.enter_context(world.server(self.world, _ANSWER, self.others_core, book))
            apns = ground.apns(port, self.world.ca_file, self.world.key_file, TOPIC)
            config = self.folder / f"config-{number}.yaml"
            write(config, town.config(apns, ledger))
            cores = running.cores() if replicas > 1 else (self.bridges_core,)
            served = [
                await stack.enter_async_context(
                    ground.bridge(config, cores[one % len(cores)], f"bridge-{number}-{one}")
                )
                for one in range(replicas)
            ]
            database = postgres.pid if postgres is not None else None
            yield System(name, town, served, ground.Book(book), database)

    @asynccontextmanager
    async def naive(self) -> AsyncIterator[System]:
        """Run the few lines without a record."""
        book = self.folder / "book-naive"
        with (
            world.server(self.world, _ANSWER, self.others_core, book) as port,
            free_port() as own,
        ):
            job = self.folder / "naive.json"
            tokens = {f"t{number}": token(number) for number in range(self.town.teams)}
            wanted = {
                "port": own,
                "apns_port": port,
                "ca_file": str(self.world.ca_file),
                "key": self.world.key_file.read_text(encoding="ascii"),
                "topic": TOPIC,
                "tokens": tokens,
            }
            job.write_text(json.dumps(wanted))
            async with ground.naive(job, own, self.bridges_core) as served:
                yield System(NAIVE, self.town, [served], ground.Book(book), counts_pages=False)


@asynccontextmanager
async def postgresql() -> AsyncIterator[Server]:
    """Run a PostgreSQL that loses nothing."""
    server = await asyncio.to_thread(Server, **DURABLE)
    try:
        await asyncio.to_thread(server.start)
        yield server
    finally:
        await asyncio.to_thread(server.close)


async def measure(folder: Path, plan: Plan, say: Callable[[str], None]) -> Report:
    """Measure all of it."""
    world.build()
    report = Report()
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(aiohttp.ClientSession())
        place = Ground(folder, plan, http, say)
        database = None
        if POSTGRESQL in plan.systems or plan.replicas:
            database = await stack.enter_async_context(postgresql())
        await _beside_each_other(place, database, report)
        for size in plan.ledgers:
            say(f"memory: {size:,} phones and incidents")
            report.memory.append(await _memory(place, size))
        if plan.growth:
            report.growth += await _growth(place)
        for number in plan.replicas:
            assert database is not None
            say(f"replicas: {number}")
            report.replicas.append(await _replicas(place, database, number))
    return report


async def _beside_each_other(place: Ground, database: Server | None, report: Report) -> None:
    """Let the systems take turns: A B C, A B C, ..."""
    async with AsyncExitStack() as stack:
        systems = []
        for name in place.plan.systems:
            place.say(f"start: {name}")
            if name == NAIVE:
                made = place.naive()
            elif name == POSTGRESQL:
                assert database is not None
                made = place.system(name, database.url(database.empty()), postgres=database)
            else:
                made = place.system(name, ground.storage(place.folder, "ledger"))
            systems.append(await stack.enter_async_context(made))
        if systems and place.plan.alone is not None:
            place.say(f"{place.plan.alone.name}, all at once")
            each = (phases.run(system, place.plan.alone, place.http) for system in systems)
            report.counts += await asyncio.gather(*each)
        for number in range(1, place.plan.rounds + 1):
            for system in systems:
                for phase in place.plan.turns:
                    place.say(f"round {number}: {system.name}, {phase.name}")
                    report.counts.append(count := await phases.run(system, phase, place.http))
                    place.say(f"  {count.webhooks:,.0f} webhooks/s, {count.cpu:,.0f} µs of CPU for each")


async def _memory(place: Ground, size: int) -> Memory:
    """Fill a ledger, start a bridge on it, and let it work."""
    file = place.folder / f"memory-{size}.db"
    await asyncio.to_thread(ledgers.fill, file, size)
    small = Town(8)
    async with place.system(SQLITE, f"sqlite:///{file}", small) as system:
        (served,) = system.served
        ready = ground.memory(served.pid)
        count = asyncio.create_task(phases.run(system, Phase("memory", 3.0, rate=50), place.http))
        most = ready
        while not count.done():
            await asyncio.sleep(0.2)
            most = max(most, ground.memory(served.pid))
        await count
    return Memory(size, ready, most)


async def _growth(place: Ground) -> list[Growth]:
    """Send ever more alerts, each an incident of its own; what does one of them cost?"""
    found: list[Growth] = []
    async with place.system(SQLITE, ground.storage(place.folder, "growth")) as system:
        (served,) = system.served
        sent = 0
        for most in place.plan.growth:
            place.say(f"growth: {most:,} alerts")
            used, clock, count = ground.cpu(served.pid), asyncio.get_running_loop().time(), most - sent
            make = partial(_many, place.town)
            caller = Caller((served.port,), make, connections=4)
            await caller.exactly(iter(range(sent, most, _GROWTH)))
            clock = asyncio.get_running_loop().time() - clock
            await system.book.quiet()
            used = ground.cpu(served.pid) - used
            found.append(Growth(most, used / count * 1e6, clock / count * 1e6))
            sent = most
    return found


def _many(town: Town, first: int) -> bytes:
    return bodies.body(town, first, _GROWTH)


async def _replicas(place: Ground, database: Server, number: int) -> Replicas:
    """Send to several bridges on one ledger, and look how often one waits for another."""
    url = database.url(database.empty())
    name = f"{number} on PostgreSQL"
    async with (
        place.system(name, url, Town(_SMALLER), postgres=database, replicas=number) as system,
        contention.watched(url) as waits,
    ):
        count = await phases.run(system, Phase("storm", 5.0), place.http)
    place.say(
        f"  {count.webhooks:,.0f} webhooks/s, {count.cpu:,.0f} µs of CPU for each; waits {waits.share():.0%}"
    )
    return Replicas(number, count, waits.share())
