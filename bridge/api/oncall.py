"""The management API behind `pushkit-bridge oncall`: who is on call, and overrides of schedules."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import structlog
from aiohttp import web

from bridge import oncall
from bridge.api.answers import answer, problem
from bridge.config.problems import quote, suggest
from bridge.config.values import any_moment, moment
from bridge.desk import Desk
from bridge.feeds import Feeds
from bridge.oncall import Roster
from bridge.schedules import Override, Schedule, instant
from bridge.store import Tx, overrides
from bridge.texts import one_line
from bridge.web import identity

log = structlog.get_logger()

_FAR: Final = timedelta(days=3660)
"""How far from now one may ask: a rule of a calendar is counted through to there."""
_EARLIER: Final = timedelta(days=1)
"""So much earlier than in UTC a local time can be."""
_LONGEST: Final = timedelta(days=366)


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
        written = await self._desk.store.read(partial(overrides.by_schedule, now=earliest))
        schedules = self._desk.settings.on_call(Roster((), written)).schedules
        shown = [
            oncall.outlook(one, instant(at, one.zone)) | {"calendar": self._feeds.status(name)}
            for name, one in schedules.items()
        ]
        return answer({"at": at, "schedules": shown})

    async def list(self, _: web.Request) -> web.Response:
        """List the overrides that were written here and are not over."""
        rows = await self._desk.store.read(partial(overrides.listed, now=self._desk.clock.now()))
        return answer({"overrides": [{str(name): value for name, value in row.items()} for row in rows]})

    async def write(self, request: web.Request) -> web.Response:
        """Put ?person= on call by ?schedule= from ?from=, now if absent, to ?to=; times may be local."""
        settings, query = self._desk.settings, request.query
        name, person = query.get("schedule", ""), query.get("person", "")
        for word, known, kind in (
            (name, settings.schedules, "schedule"),
            (person, settings.people, "person"),
        ):
            if word not in known:
                return problem(404, f"there is no {kind} {quote(word)}{suggest(word, known)}")
        by = one_line(identity(request).name or query.get("by", ""), 200) or "an operator"
        schedule = settings.schedules[name]
        try:
            start, end = self._span(schedule, query.get("from"), query.get("to"))
        except ValueError as error:
            return problem(400, str(error))
        override = Override(person, start, end, by)

        async def job(tx: Tx) -> tuple[int, Roster]:
            return await overrides.add(tx.connection, name, override, tx.now), await tx.roster()

        key, roster = await self._desk.store.write(job)
        log.info("override written", id=key, schedule=name, person=person, by=by, start=start, end=end)
        told = oncall.told(Override(person, start, end, by, key), schedule.zone)
        return answer({"schedule": name, **told, "cautions": list(_cautions(person, roster))}, 201)

    def _span(self, schedule: Schedule, begin: str | None, end: str | None) -> tuple[datetime, datetime]:
        """Read from when to when an override holds. Raises ValueError."""
        if end is None:
            raise ValueError("it has no end")
        now = self._desk.clock.now()
        start = now if begin is None else instant(moment(begin), schedule.zone)
        stop = instant(moment(end), schedule.zone, end=True)
        if stop <= start:
            raise ValueError(f"it ends before it begins: {_span(schedule, start, stop)}")
        if stop <= now:
            raise ValueError(f"it is over already: {_span(schedule, start, stop)}")
        if stop - start > _LONGEST:
            raise ValueError("it is longer than a year: change the schedule instead")
        return start, stop

    async def delete(self, request: web.Request) -> web.Response:
        """Delete an override that was written here."""
        text = request.match_info["id"]
        key = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0

        async def job(tx: Tx) -> bool:
            return await overrides.remove(tx.connection, key)

        if not await self._desk.store.write(job):
            return problem(404, f"there is no override {quote(text)}", "GET /api/v1/overrides lists them")
        log.info("override deleted", id=key, by=identity(request).name)
        return answer({"deleted": key})


def _span(schedule: Schedule, start: datetime, stop: datetime) -> str:
    begin, end = (at.astimezone(schedule.zone).isoformat(" ", "minutes") for at in (start, stop))
    return f"from {begin} to {end}"


def _cautions(person: str, roster: Roster) -> Iterator[str]:
    mine = [phone for phone in roster.phones if phone.owner == person]
    if not any(phone.usable("voip") for phone in mine):
        yield f"{person} has no phone that can ring"
