"""All that runs: bridges, their ledger, Alertmanagers, APNs, phones, and a proxy on each way between them."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import yaml

from bench.chaos.alerts import TEAMS, Feed
from bench.chaos.ledger import Ledger
from bench.chaos.proxy import Proxy
from bench.chaos.replicas import Replica, shifter
from bench.pgserver import Server
from bridge.rig import Rig, open_rig

ROOT: Final = Path(__file__).parents[2]
Kind: TypeAlias = Literal["postgresql", "sqlite"]
OWNERS: Final = {"alice": "db", "bob": "web", "carol": "mail", "dave": "batch"}
PHONES: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    ("alice-iphone", "alice", {}),
    ("alice-ipad", "alice", {"behaviour": "slow", "delay": 0.3}),
    ("bob-iphone", "bob", {"auto_answer": 0.5}),
    ("carol-iphone", "carol", {"behaviour": "slow", "delay": 0.5, "auto_answer": 1.5}),
    ("dave-iphone", "dave", {"auto_answer": 2.0}),
)
_DISK: Final = 256 << 20
"""Octets of the disk under SQLite: more than the ledger of some hours."""

_EARLIER: Final = 60.0
"""Seconds by which a bridge's clock may be behind ours."""


@dataclass(frozen=True)
class Span:
    """A fault, and when it was, in Unix seconds."""

    name: str
    began: float
    ended: float


class World:
    """What a fault can reach. `spans` are the faults that have been.

    `memory` is that of the biggest bridge, in MiB, about once a second.
    """

    def __init__(self, kind: Kind, rig: Rig, dice: random.Random) -> None:
        self.kind = kind
        self.rig = rig
        self.dice = dice
        self.notes: Counter[str] = Counter()
        self.spans: list[Span] = []
        self.memory: list[float] = []
        self.replicas: list[Replica] = []
        self.to_ledger: list[Proxy] = []
        self.to_apns: list[Proxy] = []
        self.to_bridges: list[Proxy] = []
        """One for each Alertmanager, and one for the senders of our own."""
        self.to_phones: Proxy
        self.feed: Feed
        self.ledger: Ledger
        self.server: Server | None = None
        self.disk: Path | None = None
        self.server_lock, self.answers_lock, self.disk_lock = asyncio.Lock(), asyncio.Lock(), asyncio.Lock()

    @contextmanager
    def struck(self, name: str) -> Iterator[None]:
        """Note that a fault is in force."""
        began = time.time()
        try:
            yield
        finally:
            span = Span(name, began, time.time())
            self.spans.append(span)
            with (self.rig.folder / "faults.log").open("a") as file:
                file.write(f"{_clock(began)} to {_clock(span.ended)} {name}\n")

    async def watch(self) -> None:
        """Tell alerts that the ledger has them, and look how big the bridges are, until cancelled."""
        while True:
            sizes = [replica.memory() for replica in self.replicas]
            self.memory.append(max(size or 0.0 for size in sizes))
            awaited = [alert for alert in self.feed.alerts if alert.fired_at and not alert.in_ledger.is_set()]
            if awaited:
                with suppress(Exception):  # PostgreSQL may be away
                    since = min(alert.fired_at for alert in awaited) - _EARLIER
                    known = await self.ledger.names(datetime.fromtimestamp(since, UTC))
                    for alert in awaited:
                        if alert.name in known:
                            alert.in_ledger.set()
            await asyncio.sleep(1.0)


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%T.%f")[:-5]


@asynccontextmanager
async def open_world(kind: Kind, folder: Path, rate: float, dice: random.Random) -> AsyncIterator[World]:
    """Start everything; raises what cannot be started."""
    draft = _draft(folder)
    async with AsyncExitStack() as stack:
        rig = await stack.enter_async_context(open_rig(draft, folder))
        world = World(kind, rig, dice)
        _storage(world, stack)
        await _bridges(world, stack)
        for replica in world.replicas:
            await replica.ready()
        await _phones(world)
        await _alertmanagers(world, stack, rate)
        yield world


def _draft(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "draft.yaml"
    file.write_text(yaml.safe_dump(_config()))
    return file


def _config() -> dict[str, Any]:
    names = list(OWNERS)
    ring = {"every": "4s", "for": "3s", "times": 2}
    return {
        "apns": {"topic": "com.example.oncall", "team_id": "DEM0TEAM01", "key_id": "DEM0KEY001",
                 "key_file": str(ROOT / "examples/AuthKey_DEM0KEY001.p8")},
        "people": [{"name": name} for name in names],
        "device_groups": [{"name": name, "owners": [name]} for name in names],
        "receivers": [
            {
                "name": name,
                "receipt_timeout": "2s",
                "repeat": 1,
                "escalation": [
                    {"device_groups": [name], "ring": ring},
                    {"device_groups": [names[(number + 1) % len(names)]], "ring": ring},
                ],
            }
            for number, name in enumerate(names)
        ],
        "route": {
            "receiver": "bob",
            "group_by": ["alertname", "team"],
            "routes": [{"matchers": [f'team="{team}"'], "receiver": name} for name, team in OWNERS.items()],
        },
        "quiet_gap": "0s",
        # Where Alertmanager never heard our 200, it tells no end either.
        "alert_ttl": "150s",
    }  # fmt: skip


# --- the ledger -------------------------------------------------------------------------------


def _storage(world: World, stack: AsyncExitStack) -> None:
    if world.kind == "postgresql":
        # A commit is on the disk: the server is killed too, though the machine is not.
        server = world.server = Server(synchronous_commit="on", full_page_writes="on", autovacuum="on")
        stack.callback(server.close)
        server.start()
        server.execute("CREATE DATABASE bridge")
        world.ledger = Ledger(f"postgresql+asyncpg://postgres@127.0.0.1:{server.port}/bridge")
        return
    place = world.rig.folder / "disk"
    place.mkdir()
    if mounted(place):
        stack.callback(lambda: subprocess.run(["umount", str(place)], check=True))
        world.disk = place
    world.ledger = Ledger(f"sqlite+aiosqlite:///file:{place / 'bridge.db'}?mode=ro&uri=true")


def mounted(place: Path) -> bool:
    """Put a small disk there, where we may."""
    if os.getuid() != 0:
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", str(place)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


# --- the bridges ------------------------------------------------------------------------------


async def _bridges(world: World, stack: AsyncExitStack) -> None:
    rig, count = world.rig, 3 if world.kind == "postgresql" else 1
    library = shifter(rig.folder)
    apns = rig.simulator.url.removeprefix("https://")
    addresses = [(rig.address(), rig.address()) for _ in range(count)]
    world.to_phones = await stack.enter_async_context(Proxy([phone for _, phone in addresses]))
    for number, (web, phone) in enumerate(addresses):
        to_apns = await stack.enter_async_context(Proxy([apns]))
        world.to_apns.append(to_apns)
        config = yaml.safe_load(rig.config.read_text())
        config["apns"]["url"] = f"https://{to_apns.address}"
        config["storage"] = {"url": await _ledger_url(world, stack)}
        file = rig.folder / f"bridge-{number}.yaml"
        file.write_text(yaml.safe_dump(config))
        replica = Replica(
            rig, number, config=file, web=web, phone=phone,
            phones=world.to_phones.url, library=library, lone=world.server is None, notes=world.notes,
        )  # fmt: skip
        world.replicas.append(replica)
        stack.push_async_callback(replica.end)
        replica.begin()
    for _ in range(3):
        world.to_bridges.append(await stack.enter_async_context(Proxy([web for web, _ in addresses])))
    rig.bridge_url = world.to_bridges[2].url


async def _ledger_url(world: World, stack: AsyncExitStack) -> str:
    if world.server is None:
        return f"sqlite:///{world.rig.folder / 'disk/bridge.db'}"
    proxy = await stack.enter_async_context(Proxy([f"127.0.0.1:{world.server.port}"]))
    world.to_ledger.append(proxy)
    return f"postgresql://postgres@{proxy.address}/bridge"


# --- phones and Alertmanagers -----------------------------------------------------------------


async def _phones(world: World) -> None:
    for name, owner, profile in PHONES:
        phone, _ = await world.rig.enrol(owner, name)
        for key, value in profile.items():
            setattr(phone.profile, key, value)


async def _alertmanagers(world: World, stack: AsyncExitStack, rate: float) -> None:
    rig = world.rig
    gossip = [rig.address() for _ in range(2)]
    urls = []
    for number in range(2):
        started = await rig.start_alertmanager(
            _alertmanager(world.to_bridges[number].url),
            *(f"--cluster.listen-address={gossip[number]}", f"--cluster.peer={gossip[1 - number]}"),
            *(
                "--cluster.peer-timeout=200ms",
                "--cluster.gossip-interval=50ms",
                "--cluster.settle-timeout=2s",
            ),
            name=f"alertmanager-{number}",
        )
        urls.append(started.url)
    await rig.ready()
    world.feed = Feed(
        urls, lambda: f"{world.to_bridges[2].url}/webhook", rate, random.Random(world.dice.random())
    )
    stack.push_async_callback(world.feed.close)


def _alertmanager(bridge: str) -> str:
    return yaml.safe_dump(
        {
            "global": {"resolve_timeout": "1d"},
            "route": {"receiver": "phone", "group_by": ["alertname", "team"],
                      "group_wait": "0s", "group_interval": "1s"},
            "receivers": [{"name": "phone", "webhook_configs": [{"url": f"{bridge}/webhook"}]}],
        }
    )  # fmt: skip


assert sorted(TEAMS) == sorted(OWNERS.values())
