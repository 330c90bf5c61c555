"""What the pages show, gathered from the ledger and from the parts of the bridge; each look is bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar

from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge import routing
from bridge.api import overrides as wishes
from bridge.config import DEFAULT
from bridge.desk import Desk
from bridge.feeds import Feeds
from bridge.incidents import Episode
from bridge.oncall import OnCall, Roster
from bridge.sealing import kid
from bridge.store import board as ledger
from bridge.store import enrolment, heartbeats, overrides, queries, rows
from bridge.views import account, board, duty, phones, story, way
from bridge.views.board import Listed, Row, Sign
from bridge.views.times import when

Context: TypeAlias = dict[str, Any]
T = TypeVar("T")

PAGE: Final = 50
"""Incidents on one page."""

_AT_ONCE: Final = 2
"""Looks at once: the rest of the ledger's connections for reading are the loops'."""

_REST: Final = 1.0
"""Seconds of rest after a look at the most."""

_RECEIVERS: Final = 50
_OVERRIDES: Final = 50
"""Of one schedule."""

_PAST: Final = 40
"""Past alerts to pick from."""


@dataclass(frozen=True, slots=True)
class Parts:
    """How parts of the bridge are that the ledger does not know: asked at each look."""

    unready: Callable[[], Awaitable[list[str]]]
    apple: Callable[[], Sign]
    alertmanagers: Callable[[], Mapping[str, datetime | None]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants explained, as typed; `picked` is an incident's id and a fingerprint."""

    labels: str = ""
    at: str = ""
    picked: tuple[str, str] | None = None

    @staticmethod
    def read(labels: str, at: str, now: datetime) -> tuple[dict[str, str], datetime]:
        """Read the texts. Raises NotLabels."""
        found, instant = way.labels(labels), way.instant(at) if at else now
        if instant is None:
            raise way.NotLabels(f"{at[:40]!r} is not a time, such as 2026-01-31T03:00")
        return found, instant


def filled(form: Mapping[str, str]) -> dict[str, str]:
    """Leave out the fields of a form that nobody filled in."""
    return {name: value.strip() for name, value in form.items() if value.strip()}


class Sight:
    """Looks for the console."""

    def __init__(self, desk: Desk, feeds: Feeds, parts: Parts) -> None:
        self._desk = desk
        self._feeds = feeds
        self._parts = parts
        self.metrics = desk.metrics
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def now(self, page: int) -> Context:
        """The first page: what rings, who is on call, how the bridge is. `page` counts from 1."""
        reasons = await self._parts.unready()
        return await self._look(lambda connection, now: self._now(connection, now, page, reasons))

    async def history(self, page: int) -> Context:
        """Incidents that are over, the newest first."""
        return await self._look(lambda connection, now: self._history(connection, now, page))

    async def incident(self, name: str) -> Context | None:
        """One incident; None where there is none."""
        return await self._look(lambda connection, now: self._incident(connection, now, name))

    async def devices(self) -> Context:
        """Every phone, and whether it would ring tonight."""
        return await self._look(self._phones)

    async def on_call(self, wish: Mapping[str, str]) -> Context:
        """Who is on call, now and in the coming weeks; `wish` is the override that somebody types."""
        return await self._look(lambda connection, now: self._schedules(connection, now, wish))

    async def explain(self, asked: Asked) -> Context:
        """The way of an alert."""
        return await self._look(lambda connection, now: self._explain(connection, now, asked))

    async def _look(self, query: Callable[[AsyncConnection, datetime], Awaitable[T]]) -> T:
        await self._room.acquire()
        began = time.monotonic()
        try:
            now = self._desk.clock.now()
            return await self._desk.store.read(lambda connection: query(connection, now))
        finally:
            # As long a rest as the look took: however many look, webhooks and pushes have their share.
            rest = min(time.monotonic() - began, _REST)
            asyncio.get_running_loop().call_later(rest, self._room.release)

    async def _now(
        self, connection: AsyncConnection, now: datetime, page: int, reasons: Sequence[str]
    ) -> Context:
        stats = await queries.stats(connection, now)
        counts = await ledger.counts(connection)
        found = await ledger.listed(connection, "open", (page - 1) * PAGE, PAGE + 1)
        on_call = await self._carriers(connection, now)
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
                self._parts.apple(),
                board.ledger(reasons, stats.overdue),
                self._phones_sign(devices, now),
                board.heartbeats(wanted, now),
                *board.alertmanagers(self._parts.alertmanagers(), now),
                *board.calendars(self._calendars()),
            ],
            "news": board.news(listed, counts),
            **self._duty(on_call, now),
        }

    async def _history(self, connection: AsyncConnection, now: datetime, page: int) -> Context:
        found = await ledger.listed(connection, "closed", (page - 1) * PAGE, PAGE + 1)
        on_call = OnCall({}, ())
        rows = [self._row(one, on_call, now) for one in found[:PAGE]]
        return {"now": now, "rows": rows, "page": page, "more": len(found) > PAGE}

    async def _incident(self, connection: AsyncConnection, now: datetime, name: str) -> Context | None:
        told = await ledger.told(connection, name)
        if told is None:
            return None
        incident = told.listed.incident
        policy = self._desk.settings.policy_of(incident.slot)
        on_call = await self._carriers(connection, now)
        alerts = [story.alert(episode, now) for episode in incident.alerts.values()]
        return {
            "now": now,
            "one": board.row(told.listed, policy, on_call, now),
            "group": incident.slot.group,
            "hops": story.hops(incident, told.pushes, now),
            "picture": story.picture(incident, told.pushes, now),
            "lines": story.lines(told.events, now),
            "more_lines": told.more,
            "alerts": alerts,
            "more_alerts": told.listed.alerts - len(alerts),
            "truncated": incident.truncated_alerts,
            "upstream": incident.external_url if story.web(incident.external_url) else "",
            "can": story.actions(incident, policy),
            "stages": duty.stages(policy, on_call, now),
        }

    async def _phones(self, connection: AsyncConnection, now: datetime) -> Context:
        devices = await enrolment.list_devices(connection)
        cards = [phones.card(self._facts(row), now) for row in devices]
        people = self._desk.settings.people
        return {"now": now, "cards": cards, "tally": phones.tally(cards), "people": people}

    async def _schedules(
        self, connection: AsyncConnection, now: datetime, wish: Mapping[str, str]
    ) -> Context:
        on_call = await self._carriers(connection, now)
        found = [
            {
                "duty": duty.duty(one, now),
                "bars": duty.bars(one, now, self._desk.settings.people),
                "problem": self._calendars().get(name),
                "instead": duty.instead(one, on_call.phones, now)[:_OVERRIDES],
            }
            for name, one in on_call.schedules.items()
        ]
        people = self._desk.settings.people
        typed = {name: wish.get(name, "") for name in ("schedule", "person", "from", "to")}
        form = {"wish": typed, "wrong_in": self._unfit(wish, now), "people": people}
        return {"now": now, "schedules": found, **form, **self._duty(on_call, now)}

    def _unfit(self, wish: Mapping[str, str], now: datetime) -> Mapping[str, str]:
        """Say by field what is wrong with an override that was sent; a page that was only opened has none."""
        if "to" not in wish:
            return {}
        try:
            wishes.read(self._desk.settings, filled(wish), "", now)
        except wishes.Unfit as error:
            return {error.field: str(error)}
        return {}

    async def _explain(self, connection: AsyncConnection, now: datetime, asked: Asked) -> Context:
        past = await ledger.past_alerts(connection, _PAST)
        context: Context = {"now": now, "past": [_past(name, one, now) for name, one in past]}
        context |= {"labels": asked.labels, "at": asked.at, "way": None, "problem": ""}
        picked = await ledger.alerts_of(connection, *asked.picked, 1) if asked.picked else None
        source = DEFAULT
        for episode in picked[1] if picked else ():
            came = episode.opened_here_at or episode.starts_at
            context |= {"labels": way.written(episode.labels), "at": f"{came:%Y-%m-%dT%H:%M}"}
            source = picked[0].source if picked else DEFAULT
        try:
            found, at = asked.read(context["labels"], context["at"], now)
        except way.NotLabels as error:
            return context | {"problem": str(error)}
        if not found:
            return context
        settings = self._desk.settings
        explanation = routing.explain(settings.route, found, at, settings.time_intervals)
        on_call = await self._carriers(connection, at)
        return context | {
            "way": way.way(explanation, settings.receivers, on_call, now),
            "beats": account.beating(explanation, source, settings.heartbeats.values()),
            "then": when(at, now),
        }

    def _row(self, listed: Listed, on_call: OnCall, now: datetime) -> Row:
        return board.row(listed, self._desk.settings.policy_of(listed.incident.slot), on_call, now)

    async def _carriers(self, connection: AsyncConnection, at: datetime) -> OnCall:
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

    def _phones_sign(self, devices: Any, now: datetime) -> Sign:
        tally = phones.tally([phones.card(self._facts(row), now) for row in devices])
        keyed = self._desk.settings.keyed
        bare = sum(row["bare"] for row in devices) if keyed else 0
        return board.phones(tally["yes"], tally["doubtful"], tally["no"], bare)

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
            troubles=enrolment.troubles(row, people, keyed=self._desk.settings.keyed),
            environment=row["environment"],
            topic=row["topic"],
            app_version=row["app_version"],
            os_version=row["os_version"],
            voip_since=row["voip_registered_at"],
            alert_since=row["alert_registered_at"],
            enrolled_at=row["enrolled_at"],
            heard_at=row["heard_at"],
            kid=row["encryption_key"] and kid(row["encryption_key"]),
        )


def _past(incident_id: str, episode: Episode, now: datetime) -> dict[str, str]:
    name = episode.labels.get("alertname", "")
    severity = episode.labels.get("severity", "")
    since = when(episode.starts_at, now).far
    return {"value": f"{incident_id}/{episode.fingerprint}", "text": f"{name} {severity}, {since}"}
