"""A whole bridge in the process, with a simulated APNs, two phones, and a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
import yaml
from builders import NOW
from ledgers import one_statement_each
from movedclock import MovedClock

from bridge.alerts import fingerprint
from bridge.app import Bridge, Options
from bridge.simulator import Phone, Simulator
from bridge.simulator.agenda import wall_clock
from bridge.simulator.membership import read_link
from bridge.store import outbox, queries, silences

ROOT = Path(__file__).parents[2]
PAYLOADS = ROOT / "tests/payloads"


async def until(
    reached: Callable[[], bool | Awaitable[bool]], what: str = "it did not come to pass", seconds: float = 30
) -> None:
    """Wait for a condition that has no event of its own."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = reached()
                if await found if isinstance(found, Awaitable) else found:
                    return
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(what) from None


def _port_to_keep() -> int:
    """A free port that a bridge finds free again after a restart: below those that the system gives out."""
    while True:
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", random.randrange(12_000, 32_000)))
            port: int = one.getsockname()[1]
            return port


class Answer:
    """What a listener answered: status, headers, and the body as it came."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"].startswith("application/json"), self.body
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class World:
    """Use it as an async context manager: it starts APNs and the phones; `start` starts the bridge.

    `config` is the configuration's content, to be changed before `start` or `reload`; `options`
    are those of `bridge.app.Options`.
    """

    def __init__(self, folder: Path, begins: datetime = NOW, ledger: str | None = None) -> None:
        self.folder = folder
        self.ledger = ledger or f"sqlite:///{folder}/bridge.db"
        self.clock = MovedClock(begins)
        # An authority that no test needs: to read all of the system's takes half of a short story's time.
        ca_file = str(ROOT / "examples/simulator-ca.pem")
        self.sim = Simulator(
            phones=["alice", "bob"], clock=self.clock.now, receipt_retry=(), receipt_ca_file=ca_file
        )
        self.config_file = folder / "config.yaml"
        self.config: dict[str, Any] = {}
        self.options: dict[str, Any] = {}
        self.phone_listen = f"127.0.0.1:{_port_to_keep()}"
        self.http: aiohttp.ClientSession
        self._stack = AsyncExitStack()
        self._running: Bridge | None = None

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.sim)
        self.clock.on_move.append(self.sim.tick)
        judge = self.sim.tokens.check
        # Provider tokens are dated by the real clock, which no test moves.
        self.sim.tokens.check = lambda authorization, _: judge(authorization, wall_clock())  # type: ignore[method-assign]
        self.http = await self._stack.enter_async_context(aiohttp.ClientSession())
        self._stack.push_async_callback(self.stop)
        self.config = self._config()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    # --- the bridge's life ---

    @property
    def bridge(self) -> Bridge:
        assert self._running is not None, "the bridge does not run"
        return self._running

    async def start(self) -> Bridge:
        self.write()
        bridge = Bridge(self._options(), clock=self.clock)
        await bridge.__aenter__()
        one_statement_each(bridge.store)
        self._running = bridge
        return bridge

    async def stop(self) -> None:
        if self._running is not None:
            bridge, self._running = self._running, None
            await bridge.__aexit__(None, None, None)

    async def restart(self) -> Bridge:
        await self.stop()
        return await self.start()

    async def reload(self) -> Answer:
        """Write the configuration as it is now, and ask the bridge to take it."""
        self.write()
        return await self.post("/-/reload")

    @property
    def file(self) -> Path:
        """The ledger's file, for a test that is about SQLite; on another ledger it is skipped."""
        if not self.ledger.startswith("sqlite"):
            pytest.skip("it is about SQLite's file")
        return Path(self.ledger.removeprefix("sqlite:///"))

    def write(self) -> None:
        self.config_file.write_text(yaml.safe_dump(self.config, sort_keys=False))

    def _options(self) -> Options:
        free = {"web_listen": ("127.0.0.1:0",), "phone_listen": self.phone_listen}
        return Options(config_file=self.config_file, **(free | self.options))

    def _config(self) -> dict[str, Any]:
        sim = self.sim
        return {
            "apns": {
                "team_id": sim.team_id,
                "key_id": sim.key_id,
                "key_file": sim.key_file,
                "topic": sim.topic,
                "url": sim.url,
                "ca_file": sim.ca_file,
            },
            "storage": {"url": self.ledger},
            "people": [{"name": "alice"}, {"name": "bob"}],
            "devices": [self.device("alice"), self.device("bob")],
            "device_groups": [
                {"name": "platform", "owners": ["alice"]},
                {"name": "second", "owners": ["bob"]},
            ],
            "receivers": [{"name": "platform", "escalation": [self.step("platform"), self.step("second")]}],
            "route": {"receiver": "platform", "group_by": ["alertname"]},
        }

    def device(self, name: str) -> dict[str, Any]:
        """The configuration's device for a phone of the simulator."""
        profile = self.sim.phone(name).profile
        tokens = {"voip_token": profile.voip_token, "alert_token": profile.alert_token}
        return {"name": f"{name}-iphone", "owner": name} | tokens

    def step(self, *groups: str, **fields: Any) -> dict[str, Any]:
        ring = {"every": "45s", "times": 4, "for": "30s"}
        return {"device_groups": list(groups), "ring": ring, "then_after": "5m"} | fields

    async def enrol(self, *names: str, **query: str) -> None:
        """Let phones enrol, each for the person that its name begins with: "alice" as alice-iphone."""
        for name in names:
            owner, _, kind = name.partition("-")
            made = await self.post("/api/v1/enrolments", params={"owner": owner} | query)
            assert made.status == 201, made.body
            url, code = read_link(made.json["link"])
            await self.sim.phone(name).enrol(url, code, name=f"{owner}-{kind or 'iphone'}", again=0.01)

    # --- time ---

    @property
    def loops(self) -> int:
        """How many tasks of the bridge wait for the clock."""
        loops = 5 + bool(self.options.get("heartbeat_url")) + bool(self.bridge.feeds.kept)
        return loops + 2 * bool(self.bridge.settings.alertmanagers)

    async def settled(self) -> None:
        """Come back when the bridge and the phones have nothing to do before time passes."""
        async with asyncio.timeout(30):
            while True:
                await self.clock.asleep(self.loops)
                receipts = (task for phone in self.sim.phones for task in phone._outgoing._tasks)
                busy = [*self.bridge.sender._tasks, *receipts]
                if not busy:
                    return
                await asyncio.wait(busy, return_when=asyncio.FIRST_COMPLETED)

    async def pass_(self, seconds: float) -> None:
        """Let time pass, from one thing that is due to the next."""
        end = self.clock.now() + timedelta(seconds=seconds)
        await self.settled()
        while (now := self.clock.now()) < end:
            next_ = min(await self._next(now), end)
            self.clock.move((next_ - now).total_seconds())
            await self.settled()

    async def _next(self, now: datetime) -> datetime:
        store = self.bridge.store
        questions = (queries.next_decision, outbox.next_due, silences.next_due)
        due = [await store.read(question) for question in questions]
        if any(at is not None and at <= now for at in due):
            return now + timedelta(seconds=1)  # a page waits for its phone: the sender's poll finds it
        due += [entry.due for entry in self.sim.agenda._entries[:1]]
        due += [self.bridge.watcher.looks_at, self.bridge.driller.looks_at]
        due += [kept.due for kept in self.bridge.upstream.reconciler.kept.values()]
        later = [at for at in due if at is not None and at > now]
        return min(later, default=datetime.max.replace(tzinfo=now.tzinfo))

    @property
    def elapsed(self) -> float:
        """Seconds since the story began."""
        return (self.clock.now() - NOW).total_seconds()

    # --- Alertmanager's part ---

    def alert(self, name: str = "DiskFull", *, resolved: bool = False, **labels: str) -> dict[str, Any]:
        """An alert as Alertmanager sends it, that began a minute before the story."""
        full = {"alertname": name, "severity": "critical"} | labels
        return {
            "status": "resolved" if resolved else "firing",
            "labels": full,
            "annotations": {"summary": f"{name} happened"},
            "startsAt": (NOW - timedelta(minutes=1)).isoformat(),
            "endsAt": self.clock.now().isoformat() if resolved else "0001-01-01T00:00:00Z",
            "generatorURL": "http://prom.example/graph",
            "fingerprint": fingerprint(full),
        }

    def message(self, *alerts: dict[str, Any], **fields: Any) -> bytes:
        """A webhook body with these alerts."""
        firing = any(alert["status"] == "firing" for alert in alerts)
        return json.dumps(
            {
                "receiver": "phone",
                "status": "firing" if firing else "resolved",
                "alerts": list(alerts),
                "groupLabels": {},
                "commonLabels": {},
                "commonAnnotations": {},
                "externalURL": "http://am.example:9093",
                "version": "4",
                "groupKey": "{}:{}",
                "truncatedAlerts": 0,
            }
            | fields
        ).encode()

    async def webhook(self, *alerts: dict[str, Any], **fields: Any) -> Answer:
        """Send a notification, and let the bridge do at once what is to be done."""
        answer = await self.post("/webhook", self.message(*alerts, **fields))
        assert answer.status == 200, answer.body
        await self.settled()
        return answer

    # --- asking ---

    @property
    def url(self) -> str:
        return self.bridge.bound.web[0]

    async def ask(self, method: str, url: str, body: Any = None, **options: Any) -> Answer:
        async with self.http.request(method, url, data=body, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.ask("GET", self.url + path, **options)

    async def post(self, path: str, body: Any = None, **options: Any) -> Answer:
        return await self.ask("POST", self.url + path, body, **options)

    async def incidents(self, *, closed: bool = False) -> list[dict[str, Any]]:
        """What `incidents list` shows, the oldest first."""
        found = (await self.get(f"/api/v1/incidents?all={'true' if closed else 'false'}")).json
        return list(reversed(found["incidents"]))

    async def incident(self) -> dict[str, Any]:
        """The whole story of the one incident that there is, beside the alarm that nobody answered it."""
        found = await self.incidents(closed=True)
        (one,) = [one for one in found if one["title"] != "PushkitBridgeIncidentUnanswered"]
        return (await self.get(f"/api/v1/incidents/{one['id']}")).json

    async def timeline(self) -> list[str]:
        return [event["kind"] for event in (await self.incident())["timeline"]]

    def metric(self, name: str, **labels: str) -> float:
        """A metric's value as it is counted now; 0 before its first count. Gauges: ask `/metrics` before."""
        return self.bridge.metrics.registry.get_sample_value(f"pushkit_bridge_{name}", labels) or 0

    def secrets(self) -> list[str]:
        """All that must be in no log, no metric and no error: tokens of phones and calls, keys, credentials."""
        found = [Path(self.sim.key_file).read_text().splitlines()[1]]
        for phone in self.sim.phones:
            found += [phone.profile.voip_token, phone.profile.alert_token]
            for push in phone.pushes.items:
                found.append(push.payload["call"].get("receipt_token", ""))
        if self.bridge.transport.token is not None:
            found.append(self.bridge.transport.token[0].partition(" ")[2])
        return [secret for secret in found if secret]

    # --- phones ---

    @property
    def alice(self) -> Phone:
        return self.sim.phone("alice")

    @property
    def bob(self) -> Phone:
        return self.sim.phone("bob")

    def rings(self, name: str = "alice") -> list[float]:
        """When a phone rang: seconds since the story began."""
        return [(call.history[0][0] - NOW).total_seconds() for call in self.sim.phone(name).calls.items]

    def fates(self, name: str = "alice") -> list[str]:
        """What became of each push on a phone."""
        return [push.fate for push in self.sim.phone(name).pushes.items]


@contextmanager
def without(world: World, table: str) -> Iterator[None]:
    """Take a table of the ledger away, so that whoever needs it fails."""
    with sqlite3.connect(world.file) as other:
        other.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
        other.commit()
        yield
        other.execute(f"ALTER TABLE {table}_away RENAME TO {table}")
    other.close()
