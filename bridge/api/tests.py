"""The management API behind `devices test` and `receivers test`: begin a test, look at it, call it off."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from aiohttp import web
from sqlalchemy import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from bridge import drills, handovers, lifecycle
from bridge.api.answers import answer, problem
from bridge.config.problems import quote, suggest
from bridge.desk import Desk, brief
from bridge.drills import Kind
from bridge.handovers import Handset
from bridge.incidents import Change
from bridge.oncall import OnCall
from bridge.policy import Receiver
from bridge.store import Tx, enrolment, queries
from bridge.texts import one_line, rfc3339
from bridge.web import identity

log = structlog.get_logger()

_LONGEST: Final = timedelta(hours=4)


class Tests:
    """Tests of phones and receivers, for operators."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [
            web.post("/api/v1/tests", self.begin),
            web.get("/api/v1/tests/{id}", self.show),
            web.delete("/api/v1/tests/{id}", self.end),
        ]

    async def begin(self, request: web.Request) -> web.Response:
        """Ring ?device=NAME, or by the policy of ?receiver=NAME; for ?seconds=N at the most."""
        wanted = [(kind, request.query[kind]) for kind in drills.KINDS if kind in request.query]
        if len(wanted) != 1:
            return problem(400, "name a device or a receiver")
        (kind, name) = wanted[0]
        known = await self._names(kind)
        if name not in known:
            return problem(404, f"there is no {kind} {quote(name)}{suggest(name, known)}")
        lasts = _seconds(request.query["seconds"]) if "seconds" in request.query else None
        if lasts is None and "seconds" in request.query:
            return problem(400, "seconds is a number from 10 to 14400")
        change = await begin(self._desk, kind, name, _who(request), lasts)
        return answer({"id": change.incident.id, kind: name}, 201)

    async def _names(self, kind: Kind) -> list[str]:
        if kind == "receiver":
            return list(self._desk.settings.receivers)
        return [row["name"] for row in await self._desk.store.read(enrolment.list_devices)]

    async def show(self, request: web.Request) -> web.Response:
        """Say how a test stands: each hand-over so far, and what came of it once it is over."""
        told = await self._tell(request.match_info["id"])
        return answer(told) if told is not None else _no_such(request)

    async def end(self, request: web.Request) -> web.Response:
        """End a test, however it stands; one that is over stays as it is."""
        name, by = request.match_info["id"], _who(request)
        if await self._tell(name) is None:
            return _no_such(request)

        def verb(change: Change, _: Receiver, on_call: OnCall, now: datetime) -> Change:
            del on_call
            return lifecycle.call_off(change, "called off", f"by {by}", now)

        await self._desk.act(name, verb)
        return answer(await self._tell(name))

    async def _tell(self, name: str) -> dict[str, Any] | None:
        now, gap = self._desk.clock.now(), self._desk.settings.quiet_gap
        people, keyed = self._desk.settings.people, self._desk.settings.keyed

        async def query(connection: AsyncConnection) -> dict[str, Any] | None:
            story = await queries.show_incident(connection, name)
            if story is None or not story["drill"]:
                return None
            rows = await enrolment.list_devices(connection)
            phones = {row["name"]: _handset(row, gap, people, keyed=keyed) for row in rows}
            return _shown(story, handovers.report(story, phones, now), phones)

        return await self._desk.store.read(query)


async def begin(desk: Desk, kind: Kind, name: str, by: str, lasts: timedelta | None = None) -> Change:
    """Ring a device, or by a receiver's policy, that there is; `lasts` None: as long as it takes."""
    settings, slot = desk.settings, drills.slot(kind, name, secrets.token_hex(8))
    longest = lasts or min(drills.lasts(settings.policy_of(slot)), _LONGEST)

    async def job(tx: Tx) -> Change:
        policy, on_call = settings.policy_of(slot), settings.on_call(await tx.roster())
        summary = f"{name} is tried out by {by}"
        change = drills.begin(slot, "TestCall", summary, longest, policy, on_call, tx.now)
        await tx.apply([change])
        return change

    change = await desk.store.write(job)
    log.info("test begun", kind=kind, name=name, by=by, **brief([change]))
    return change


def _handset(row: RowMapping, gap: timedelta, people: tuple[str, ...], *, keyed: bool) -> Handset:
    free_at = row["live_until"] and row["live_until"] + gap
    return Handset(row["enrolled"], enrolment.troubles(row, people, keyed=keyed), free_at)


def _shown(story: dict[str, Any], report: handovers.Report, phones: dict[str, Handset]) -> dict[str, Any]:
    device = story["group"].get("device", "")
    lines = [
        {
            "key": one.key,
            "at": rfc3339(one.at),
            "target": one.target,
            "what": one.what,
            "text": one.text,
        }
        for one in report.handovers
    ]
    return {
        "id": story["id"],
        "group": story["group"],
        "began_at": story["opened_at"],
        "troubles": phones[device].troubles if device in phones else (),
        "handovers": lines,
        "over": report.over,
        "passed": report.over and report.passed,
        "verdict": report.verdict if report.over else None,
    }


def _seconds(text: str) -> timedelta | None:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    return timedelta(seconds=number) if 10 <= number <= _LONGEST.total_seconds() else None


def _who(request: web.Request) -> str:
    return one_line(identity(request).name or request.query.get("by", ""), 200) or "an operator"


def _no_such(request: web.Request) -> web.Response:
    return problem(404, f"there is no test {quote(request.match_info['id'])}")
