"""The management API behind `pushkit-bridge heartbeats`: which are waited for, and how they are."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from bridge import watchdogs
from bridge.api.answers import answer
from bridge.desk import Desk
from bridge.store import heartbeats
from bridge.watchdogs import Heartbeat, Watch


class Heartbeats:
    """Heartbeats for operators."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [web.get("/api/v1/heartbeats", self.list)]

    async def list(self, _: web.Request) -> web.Response:
        """List them in the order of the configuration."""
        known = await self._desk.store.read(heartbeats.load)
        wanted = self._desk.settings.heartbeats
        return answer({"heartbeats": [_shown(one, known.get(name)) for name, one in wanted.items()]})


def _shown(heartbeat: Heartbeat, watch: Watch | None) -> dict[str, Any]:
    """Say how it is; `watch` None: it is new, and about to be known."""
    missing = watch is not None and watch.missing_since is not None
    due_at = None if watch is None or missing else watchdogs.due_at(heartbeat, watch)
    return {
        "name": heartbeat.name,
        "source": heartbeat.source,
        "matchers": [str(matcher) for matcher in heartbeat.matchers],
        "every_seconds": heartbeat.every.total_seconds(),
        "grace_seconds": heartbeat.grace.total_seconds(),
        "receiver": heartbeat.receiver,
        "known_at": watch and watch.known_at,
        "seen_at": watch and watch.seen_at,
        "due_at": due_at,
        "missing_since": watch and watch.missing_since,
    }
