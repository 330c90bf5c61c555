"""The management API behind `pushkit-bridge drills`: when each rings next, and who did not confirm."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge import drills
from bridge.api.answers import answer, problem
from bridge.config.problems import quote, suggest
from bridge.desk import Desk
from bridge.drills import Drill, Result
from bridge.store import drills as ledger
from bridge.store.drills import Run
from bridge.store.tx import load_incidents

_SHOWN: Final = 20


class Drills:
    """Drills for operators."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [web.get("/api/v1/drills", self.list), web.get("/api/v1/drills/{name}", self.show)]

    async def list(self, _: web.Request) -> web.Response:
        """List them in the order of the configuration, each with the last time that it rang."""
        wanted = self._desk.settings.drills.values()
        return answer({"drills": [await self._told(drill, 1) for drill in wanted]})

    async def show(self, request: web.Request) -> web.Response:
        """Show one, with the last times that it rang, and what came of each."""
        name, wanted = request.match_info["name"], self._desk.settings.drills
        if name not in wanted:
            return problem(404, f"there is no drill {quote(name)}{suggest(name, wanted)}")
        return answer(await self._told(wanted[name], _SHOWN))

    async def _told(self, drill: Drill, limit: int) -> dict[str, Any]:
        runs = await self._desk.store.read(partial(_runs, drill=drill, limit=limit))
        zone = drill.hours.days.zone
        coming = drill.hours.coming(self._desk.clock.now())
        return {
            "name": drill.name,
            "receiver": drill.receiver,
            "device_groups": drill.device_groups,
            "each": drill.each,
            "within_seconds": drill.within.total_seconds(),
            "report_to": drill.report_to,
            "next_at": coming and coming.astimezone(zone),
            "runs": runs,
        }


async def _runs(connection: AsyncConnection, drill: Drill, limit: int) -> list[dict[str, Any]]:
    found = []
    for run in await ledger.runs_of(connection, drill.name, limit):
        results = run.results if run.outcome else await _so_far(connection, run)
        found.append(
            {
                "id": run.id,
                "due_at": run.due_at.astimezone(drill.hours.days.zone),
                "ends_at": run.ends_at,
                "ended_at": run.ended_at,
                "outcome": run.outcome,
                "results": [asdict(result) for result in results],
            }
        )
    return found


async def _so_far(connection: AsyncConnection, run: Run) -> Iterable[Result]:
    """Say who has confirmed while it goes on."""
    ids = [member.incident for member in run.members]
    found = {incident.id: incident for incident in await load_incidents(connection, ids)}
    return [drills.result(member, found.get(member.incident)) for member in run.members]
