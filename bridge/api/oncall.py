"""The management API behind `pushkit-bridge oncall`: who is on call, and overrides of schedules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, timedelta
from functools import partial
from typing import Final

from aiohttp import web

from bridge import oncall
from bridge.api import overrides
from bridge.api.answers import answer, problem
from bridge.api.overrides import Unfit
from bridge.config.problems import quote
from bridge.config.values import any_moment
from bridge.desk import Desk
from bridge.feeds import Feeds
from bridge.oncall import Roster
from bridge.schedules import instant
from bridge.store import overrides as ledger
from bridge.texts import one_line
from bridge.web import identity

_FAR: Final = timedelta(days=3660)
"""How far from now one may ask: a rule of a calendar is counted through to there."""
_EARLIER: Final = timedelta(days=1)
"""So much earlier than in UTC a local time can be."""


class OnCallApi:
    """Schedules for operators."""

    def __init__(self, desk: Desk, feeds: Feeds) -> None:
        self._desk = desk
        self._feeds = feeds

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [
            web.get("/api/v1/oncall", self.show),
            web.get("/api/v1/overrides", self.list),
            web.post("/api/v1/overrides", self.write),
            web.delete("/api/v1/overrides/{id}", self.delete),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """Say of each schedule who is on call now, or ?at=TIME, who follows, and what is left open.

        A time without an offset is each schedule's own, and is answered so.
        """
        now = self._desk.clock.now()
        try:
            at = any_moment(request.query["at"]) if "at" in request.query else now
        except ValueError as error:
            return problem(400, f"at: {error}")
        if abs(instant(at, UTC) - now) > _FAR:
            return problem(400, "at is not a time of these years")
        earliest = instant(at, UTC) - _EARLIER
        written = await self._desk.store.read(partial(ledger.by_schedule, now=earliest))
        schedules = self._desk.settings.on_call(Roster((), written)).schedules
        shown = [
            oncall.outlook(one, instant(at, one.zone)) | {"calendar": self._feeds.status(name)}
            for name, one in schedules.items()
        ]
        return answer({"at": at, "schedules": shown})

    async def list(self, _: web.Request) -> web.Response:
        """List the overrides that were written here and are not over."""
        rows = await self._desk.store.read(partial(ledger.listed, now=self._desk.clock.now()))
        return answer({"overrides": [{str(name): value for name, value in row.items()} for row in rows]})

    async def write(self, request: web.Request) -> web.Response:
        """Put ?person= on call by ?schedule= from ?from=, now if absent, to ?to=; times may be local."""
        settings = self._desk.settings
        by = one_line(identity(request).name or request.query.get("by", ""), 200) or "an operator"
        try:
            name, override = overrides.read(settings, request.query, by, self._desk.clock.now())
        except Unfit as error:
            return problem(404 if error.missing else 400, str(error))
        key, roster = await overrides.write(self._desk, name, override)
        told = oncall.told(replace(override, id=key), settings.schedules[name].zone)
        return answer({"schedule": name, **told, "cautions": list(_cautions(override.person, roster))}, 201)

    async def delete(self, request: web.Request) -> web.Response:
        """Delete an override that was written here."""
        text = request.match_info["id"]
        key = await overrides.delete(self._desk, text, identity(request).name)
        if key is None:
            return problem(404, f"there is no override {quote(text)}", "GET /api/v1/overrides lists them")
        return answer({"deleted": key})


def _cautions(person: str, roster: Roster) -> Iterator[str]:
    mine = [phone for phone in roster.phones if phone.owner == person]
    if not any(phone.usable("voip") for phone in mine):
        yield f"{person} has no phone that can ring"
