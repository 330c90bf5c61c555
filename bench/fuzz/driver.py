"""Sends what hostile.py makes to a bridge, and odd requests to each path of both listeners."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import yaml
from yarl import URL

from bench.fuzz import hostile
from bridge.simulator import Simulator
from bridge.telemetry import configure_logs

ROOT: Final = Path(__file__).parents[2]
_TEXTS: Final = (
    "",
    "x",
    "\x00",
    "é",
    "\u202e",
    "../..",
    "a/b",
    "%",
    "1" * 300,
    "-1",
    "null",
    "alice",
    "0001-01-01T00:00:00Z",
)
_METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "NONE")
_PATHS: Final = {
    "web": (
        *(
            "/webhook",
            "/webhook/X",
            "/api/v1/incidents",
            "/api/v1/incidents/X",
            "/api/v1/incidents/X/acknowledge",
        ),
        *(
            "/api/v1/devices",
            "/api/v1/devices/X",
            "/api/v1/enrolments",
            "/api/v1/oncall",
            "/api/v1/overrides",
        ),
        *(
            "/api/v1/overrides/X",
            "/api/v1/heartbeats",
            "/api/v1/tests",
            "/metrics",
            "/-/ready",
            "/X",
            "/api/v1/X",
        ),
    ),
    "phone": (
        *("/api/v1/enrol", "/api/v1/device", "/api/v1/device/tokens", "/api/v1/device/tokens/X"),
        *(
            "/api/v1/incidents",
            "/api/v1/incidents/X",
            "/api/v1/incidents/X/acknowledge",
            "/api/v1/incidents/X/silence",
        ),
        *("/api/v1/incidents/X/notes", "/api/v1/calls/X", "/api/v1/calls/X/receipts", "/X"),
    ),
}
_QUERIES: Final = (
    "limit",
    "all",
    "by",
    "owner",
    "device",
    "at",
    "state",
    "before",
    "since",
    "schedule",
    "person",
)
_BODIES: Final = (
    "code",
    "name",
    "event_id",
    "seconds",
    "text",
    "receipt",
    "at",
    "voip_token",
    "error_code",
    "environment",
)


@dataclass
class Found:
    """What was tried and what came of it: answers by status, the longest step of the loop in ms."""

    tried: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    longest: dict[str, float] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


async def fuzz(count: int, seed: int, tell: Callable[[str], None]) -> Found:
    """Try the largest bodies once, and `count` random webhooks and requests of either listener."""
    configure_logs("error", "json")  # of the simulator, which runs here
    dice, found = random.Random(seed), Found()
    async with _bridge() as (urls, ask), aiohttp.ClientSession() as session:
        bodies = hostile.small(dice)
        for _ in range(count):
            await _send(session, found, "random webhooks", "POST", f"{urls['web']}/webhook", next(bodies))
        await _measured(found, "random webhooks", ask, tell)
        for listener in _PATHS:
            for _ in range(count):
                await _send(
                    session,
                    found,
                    f"requests to the {listener} listener",
                    *_request(dice, listener, urls[listener]),
                )
            await _measured(found, f"requests to the {listener} listener", ask, tell)
        for name, data in hostile.large():
            await _send(session, found, "large webhooks", "POST", f"{urls['web']}/webhook", data)
            await _measured(found, f"a webhook: {name}", ask, tell)
    return found


async def _send(
    session: aiohttp.ClientSession, found: Found, kind: str, method: str, url: str, data: bytes
) -> None:
    found.tried[kind] += 1
    headers = {"Content-Type": "application/json"}
    try:
        async with session.request(
            method, URL(url, encoded=True), data=data, headers=headers, allow_redirects=False
        ) as response:
            found.statuses[response.status] += 1
            if response.status == 500:
                found.wrong.append(f"{method} {url[:200]} {data[:300]!r}: {(await response.read())[:200]!r}")
    except aiohttp.ClientError as error:
        found.statuses[0] += 1
        if not isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError):
            found.wrong.append(f"{method} {url[:200]} {data[:300]!r}: {error!r}")


async def _measured(found: Found, kind: str, ask: Callable[[], Any], tell: Callable[[str], None]) -> None:
    said = await ask()
    where, longest = max(said["longest"].items(), key=lambda item: item[1], default=("", 0.0))
    found.longest[kind], found.where[kind] = longest * 1000, where
    tell(f"{kind}: {longest * 1000:.0f} ms {where}")


def _request(dice: random.Random, listener: str, base: str) -> tuple[str, str, bytes]:
    path = dice.choice(_PATHS[listener]).replace(
        "X", quote(dice.choice(_TEXTS), safe=dice.choice(("", "/%"))) or "%00"
    )
    query = "&".join(
        f"{dice.choice(_QUERIES)}={quote(dice.choice(_TEXTS))}" for _ in range(dice.randrange(3))
    )
    fields = {dice.choice(_BODIES): hostile.odd(dice) for _ in range(dice.randrange(4))}
    data = json.dumps(fields).encode() if dice.random() < 0.8 else dice.randbytes(dice.randrange(50))
    return dice.choice(_METHODS), f"{base}{path}?{query}", data


@asynccontextmanager
async def _bridge() -> AsyncIterator[tuple[dict[str, str], Callable[[], Any]]]:
    """Run a bridge beside a simulator; gives its URLs, and how to ask for its steps."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with Simulator(phones=["alice"], state_dir=folder / "simulator") as simulator:
            (folder / "config.yaml").write_text(yaml.safe_dump(_config(simulator)))
            with (folder / "log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "bench.fuzz.served", name),
                    cwd=ROOT,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                )
            assert process.stdout is not None
            out = process.stdout

            async def ask() -> Any:
                process.send_signal(signal.SIGUSR1)
                return json.loads(await out.readline())

            try:
                yield json.loads(await out.readline()), ask
            finally:
                process.terminate()
                await process.wait()


def _config(simulator: Simulator) -> dict[str, Any]:
    phone = simulator.phone("alice").profile
    return {
        "apns": {
            "topic": simulator.topic,
            "team_id": simulator.team_id,
            "key_id": simulator.key_id,
            "url": simulator.url,
            "ca_file": simulator.ca_file,
            "key_file": simulator.key_file,
        },
        "people": [{"name": "alice"}],
        "devices": [{"name": "alice-iphone", "owner": "alice", "voip_token": phone.voip_token}],
        "device_groups": [{"name": "platform", "owners": ["alice"]}],
        "receivers": [{"name": "platform", "escalation": [{"device_groups": ["platform"]}]}],
        "route": {"receiver": "platform"},
        "templates": {
            "reason": "{% for i in incidents %}{{ i.title }} {{ i.labels | dictsort }}{% endfor %}"
        },
    }
