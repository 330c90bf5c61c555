"""A desk without the rest of the bridge: settings as values, a ledger, and a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from builders import make_alert, notification, receiver
from ledgers import Look, Sqlite, Transactions, device, opened, sync
from movedclock import MovedClock
from words import held_to_its_words

from bridge.config import Settings
from bridge.config.settings import ApnsSettings, StorageSettings
from bridge.desk import Desk
from bridge.incidents import Change
from bridge.oncall import DeviceGroup
from bridge.policy import Receiver
from bridge.routing import Route
from bridge.store import Store
from bridge.store.devices import Device
from bridge.telemetry import Metrics

GROUPS = {
    name: DeviceGroup(name, owners)
    for name, owners in {"platform": ("alice",), "second": ("bob",), "nobody": ()}.items()
}


def make_settings(*receivers: Receiver, **fields: Any) -> Settings:
    """Everything goes to the first receiver, by default platform; alice and bob are in a group each."""
    policies = receivers or (receiver(),)
    known: dict[str, Any] = {
        "path": Path("config.yaml"),
        "apns": ApnsSettings(topic="com.example.oncall"),
        "storage": StorageSettings("sqlite:////nowhere"),
        "alert_ttl": timedelta(hours=25),
        "refire_quiet": timedelta(minutes=5),
        "quiet_gap": timedelta(seconds=30),
        "max_body_size": 2**20,
        "sources": {},
        "people": ("alice", "bob"),
        "devices": {},
        "groups": GROUPS,
        "receivers": {policy.name: policy for policy in policies},
        "webhooks": {},
        "route": Route(policies[0].name),
        "time_intervals": {},
    }
    return Settings(**(known | fields))


class Office:
    """A desk, and what stands around it."""

    def __init__(self, desk: Desk, clock: MovedClock, look: Look) -> None:
        self.desk = desk
        self.clock = clock
        self.look = look
        self.transactions = Transactions(desk.store)

    @property
    def store(self) -> Store:
        return self.desk.store

    async def fire(self, *names: str) -> tuple[Change, ...]:
        """Take in one notification with an alert of each name."""
        return await self.desk.receive(notification(*(make_alert(name) for name in names)))

    async def resolve(self, *names: str) -> tuple[Change, ...]:
        alerts = (make_alert(name, firing=False, ends_at=self.clock.now()) for name in names)
        return await self.desk.receive(notification(*alerts))


@asynccontextmanager
async def office(
    folder: Path,
    settings: Settings | None = None,
    devices: Iterable[Device] = (),
    clock: MovedClock | None = None,
) -> AsyncIterator[Office]:
    """Open a ledger with these devices; where none are named, alice and bob have a phone each."""
    clock = clock or MovedClock()
    backend = Sqlite(folder)
    async with opened(backend, clock.now) as store:
        known = list(devices) or [device("alice-iphone"), device("bob-iphone")]
        await sync(store, *known)
        beside = backend.engine()
        try:
            with held_to_its_words(store):
                yield Office(Desk(store, settings or make_settings(), clock, Metrics()), clock, Look(beside))
        finally:
            await beside.dispose()


@asynccontextmanager
async def running(loop: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run a loop of the bridge beside the test."""
    task = asyncio.create_task(loop)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
