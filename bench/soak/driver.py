"""The sender of the soak: bridge.apns in this process, the peer in another."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.soak.books import Outcomes, Record, Sum, disagreements
from bench.world import ROOT, World
from bridge.apns import Timing, Transport
from bridge.pushes import PushRequest

IN_FLIGHT: Final = 200
WARM: Final = 10_000  # pushes after which the memory is first looked at
TIMEOUT: Final = 2.0  # seconds for a push
SLOWEST: Final = 250  # pushes a second that any machine makes
GROWTH: Final = 1.1  # of the memory that is allowed
JUDGED: Final = 100_000  # pushes from which on memory is judged: a shorter run is all warm-up
TOPIC: Final = "com.example.app.voip"
TIMING: Final = Timing(
    connect=5.0, idle=5.0, suspicion=0.5, ping=0.5, close=0.2, back_off=0.01, back_off_limit=0.1, stable=0.0
)


@dataclass(frozen=True)
class Report:
    """What came of a soak. Memory in octets; `wrong` is empty if all is well."""

    pushes: int
    seconds: float
    longest: float
    memory: tuple[int, int]
    total: Sum
    reasons: dict[str, int]
    peer: dict[str, Any]
    wrong: dict[str, int]


def resident() -> int:
    """Give the resident memory of this process in octets."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def push(number: int) -> PushRequest:
    name = f"{number:032x}"
    return PushRequest(
        apns_id=f"{name[:8]}-{name[8:12]}-{name[12:16]}-{name[16:20]}-{name[20:]}",
        token=f"{number % 1_000:064x}",
        topic=TOPIC,
        kind="voip" if number % 3 else "alert",
        environment="production",
        priority=10,
        expiration=0,
        payload=b"x" * (100 + number * 37 % 4_900),
        timeout=TIMEOUT,
    )


@contextlib.asynccontextmanager
async def peer(world: World, pushes: int, seed: int, book: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.soak.peer",
        str(world.server_key), str(world.chain_file), str(pushes), str(seed), str(book),
        cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Driver:
    """Sends all pushes, a fixed number of them at a time."""

    def __init__(self, transport: Transport, pushes: int, say: Callable[[str], None]) -> None:
        self._transport = transport
        self._numbers = iter(range(pushes))
        self._say = say
        self._ended = 0
        self._warm = min(WARM, pushes)
        self.outcomes = Outcomes.empty(pushes)
        self.memory_when_warm = 0
        self.longest = 0.0

    async def run(self) -> None:
        """Send them all. A push that hangs shows as one without outcome when the time is over."""
        limit = 120 + len(self.outcomes.marks) / SLOWEST
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit), asyncio.TaskGroup() as group:
                for _ in range(IN_FLIGHT):
                    group.create_task(self._work())

    async def _work(self) -> None:
        for number in self._numbers:
            began = time.perf_counter()
            self.outcomes.note(number, await self._transport.send(push(number)))
            self.longest = max(self.longest, time.perf_counter() - began)
            self._ended += 1
            if self._ended == self._warm:
                self.memory_when_warm = resident()
            if self._ended % 100_000 == 0:
                self._say(f"{self._ended:,} pushes, {resident() / 2**20:.1f} MiB")


async def soak(pushes: int, seed: int, say: Callable[[str], None]) -> Report:
    """Send the pushes and compare the books."""
    with tempfile.TemporaryDirectory() as folder:
        world, book = World(Path(folder)), Path(folder) / "book"
        async with peer(world, pushes, seed, book) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            port = int(await process.stdout.readline())
            transport = Transport.with_key(
                key_pem=world.key_file.read_text(),
                key_id="ABCDE12345",
                team_id="TEAM567890",
                topic=TOPIC,
                url=f"https://127.0.0.1:{port}",
                ca_file=str(world.ca_file),
                max_connections=3,
                timing=TIMING,
            )
            await transport.start()
            driver, began = Driver(transport, pushes, say), time.perf_counter()
            await driver.run()
            seconds, memory = time.perf_counter() - began, resident()
            await transport.close(1.0)
            process.stdin.close()
            said = json.loads(await process.stdout.readline())
            await process.wait()
        record = Record.from_bytes(book.read_bytes())
    return _report(driver, record, said, seconds, memory)


def _report(driver: Driver, record: Record, said: dict[str, Any], seconds: float, memory: int) -> Report:
    outcomes = driver.outcomes
    wrong = {**disagreements(outcomes, record), **said["violations"]}
    if len(outcomes.marks) >= JUDGED and memory > driver.memory_when_warm * GROWTH:
        wrong["memory grew by more than a tenth"] = 1
    return Report(
        pushes=len(outcomes.marks),
        seconds=seconds,
        longest=driver.longest,
        memory=(driver.memory_when_warm, memory),
        total=Sum.of(outcomes, record),
        reasons=dict(outcomes.reasons.most_common()),
        peer=said,
        wrong=wrong,
    )
