"""The sender, with a simulated APNs over HTTP/2, a real webhook target, and a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from builders import receiver, step
from desks import Office, make_settings, office
from ledgers import device, incident, page
from movedclock import MovedClock
from msgspec.structs import replace

from bridge.config import Secret, Settings
from bridge.config.settings import ApnsSettings
from bridge.desk import Desk
from bridge.incidents import Incident, Page
from bridge.outgoing import Outgoing, client
from bridge.policy import Receiver
from bridge.sender import Phones, Sender
from bridge.simulator import Phone, Simulator
from bridge.simulator.agenda import wall_clock
from bridge.store.devices import Device
from bridge.store.tables import calls, devices, incidents, pages
from bridge.wiring import transport

ALICE, BOB = "alice-iphone", "bob-iphone"


class Target:
    """A webhook's server. `answers` are statuses given in order, then 200; `hold` keeps the next ones waiting."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.answers: list[int] = []
        self.hold: asyncio.Event | None = None
        self.came = asyncio.Event()
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.requests.append((request.path, dict(request.headers), await request.json()))
        self.came.set()
        if self.hold is not None:
            await self.hold.wait()
        status = self.answers.pop(0) if self.answers else 200
        return web.Response(status=status, headers={"Location": f"{self.url}/elsewhere"})

    async def has(self, requests: int) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(30):
            while len(self.requests) < requests:
                self.came.clear()
                await self.came.wait()

    @property
    def keys(self) -> list[str]:
        return [headers["Idempotency-Key"] for _, headers, _ in self.requests]


@asynccontextmanager
async def target() -> AsyncIterator[Target]:
    it = Target()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", it.take)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    it.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield it
    finally:
        if it.hold is not None:
            it.hold.set()
        await runner.cleanup()


class World:
    """A sender that does nothing by itself: `send` has it send what is due, and waits until that is settled."""

    def __init__(self, room: Office, sim: Simulator, hook: Target, make: Callable[[], Sender]) -> None:
        self.room = room
        self.sim = sim
        self.hook = hook
        self.clock = room.clock
        self.make = make
        self.sender = make()

    @property
    def desk(self) -> Desk:
        return self.room.desk

    @property
    def alice(self) -> Phone:
        return self.sim.phone("alice")

    @property
    def bob(self) -> Phone:
        return self.sim.phone("bob")

    async def send(self, seconds: float = 0) -> None:
        """Let time pass, then send what is due, and what follows from that, until nothing more is due."""
        self.clock.move(seconds)
        before = None
        while before != (before := await self.room.look.rows(pages)):
            await self.sender.tick()
            await self.sender.drain()

    async def put(self, *new: Page) -> None:
        """Have incidents with these pages."""
        await self.room.store.write(lambda tx: tx.put(new))

    # --- what the ledger says ---

    async def pages(self) -> list[tuple[Any, ...]]:
        """Each page in order: (kind, target, outcome or state, reason)."""
        found = sorted(await self.room.look.rows(pages), key=lambda row: (row["due_at"], row["target"]))
        return [(r["kind"], r["target"], r["outcome"] or r["state"], r["reason"]) for r in found]

    async def page(self, **where: Any) -> dict[str, Any]:
        return await self.room.look.row(pages, **where)

    async def call(self, **where: Any) -> dict[str, Any]:
        return await self.room.look.row(calls, **where)

    async def device(self, name: str) -> dict[str, Any]:
        return await self.room.look.row(devices, name=name)

    async def alarms(self) -> list[str]:
        """The bridge's own alarms that have become incidents."""
        found = await self.room.look.rows(incidents, source="pushkit-bridge")
        return sorted(dict(row["group_values"])["alertname"] for row in found)

    async def incident(self, name: str = "DiskFull") -> dict[str, Any]:
        found = await self.room.look.rows(incidents, source="default")
        (one,) = [row for row in found if dict(row["group_values"])["alertname"] == name]
        return one

    def metric(self, name: str, **labels: str) -> float:
        found = self.desk.metrics.registry.get_sample_value(f"pushkit_bridge_{name}", labels)
        return found or 0


def policy(**fields: Any) -> Receiver:
    """Ring alice; bob five minutes later."""
    steps = (step("platform", **fields), step("second"))
    return receiver(*steps)


def of_the_phone(phone: Phone, name: str, **fields: Any) -> Device:
    tokens = {"voip_token": phone.profile.voip_token, "alert_token": phone.profile.alert_token}
    return device(name, **(tokens | {"topic": phone.profile.bundle_id} | fields))


@asynccontextmanager
async def world(
    folder: Path, *receivers: Receiver, change: Callable[[Device], Device] = lambda one: one, **fields: Any
) -> AsyncIterator[World]:
    """Settings' `fields` as for make_settings; `change` alters each device before the ledger learns of it."""
    clock = MovedClock()
    sim = Simulator(phones=["alice", "bob"], clock=clock.now, receipt_retry=(), renewals=1000)
    async with sim, target() as hook, client() as session:
        clock.on_move.append(sim.tick)
        judge = sim.tokens.check
        # Provider tokens are dated by the real clock, which no test moves.
        sim.tokens.check = lambda authorization, _: judge(authorization, wall_clock())  # type: ignore[method-assign]
        settings = _settings(sim, hook, receivers or (policy(),), fields)
        known = [change(of_the_phone(sim.phone(name), f"{name}-iphone")) for name in ("alice", "bob")]
        apns = transport(settings)
        async with office(folder, settings, known, clock) as room:
            await apns.start()

            def make() -> Sender:
                return Sender(
                    room.desk, lambda: apns, Phones(None, str), Outgoing(session), clock, room.desk.metrics
                )

            found = World(room, sim, hook, make)
            try:
                yield found
            finally:
                await _stop(found, apns.close)


async def _stop(found: World, close: Callable[[float], Awaitable[None]]) -> None:
    for task in list(found.sender._tasks):
        task.cancel()
    await found.sender.drain()
    await close(0)


def _settings(
    sim: Simulator, hook: Target, receivers: tuple[Receiver, ...], fields: dict[str, Any]
) -> Settings:
    apns = ApnsSettings(
        topic=sim.topic,
        team_id=sim.team_id,
        key_id=sim.key_id,
        key=Secret(Path(sim.key_file).read_text()),
        url=sim.url,
        ca_file=Path(sim.ca_file),
    )
    webhooks = {"hook": Secret(f"{hook.url}/s3cret")}
    return make_settings(*receivers, **({"apns": apns, "webhooks": webhooks} | fields))


def lone(target: str = ALICE, *, name: str = "DiskFull", **fields: Any) -> tuple[Incident, Page]:
    """An incident whose timer does nothing for an hour, and its one page."""
    one = incident(name)
    return one, replace(page(one, target), **fields)
