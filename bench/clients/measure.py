"""What every client is asked to do, and how it is measured: the same loop for all of them.

`in_flight` workers send one push after the other. The count begins once the pipeline is warm and
lasts a fixed time; then no more is sent, and what never gets an answer is counted as lost.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

TOPIC: Final = "com.example.app.voip"
WARM: Final = 0.15  # seconds at least before the count begins
WARM_LIMIT: Final = 3.0  # seconds after which it begins even if not one answer came
PATIENCE: Final = 3.0  # seconds without any answer after which the rest counts as lost
TOKENS: Final = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(1_000)]
Send = Callable[[int], Awaitable[bool]]


@dataclass(frozen=True)
class Job:
    """What to do. `payload` is in octets, `seconds` the length of the count, `loop` asyncio or uvloop."""

    port: int
    ca_file: str
    key_file: str
    authorization: str
    in_flight: int
    payload: int
    seconds: float
    loop: str = "asyncio"

    @classmethod
    def from_argv(cls) -> Job:
        return cls(**json.loads(sys.argv[1]))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def key_pem(self) -> str:
        return Path(self.key_file).read_text(encoding="ascii")

    @property
    def ca_pem(self) -> bytes:
        return Path(self.ca_file).read_bytes()

    def message(self) -> dict[str, Any]:
        """Give the notification as an object: `payload` octets when it is written as JSON."""
        message = {"aps": {}, "text": ""}
        return message | {"text": "x" * (self.payload - len(json.dumps(message)))}

    def body(self) -> bytes:
        return json.dumps(self.message()).encode()


@dataclass
class Result:
    """What came of it. `answered`, `seconds` and `cpu` are of the count alone; p50 and p99 in ms."""

    answered: int
    seconds: float
    cpu: float
    p50: float | None
    p99: float | None
    failed: int = 0
    lost: int = 0
    why: str = ""

    def finish(self) -> None:
        """Say it and leave at once: what a client does in its sleep is not measured."""
        print(json.dumps(asdict(self)), flush=True)
        os._exit(0)


class Tally:
    """Counts answers and failures. A worker calls `answered` or `failed` for each push."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.failures = 0
        self.why = ""
        self.over = False
        self._first = 0
        self._began = 0.0
        self._cpu = 0.0

    def failed(self, why: str) -> None:
        self.failures += 1
        self.why = self.why or why

    @property
    def ended(self) -> int:
        return len(self.waits) + self.failures

    def begin(self) -> None:
        self._first, self._began, self._cpu = len(self.waits), time.perf_counter(), cpu()

    def result(self) -> Result:
        """End the count."""
        self.over = True
        seconds, used = time.perf_counter() - self._began, cpu() - self._cpu
        waits = sorted(self.waits[self._first :])
        return Result(len(waits), seconds, used, quantile(waits, 0.5), quantile(waits, 0.99))


def quantile(ordered: list[float], part: float) -> float | None:
    """Give the nearest rank, in milliseconds; None where there is nothing."""
    return ordered[math.ceil(len(ordered) * part) - 1] * 1_000 if ordered else None


def cpu() -> float:
    """Give the seconds of processor time that this process has used, all threads, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def push_id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def token(number: int) -> str:
    return TOKENS[number % len(TOKENS)]


async def measure(job: Job, send: Send) -> Result:
    """Drive an asynchronous client. `send` says whether the push was accepted; it may raise."""
    tally = Tally()
    numbers = iter(range(1, 2**31))
    async with asyncio.timeout(10):
        await send(0)

    async def work() -> None:
        while not tally.over:
            began = time.perf_counter()
            try:
                good = await send(next(numbers))
            except Exception as error:  # noqa: BLE001 - whatever it raises is this client's result
                tally.failed(type(error).__name__)
                await asyncio.sleep(0)
            else:
                if good:
                    tally.waits.append(time.perf_counter() - began)
                else:
                    tally.failed("not accepted")

    workers = {asyncio.create_task(work()) for _ in range(job.in_flight)}
    await _warm_up(tally, job.in_flight)
    tally.begin()
    await asyncio.sleep(job.seconds)
    result = tally.result()
    result.lost = await _stragglers(workers)
    result.failed, result.why = tally.failures, tally.why
    return result


async def _warm_up(tally: Tally, in_flight: int) -> None:
    began = time.perf_counter()
    await asyncio.sleep(WARM)
    while tally.ended < in_flight and time.perf_counter() - began < WARM_LIMIT:  # noqa: ASYNC110 - an event would cost each push something
        await asyncio.sleep(0.01)


async def _stragglers(workers: set[asyncio.Task[None]]) -> int:
    """Wait while there is progress; give the number of pushes that have no end."""
    while workers:
        done, workers = await asyncio.wait(workers, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            break
    return len(workers)


def run(connect: Callable[[Job], Awaitable[Send]]) -> None:
    """Be the process: read the job, connect, measure, print."""
    job = Job.from_argv()

    async def main() -> None:
        (await measure(job, await connect(job))).finish()

    if job.loop == "uvloop":
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
