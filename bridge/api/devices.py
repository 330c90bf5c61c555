"""The management API behind `pushkit-bridge devices`: list, show, enrol, revoke."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import structlog
from aiohttp import web
from sqlalchemy import RowMapping

from bridge.api.answers import answer, problem
from bridge.api.phone import telling
from bridge.config.problems import suggest
from bridge.desk import Desk
from bridge.store import Tx, enrolment
from bridge.texts import NAME, one_line

log = structlog.get_logger()


class Devices:
    """Phones for operators. `phone_url` is where phones reach the bridge."""

    def __init__(self, desk: Desk, phone_url: Callable[[], str]) -> None:
        self._desk = desk
        self._phone_url = phone_url

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [
            web.get("/api/v1/devices", self.list),
            web.get("/api/v1/devices/{name}", self.show),
            web.post("/api/v1/enrolments", self.enrol),
            web.delete("/api/v1/devices/{name}", self.revoke),
        ]

    async def list(self, _: web.Request) -> web.Response:
        """List every device, and what keeps it from ringing tonight. No token is shown."""
        rows = await self._desk.store.read(enrolment.list_devices)
        return answer({"devices": list(map(self._shown, rows))})

    async def show(self, request: web.Request) -> web.Response:
        """Show one device."""
        name = request.match_info["name"]
        rows = {row["name"]: row for row in await self._desk.store.read(enrolment.list_devices)}
        if name not in rows:
            words = f"there is no device {name[:100]!r}{suggest(name, rows)}"
            return problem(404, words, "GET /api/v1/devices lists them")
        return answer(self._shown(rows[name]))

    async def enrol(self, request: web.Request) -> web.Response:
        """Make a one-time code: ?owner=NAME, and ?device=NAME if the phone is not to choose its own."""
        owner, device = request.query.get("owner", ""), request.query.get("device")
        people = self._desk.settings.people
        if owner not in people:
            close = difflib.get_close_matches(owner, people, n=1)
            hint = f"did you mean {close[0]}?" if close else "add them under people: in the configuration"
            return problem(404, f"there is nobody named {owner[:100]!r}", hint)
        if device is not None and (not device or one_line(device, NAME) != device):
            return problem(400, f"a device's name is one line of at most {NAME} bytes")

        code = await make_code(self._desk, owner, device)
        if code == "configured":
            words = f"{device} stands under `devices` in the configuration"
            return problem(409, words, "take it out there, or leave out --device")
        if code == "another's":
            words = f"{device} is the name of another device"
            return problem(409, words, "choose another, or leave it to the phone")
        url = self._phone_url().rstrip("/")
        return answer(
            {
                "owner": owner,
                "device": device,
                "code": code.text,
                "url": url,
                "link": link(url, code),
                "expires_at": code.expires_at,
            },
            201,
        )

    async def revoke(self, request: web.Request) -> web.Response:
        """Let an enrolled device go: its credential and its tokens are worth nothing any more."""
        name = request.match_info["name"]
        if not await self._desk.revoke(name):
            return problem(
                404,
                f"no device {name[:100]!r} has enrolled",
                "one that the configuration names is taken away there",
            )
        log.info("device revoked", device=name, by="management")
        return answer({"revoked": name})

    def _shown(self, row: RowMapping) -> Any:
        settings = self._desk.settings
        return msgspec.to_builtins(telling.device(row, settings.people, keyed=settings.keyed))


async def make_code(desk: Desk, owner: str, device: str | None) -> enrolment.Code | enrolment.Objection:
    """Make a one-time code for a person's phone; or say why it may not name the device."""

    async def job(tx: Tx) -> enrolment.Code | enrolment.Objection:
        if device is not None and (why := await enrolment.objection(tx.connection, device, owner)):
            return why
        return await enrolment.make_code(tx.connection, owner, device, tx.now)

    code = await desk.store.write(job)
    if isinstance(code, enrolment.Code):
        log.info("enrolment code made", owner=owner, device=device, expires_at=code.expires_at.isoformat())
    return code


def link(url: str, code: enrolment.Code) -> str:
    """Give what the QR code holds: it opens the app."""
    query = urlencode({"url": url, "code": code.text}, quote_via=quote, safe=":/")
    return f"pushkit-bridge://enrol?{query}"
