"""The management API behind `pushkit-bridge ledger`: verify, show, replay."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from aiohttp import web

from bridge import replayer
from bridge.alerts import timestamp
from bridge.api.answers import answer, no_such_incident, problem
from bridge.config import duration
from bridge.desk import Desk
from bridge.replay import FAILED
from bridge.replayer import Replayed, Wish
from bridge.store import audit, failed, queries
from bridge.store.tx import load_incidents
from bridge.store.windows import Span
from bridge.texts import one_line
from bridge.web import identity

_EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)

_INCIDENTS: Final = 100
"""Incidents whose pages are sent again by one request."""


class LedgerApi:
    """The record, for those who want it proved."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [
            web.get("/api/v1/ledger/verify", self.verify),
            web.get("/api/v1/ledger/incidents/{id}", self.show),
            web.post("/api/v1/ledger/replay", self.replay),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """Tell one incident's whole story, with the notifications that it comes from."""
        wanted = request.match_info["id"]
        found = await self._desk.store.read(partial(queries.show_record, incident_id=wanted))
        return answer(found) if found is not None else no_such_incident(wanted)

    async def replay(self, request: web.Request) -> web.Response:
        """Send failed pages again: of ?incident, of those made from ?since until ?until, or both.

        ?dry_run=true tells what it would do; ?after goes on where the last answer ended.
        """
        now, query = self._desk.clock.now(), request.query
        if "incident" not in query and "since" not in query:
            return problem(400, "give an incident, or since when pages failed", "?incident=ID or ?since=1h")
        try:
            since, until = instant(query.get("since"), now, _EVER), instant(query.get("until"), now, now)
        except ValueError as error:
            return problem(400, str(error))
        by = one_line(identity(request).name or query.get("by", ""), 200) or "an operator"
        wish = Wish(since, until, by, dry_run=query.get("dry_run", "false") == "true")
        ids = [query["incident"]] if "incident" in query else await self._failed(wish, query.get("after", ""))
        done = [await self._again(name, wish) for name in ids]
        if "incident" in query and done == [None] and not await self._is_there(query["incident"]):
            return no_such_incident(query["incident"])
        found = [asdict(one) for one in done if one is not None]
        return answer({"incidents": found, "next": ids[-1] if len(ids) == _INCIDENTS else None})

    async def _is_there(self, name: str) -> bool:
        return bool(await self._desk.store.read(lambda connection: load_incidents(connection, [name])))

    async def _failed(self, wish: Wish, after: str) -> list[str]:
        return await self._desk.store.read(
            lambda connection: failed.incidents_of(
                connection, wish.since, wish.until, FAILED, after, _INCIDENTS
            )
        )

    async def _again(self, name: str, wish: Wish) -> Replayed | None:
        settings = self._desk.settings
        return await self._desk.store.write(lambda tx: replayer.again(tx, settings, name, wish))

    async def verify(self, request: web.Request) -> web.Response:
        """Audit a slice: ?since and ?until in RFC 3339 or as 24h (ago); ?after: where the last one ended.

        409 where the ledger cannot say what was at that time.
        """
        now, query = self._desk.clock.now(), request.query
        knows = await self._knows(now)
        if knows is None:
            return problem(409, "the ledger does not record what it accepts yet", "try again in a moment")
        try:
            since, until = instant(query.get("since"), now, knows), instant(query.get("until"), now, now)
        except ValueError as error:
            return problem(400, str(error))
        if since < knows or until < since:
            return _cannot_say(since, until, knows)
        try:
            found = await audit.verify(
                self._desk.store.read, Span(since, min(until, now), now), query.get("after", "")
            )
        except audit.NoSuchPlace:
            return problem(400, "nothing goes on after that", "give what `next` was, or nothing")
        return answer(
            {
                "since": since.isoformat(),
                "until": min(until, now).isoformat(),
                "checked": found.checked,
                "findings": [_shown(asdict(one)) for one in found.findings],
                "next": found.next,
            }
        )

    async def _knows(self, now: datetime) -> datetime | None:
        """Give since when the ledger can prove what was: from before, it has deleted, or never recorded."""
        began = await self._desk.store.read(audit.began)
        return began and max(began, now - self._desk.settings.storage.retention)


def instant(text: str | None, now: datetime, otherwise: datetime) -> datetime:
    """Read an instant, or how long ago it was. Raises ValueError, with what to write."""
    if text is None:
        return otherwise
    found = timestamp(text)
    if found is not None:
        return found
    try:
        return now - duration(text)
    except (ValueError, OverflowError):
        words = f"{text[:100]!r} is neither RFC 3339, such as 2026-01-31T03:00:00Z, nor such as 24h"
        raise ValueError(words) from None


def _cannot_say(since: datetime, until: datetime, knows: datetime) -> web.Response:
    if until < since:
        return problem(400, "the span ends before it begins")
    return problem(
        409,
        f"the ledger cannot say what was before {knows.isoformat(timespec='seconds')}",
        "it keeps storage.retention, and what was accepted since it was upgraded to record that",
    )


def _shown(finding: dict[str, Any]) -> dict[str, Any]:
    return finding | {"at": finding["at"].isoformat()}
