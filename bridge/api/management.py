"""The management API behind `pushkit-bridge incidents`: list, show, acknowledge."""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from aiohttp import web

from bridge import people
from bridge.api.answers import answer, no_such_incident, problem
from bridge.desk import Desk
from bridge.store import queries
from bridge.texts import one_line
from bridge.web import identity

_LIMIT: Final = 1000
_NUMBER: Final = re.compile("[1-9][0-9]{0,8}")


class Management:
    """Incidents for operators."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [
            web.get("/api/v1/incidents", self.list),
            web.get("/api/v1/incidents/{id}", self.show),
            web.post("/api/v1/incidents/{id}/acknowledge", self.acknowledge),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """List the open incidents, newest first; ?all=true: the closed ones too; ?limit=N, at most 1,000."""
        text = request.query.get("limit", "100")
        if not _NUMBER.fullmatch(text):
            return problem(400, "limit is not a number from 1 on")
        limit = min(int(text), _LIMIT)
        closed = request.query.get("all", "false") == "true"
        found = await self._desk.store.read(partial(queries.list_incidents, closed=closed, limit=limit + 1))
        return answer({"incidents": found[:limit], "more": len(found) > limit})

    async def show(self, request: web.Request) -> web.Response:
        """Tell one incident's whole story."""
        wanted = request.match_info["id"]
        found = await self._desk.store.read(partial(queries.show_incident, incident_id=wanted))
        return answer(found) if found is not None else no_such_incident(wanted)

    async def acknowledge(self, request: web.Request) -> web.Response:
        """Acknowledge, by who the credentials say, or ?by=NAME where nobody had to say who they are."""
        wanted = request.match_info["id"]
        by = one_line(identity(request).name or request.query.get("by", ""), 200) or "an operator"
        incident = await self._desk.act(wanted, people.acknowledge(by))
        return answer(queries.summary(incident)) if incident is not None else no_such_incident(wanted)
