"""The processes: bridges on one core, APNs and PostgreSQL on the other one, with who sends."""

from __future__ import annotations

import asyncio
import mmap
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench.world import ROOT, pinned
from bridge.children import free_port

PROGRAM: Final = (sys.executable, "-P", "-m", "bridge.cli")
START: Final = 120.0
"""Seconds that a program may take until it is ready."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGESIZE")


def cpu(pid: int) -> float:
    """Give the seconds of processor time, user and system, of a process and of the children it has now."""
    total = 0.0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if pid in (int(folder.name), int(fields[1])):
            total += (int(fields[11]) + int(fields[12])) / _TICKS
    return total


def memory(pid: int) -> float:
    """Give the resident memory of a process, in MiB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 2**20


class Book:
    """What the fake APNs writes down: (token's number, monotonic seconds) of each push, as it answers."""

    def __init__(self, file: Path) -> None:
        with file.open("r+b") as handle:
            self._map = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        self._numbers = memoryview(self._map).cast("q")

    def __len__(self) -> int:
        return self._numbers[0]

    def since(self, first: int) -> list[tuple[int, float]]:
        """Give the pushes from that one on."""
        places = (1 + 2 * number for number in range(first, len(self)))
        return [(self._numbers[place + 1], self._numbers[place] / 1e6) for place in places]

    def last(self) -> float:
        """When the last push was answered."""
        return self._numbers[2 * len(self) - 1] / 1e6

    async def quiet(self, seconds: float = 1.5) -> None:
        """Wait until no push has come for so long."""
        seen, since = len(self), time.monotonic()
        while time.monotonic() - since < seconds:
            await asyncio.sleep(0.1)
            if len(self) != seen:
                seen, since = len(self), time.monotonic()


@dataclass
class Served:
    """A program that takes webhooks."""

    port: int
    pid: int

    async def metrics(self, http: aiohttp.ClientSession) -> dict[str, float]:
        """Ask for its metrics."""
        async with http.get(f"http://127.0.0.1:{self.port}/metrics") as response:
            text = await response.text()
        lines = (line.rpartition(" ") for line in text.splitlines() if line and line[0] != "#")
        return {name.removeprefix("pushkit_bridge_"): float(value) for name, _, value in lines}

    async def pages(self, http: aiohttp.ClientSession) -> float:
        """Count the calls that APNs has accepted, as the bridge knows it."""
        found = await self.metrics(http)
        return found.get('pages_settled_total{kind="ring",outcome="accepted"}', 0.0)


@asynccontextmanager
async def bridge(config: Path, core: int, name: str = "bridge") -> AsyncIterator[Served]:
    """Run `serve` until it is ready."""
    with free_port() as port:
        command = (
            *pinned(core),
            *PROGRAM,
            "serve",
            f"--config.file={config}",
            *(f"--web.listen-address=127.0.0.1:{port}", "--phone.listen-address=127.0.0.1:0"),
            "--log.format=json",
        )
        async with _running(command, config.parent / f"{name}.log") as process:
            await _ready(process, f"http://127.0.0.1:{port}/-/ready")
            yield Served(port, process.pid)


@asynccontextmanager
async def naive(job: Path, port: int, core: int) -> AsyncIterator[Served]:
    """Run the few lines that it is measured beside."""
    command = (*pinned(core), sys.executable, "-m", "bench.clients.naive", str(job))
    async with _running(command, job.with_suffix(".log")) as process:
        await _ready(process, f"http://127.0.0.1:{port}/-/ready")
        yield Served(port, process.pid)


@asynccontextmanager
async def _running(command: Sequence[str], log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def _ready(process: asyncio.subprocess.Process, url: str) -> None:
    """Wait until it answers at all, and until it says that it is ready."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(START):
        while process.returncode is None:
            try:
                async with http.get(url) as response:
                    if response.status in {200, 404}:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)
    raise RuntimeError(f"{url}: it ended by itself, with {process.returncode}")


def storage(folder: Path, name: str) -> str:
    """Give the URL of a new SQLite ledger."""
    if not re.fullmatch(r"[a-z0-9-]+", name):
        raise ValueError(name)
    return f"sqlite:///{folder}/{name}.db"


def apns(port: int, ca_file: Path, key_file: Path, topic: str) -> dict[str, Any]:
    """Give the configuration's part about APNs."""
    return {
        "team_id": "TEAM567890",
        "key_id": "ABCDE12345",
        "key_file": str(key_file),
        "topic": topic,
        "url": f"https://127.0.0.1:{port}",
        "ca_file": str(ca_file),
    }
