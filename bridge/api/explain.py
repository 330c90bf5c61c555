"""The management API behind `pushkit-bridge explain`: which way an alert goes, whom it rings, and why."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge import routing
from bridge.alerts import DRILL_SOURCE, INTERNAL_SOURCE
from bridge.api.answers import answer, no_such_incident, problem
from bridge.config import DEFAULT
from bridge.desk import Desk
from bridge.incidents import Episode, Slot
from bridge.oncall import Roster
from bridge.store import board, enrolment, overrides, rows
from bridge.texts import one_line
from bridge.views import account, way

_MOST: Final = 50
"""Alerts of one incident that are explained."""
_LONGEST: Final = 20_000
"""Characters of labels that are explained."""


class ExplainApi:
    """Explanations for operators."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [web.get("/api/v1/explain", self.show)]

    async def show(self, request: web.Request) -> web.Response:
        """Explain ?labels= at ?at= (now if absent) of ?source=; or ?incident=, all its alerts or ?alert=."""
        query = request.query
        if "incident" in query:
            return await self._past(query["incident"], query.get("alert"))
        now = self._desk.clock.now()
        try:
            labels = way.labels(query.get("labels", "")[:_LONGEST])
        except way.NotLabels as error:
            return problem(400, f"labels: {error}")
        at = way.instant(query["at"]) if "at" in query else now
        if at is None:
            return problem(400, "at is not a time, such as 2026-01-31T03:00:00Z")
        source = query.get("source", DEFAULT)
        read = partial(self._explain, labels=labels, source=source, at=at)
        found = await self._desk.store.read(read)
        return answer({"explanations": [found | {"incident": None}], "more": False})

    async def _past(self, wanted: str, fingerprint: str | None) -> web.Response:
        """Explain alerts of an incident by today's configuration, at the instants when they came."""
        read = partial(board.alerts_of, incident_id=wanted, fingerprint=fingerprint, limit=_MOST + 1)
        known = await self._desk.store.read(read)
        if known is None:
            return no_such_incident(wanted)
        slot, episodes = known
        if not episodes:
            return problem(404, f"incident {one_line(wanted, 100)} has no such alert")
        if slot.source in {DRILL_SOURCE, INTERNAL_SOURCE}:
            kind = "a drill" if slot.source == DRILL_SOURCE else "an alarm of the bridge itself"
            return problem(400, f"it is {kind}, which no route leads to", f"its receiver is {slot.receiver}")
        found = [
            await self._desk.store.read(partial(self._as_it_came, slot=slot, episode=episode, of=wanted))
            for episode in episodes[:_MOST]
        ]
        return answer({"explanations": found, "more": len(episodes) > _MOST})

    async def _as_it_came(
        self, connection: AsyncConnection, slot: Slot, episode: Episode, of: str
    ) -> dict[str, Any]:
        at = episode.opened_here_at or episode.starts_at
        found = await self._explain(connection, episode.labels, slot.source, at)
        opens = [match for match in found["matches"] if match["opens_incident"]]
        here = (slot.receiver, dict(slot.group))
        incident = {
            "id": of,
            "fingerprint": episode.fingerprint,
            "receiver": slot.receiver,
            "group": dict(slot.group),
            "same_way": here in [(match["receiver"], match["group"]) for match in opens],
        }
        return found | {"incident": incident}

    async def _explain(
        self, connection: AsyncConnection, labels: Mapping[str, str], source: str, at: datetime
    ) -> dict[str, Any]:
        settings = self._desk.settings
        explanation = routing.explain(settings.route, labels, at, settings.time_intervals)
        devices = await enrolment.list_devices(connection)
        written = await overrides.by_schedule(connection, at)
        on_call = settings.on_call(Roster(tuple(map(rows.phone, devices)), written))
        beats = settings.heartbeats.values()
        return account.account(explanation, source, beats, settings.receiver, on_call)
