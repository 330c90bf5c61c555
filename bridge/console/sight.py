"""What the pages show, gathered from the ledger and from the parts of the bridge; each look is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge.desk import Desk
from bridge.feeds import Feeds
from bridge.oncall import OnCall, Roster
from bridge.store import board as ledger
from bridge.store import enrolment, heartbeats, overrides, queries, rows
from bridge.views import board, duty, phones
from bridge.views.board import Listed, Row, Sign

PAGE: Final = 50
"""Incidents on one page."""

_AT_ONCE: Final = 2
"""Looks at once: the rest of the ledger's connections for reading are the loops'."""

_RECEIVERS: Final = 50


@dataclass(frozen=True, slots=True)
class Apple:
    """How the way to Apple is; `misconfigured` and `error` in words."""

    usable: bool
    misconfigured: str | None
    error: str | None


class Sight:
    """Looks for the console. `unready` and `apple` are asked about the bridge itself."""

    def __init__(
        self,
        desk: Desk,
        feeds: Feeds,
        unready: Callable[[], Awaitable[list[str]]],
        apple: Callable[[], Apple],
    ) -> None:
        self._desk = desk
        self._feeds = feeds
        self._unready = unready
        self._apple = apple
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def now(self, page: int) -> dict[str, Any]:
        """The first page: what rings, who is on call, how the bridge is. `page` counts from 1."""
        async with self._room:
            return await self._now(page)

    async def _now(self, page: int) -> dict[str, Any]:
        now, reasons = self._desk.clock.now(), await self._unready()

        async def query(connection: AsyncConnection) -> dict[str, Any]:
            stats = await queries.stats(connection, now)
            counts = await ledger.counts(connection)
            found = await ledger.listed(connection, "open", (page - 1) * PAGE, PAGE + 1)
            on_call = await self._on_call(connection, now)
            devices = await enrolment.list_devices(connection)
            beats = await heartbeats.load(connection)
            listed = [self._row(one, on_call, now) for one in found[:PAGE]]
            wanted = {name: beats.get(name) for name in self._desk.settings.heartbeats}
            return {
                "now": now,
                "counts": counts,
                "headline": board.headline(counts),
                "rows": listed,
                "page": page,
                "more": len(found) > PAGE,
                "signs": [
                    self._apple_sign(),
                    board.ledger(reasons, stats.overdue),
                    self._phones_sign(devices, now),
                    board.heartbeats(wanted, now),
                    *board.calendars(self._calendars()),
                ],
                "news": board.news(listed, counts),
                **self._duty(on_call, now),
            }

        return await self._desk.store.read(query)

    def _row(self, listed: Listed, on_call: OnCall, now: datetime) -> Row:
        return board.row(listed, self._desk.settings.policy_of(listed.incident.slot), on_call, now)

    async def _on_call(self, connection: AsyncConnection, at: datetime) -> OnCall:
        devices = await enrolment.list_devices(connection)
        written = await overrides.by_schedule(connection, at)
        return self._desk.settings.on_call(Roster(tuple(map(rows.phone, devices)), written))

    def _duty(self, on_call: OnCall, now: datetime) -> dict[str, Any]:
        receivers = list(self._desk.settings.receivers.values())[:_RECEIVERS]
        return {
            "duties": [duty.duty(schedule, now) for schedule in on_call.schedules.values()],
            "receivers": [
                {"name": receiver.name, "stages": duty.stages(receiver, on_call, now)}
                for receiver in receivers
            ],
        }

    # --- how the bridge is ---

    def _apple_sign(self) -> Sign:
        found = self._apple()
        return board.apple(found.usable, found.misconfigured, found.error)

    def _phones_sign(self, devices: Any, now: datetime) -> Sign:
        tally = phones.tally([phones.card(self._facts(row), now) for row in devices])
        return board.phones(tally["yes"], tally["doubtful"], tally["no"])

    def _calendars(self) -> Mapping[str, str | None]:
        return {name: kept.problem for name, kept in self._feeds.kept.items()}

    def _facts(self, row: RowMapping) -> phones.Facts:
        people = self._desk.settings.people
        return phones.Facts(
            name=row["name"],
            owner=row["owner"],
            enrolled=row["enrolled"],
            usable=enrolment.usable(row, "voip"),
            doubtful=enrolment.doubtful(row),
            known=row["owner"] in people,
            troubles=enrolment.troubles(row, people),
            environment=row["environment"],
            topic=row["topic"],
            app_version=row["app_version"],
            os_version=row["os_version"],
            voip_since=row["voip_registered_at"],
            alert_since=row["alert_registered_at"],
            enrolled_at=row["enrolled_at"],
            heard_at=row["heard_at"],
        )
