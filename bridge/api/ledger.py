"""The management API behind `pushkit-bridge ledger`: verify."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from aiohttp import web

from bridge.alerts import timestamp
from bridge.api.answers import answer, problem
from bridge.config import duration
from bridge.desk import Desk
from bridge.store import audit
from bridge.store.windows import Span


class LedgerApi:
    """The record, for those who want it proved."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [web.get("/api/v1/ledger/verify", self.verify)]

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
