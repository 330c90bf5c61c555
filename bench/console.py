"""What the console costs: the first view of many open incidents, updates, and what webhooks feel of it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

import aiohttp
import yaml

from bridge.rig import Rig, open_rig

ROOT: Final = Path(__file__).parents[1]

_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_BATCH: Final = 50
"""Alerts in one webhook while the incidents are made."""


@dataclass(slots=True)
class Timed:
    """Seconds that something took, again and again; `cpu` is the bridge's processor time meanwhile."""

    seconds: list[float] = field(default_factory=list)
    cpu: float = 0.0

    def at(self, share: float) -> float:
        """Give a percentile, in milliseconds."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(int(len(ordered) * share), len(ordered) - 1)]

    def __str__(self) -> str:
        own = 1000 * self.cpu / len(self.seconds)
        return f"{1000 * median(self.seconds):.0f} ms | {self.at(0.99):.0f} ms | {own:.0f} ms"


@dataclass(slots=True)
class Results:
    """What was measured."""

    incidents: int
    viewers: int
    page: Timed
    size: int
    alone: Timed
    watched: Timed
    hammered: Timed
    update: Timed
    events: float

    def lines(self) -> Iterator[str]:
        """Give the rows of a table."""
        yield "| measured | median | p99 | processor time of the bridge, for each |"
        yield "| --- | ---: | ---: | ---: |"
        yield f"| the first page, {self.size / 1024:.0f} KiB | {self.page} |"
        yield f"| from the webhook's 200 until an open page shows it | {self.update} |"
        yield f"| a webhook, nobody at the console | {self.alone} |"
        yield f"| a webhook, {self.viewers} open pages | {self.watched} |"
        yield f"| the same, and four browsers that reload without a pause | {self.hammered} |"
        yield f"\nWith ten webhooks a second an open page was updated {self.events:.2f} times a second."


async def measure(folder: Path, incidents: int, viewers: int, webhooks: int) -> Results:
    """Start a bridge, make incidents, look at them."""
    async with open_rig(_config(folder), folder) as rig:
        await rig.start_bridge()
        await rig.ready()
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            await _make(rig, http, incidents)
            page, size = await _pages(rig, http)
            alone = await _webhooks(rig, http, webhooks, "alone")
            async with _watched(rig, http, viewers) as streams:
                update = await _updates(rig, http, streams[0])
                before, began = streams[0].events, time.perf_counter()
                watched = await _webhooks(rig, http, webhooks, "watched")
                events = (streams[0].events - before) / (time.perf_counter() - began)
                async with _reloading(rig, http, 4):
                    hammered = await _webhooks(rig, http, webhooks, "hammered")
    return Results(incidents, viewers, page, size, alone, watched, hammered, update, events)


def _config(folder: Path) -> Path:
    """Write a configuration in which nothing rings, so that the console is what is measured."""
    raw = yaml.safe_load((ROOT / "config.example.yaml").read_text())
    # A mute without an end would be none: this one has it in three days.
    ends = datetime.now(UTC) + timedelta(days=3)
    but_one = [day for day in _DAYS if day != _DAYS[ends.weekday()]]
    raw["time_intervals"].append({"name": "long", "time_intervals": [{"weekdays": but_one}]})
    raw["route"]["routes"] = [
        {"matchers": ['severity=~".+"'], "receiver": "platform", "mute_time_intervals": ["long"]}
    ]
    for key in ("apns", "sources", "receivers"):
        raw[key] = json.loads(json.dumps(raw[key]).replace("examples/", f"{ROOT}/examples/"))
    file = folder / "console.yaml"
    file.write_text(yaml.safe_dump(raw))
    return file


def _body(*names: str) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    alerts = [
        {
            "status": "firing",
            "labels": {"alertname": name, "severity": "critical", "instance": "db-1", "team": "db"},
            "annotations": {"summary": f"{name} on db-1", "runbook_url": "https://wiki.example/runbook"},
            "startsAt": now,
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example/graph",
            "fingerprint": f"{abs(hash(name)):016x}",
        }
        for name in names
    ]
    return {"version": "4", "receiver": "phone", "status": "firing", "groupKey": "{}", "alerts": alerts}


async def _post(rig: Rig, http: aiohttp.ClientSession, *names: str) -> float:
    began = time.perf_counter()
    async with http.post(rig.webhook_url, json=_body(*names)) as response:
        response.raise_for_status()
    return time.perf_counter() - began


async def _make(rig: Rig, http: aiohttp.ClientSession, incidents: int) -> None:
    names = [f"Alert{number}" for number in range(incidents)]
    for start in range(0, incidents, _BATCH):
        await _post(rig, http, *names[start : start + _BATCH])


@contextmanager
def _counted(rig: Rig, found: Timed) -> Iterator[Timed]:
    """Count what the bridge's process spends meanwhile: more telling than a clock where others are busy."""
    before = _spent(rig)
    yield found
    found.cpu = _spent(rig) - before


def _spent(rig: Rig) -> float:
    """Give the processor seconds of the bridge so far (proc(5), stat: utime and stime)."""
    fields = Path(f"/proc/{rig.running['bridge'].process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _pages(rig: Rig, http: aiohttp.ClientSession) -> tuple[Timed, int]:
    """Look at the first page again and again; gives its size too."""
    size = 0
    with _counted(rig, Timed()) as found:
        for _ in range(30):
            began = time.perf_counter()
            async with http.get(rig.bridge_url + "/") as response:
                size = len(await response.read())
            found.seconds.append(time.perf_counter() - began)
    return found, size


async def _webhooks(rig: Rig, http: aiohttp.ClientSession, count: int, kind: str) -> Timed:
    """Send webhooks with news, ten a second, as a busy Alertmanager does."""
    with _counted(rig, Timed()) as found:
        for number in range(count):
            found.seconds.append(await _post(rig, http, f"{kind}{number}"))
            await asyncio.sleep(max(0.1 - found.seconds[-1], 0))
    return found


@dataclass(slots=True)
class _Stream:
    """An open page: what it was told."""

    events: int = 0
    headline: str = ""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, rig: Rig, http: aiohttp.ClientSession) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        async with http.get(rig.bridge_url + "/live", timeout=timeout, read_bufsize=1 << 20) as response:
            kind = ""
            async for line in response.content:
                text = line.decode().strip()
                if text.startswith("event: "):
                    kind = text.removeprefix("event: ")
                elif text.startswith("data: ") and kind == "headline" and "<h1" in text:
                    self.headline = text
                    self.events += 1
                    self.news.set()


@asynccontextmanager
async def _watched(rig: Rig, http: aiohttp.ClientSession, count: int) -> AsyncIterator[list[_Stream]]:
    streams = [_Stream() for _ in range(count)]
    tasks = [asyncio.create_task(stream.read(rig, http)) for stream in streams]
    await asyncio.gather(*(stream.news.wait() for stream in streams))
    yield streams
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@asynccontextmanager
async def _reloading(rig: Rig, http: aiohttp.ClientSession, count: int) -> AsyncIterator[None]:
    async def reload() -> None:
        while True:
            async with http.get(rig.bridge_url + "/") as response:
                await response.read()

    tasks = [asyncio.create_task(reload()) for _ in range(count)]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def _updates(rig: Rig, http: aiohttp.ClientSession, stream: _Stream) -> Timed:
    with _counted(rig, Timed()) as found:
        for number in range(20):
            await asyncio.sleep(1.5)
            stream.news.clear()
            await _post(rig, http, f"update{number}")
            began = time.perf_counter()
            await stream.news.wait()
            found.seconds.append(time.perf_counter() - began)
    return found
