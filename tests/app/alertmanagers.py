"""Alertmanager's API, as far as the bridge asks it, on the clock that the test moves; it fails as it is told to."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web

from bridge.alerts import fingerprint


class StandIn:
    """Somebody's Alertmanager below a path. `faults` are used up by requests of their method and path.

    A fault is a status, or bytes for a body that answers 200 instead, or "lost": it is done, and the
    connection breaks before the answer; or "hangs": there is no answer for as long as the test lasts.
    `away` refuses whatever comes. Its time intervals, `muted`, are told by groups alone; None: not even
    there, as before 0.28.
    """

    PATH = "/s3cret/am"

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self.silences: dict[str, dict[str, Any]] = {}
        self.alerts: set[str] = set()
        self.labels: dict[str, dict[str, str]] = {}
        self.since: dict[str, datetime] = {}
        self.muted: list[str] | None = []
        self.started_at = now() - timedelta(days=9)
        self.faults: list[tuple[str, str, int | bytes | str]] = []
        self.away = False
        self.requests: list[tuple[str, str]] = []
        self.authorizations: set[str | None] = set()
        self.over = asyncio.Event()
        self.url = ""

    def fires(self, **labels: str) -> None:
        """Let it have this alert."""
        self.alerts.add(fingerprint(labels))
        self.labels[fingerprint(labels)] = labels
        self.since[fingerprint(labels)] = self.now()

    def add(self, **fields: Any) -> str:
        """Let it have somebody's silence."""
        name = str(uuid.uuid4())
        self.silences[name] = {
            "matchers": [{"name": "alertname", "value": "DiskFull", "isRegex": False, "isEqual": True}],
            "startsAt": stamp(self.now()),
            "endsAt": stamp(self.now() + timedelta(hours=1)),
            "createdBy": "alice",
            "comment": "by hand",
        } | fields
        return name

    @property
    def active(self) -> dict[str, dict[str, Any]]:
        """The silences that stand."""
        return {name: one for name, one in self.silences.items() if self._state(one) != "expired"}

    @property
    def ends(self) -> list[float]:
        """When those that stand will end: seconds from now."""
        now = self.now()
        return [(datetime.fromisoformat(one["endsAt"]) - now).total_seconds() for one in self.active.values()]

    def asked(self, what: str) -> int:
        """How often this method was asked for this path."""
        return sum(f"{method} {path}".startswith(what) for method, path in self.requests)

    def _state(self, one: dict[str, Any]) -> str:
        now = self.now()
        if datetime.fromisoformat(one["endsAt"]) <= now:
            return "expired"
        return "pending" if datetime.fromisoformat(one["startsAt"]) > now else "active"

    # --- what it answers ---

    async def take(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix(f"{self.PATH}/api/v2/")
        self.requests.append((request.method, path))
        self.authorizations.add(request.headers.get("Authorization"))
        fault = 503 if self.away else self._fault(request.method, path)
        if isinstance(fault, int):
            return web.Response(status=fault, text="no: hunter2", headers={"Location": self.url})
        if isinstance(fault, bytes):
            return web.Response(body=fault, content_type="application/json")
        if fault == "hangs":
            await self.over.wait()
        answer = await self._answer(request, path)
        if fault == "lost":
            assert request.transport is not None
            request.transport.abort()
        return answer

    def _fault(self, method: str, path: str) -> int | bytes | str | None:
        for number, (of, begins, what) in enumerate(self.faults):
            if (of, path.startswith(begins)) == (method, True):
                del self.faults[number]
                return what
        return None

    async def _answer(self, request: web.Request, path: str) -> web.Response:
        kind, _, name = path.partition("/")
        match request.method, kind:
            case "GET", "status":
                return web.json_response({"cluster": {"status": "ready"}, "uptime": stamp(self.started_at)})
            case "GET", "alerts":
                wants = "false" if name == "groups" else "true"
                assert request.query["silenced"] == request.query["inhibited"] == wants
                show = self._group if name == "groups" else self._alert
                return web.json_response([show(one) for one in sorted(self.alerts)])
            case "GET", "silences":
                found = [
                    one | {"id": name, "status": {"state": self._state(one)}}
                    for name, one in self.silences.items()
                ]
                return web.json_response(found)
            case "POST", "silences":
                return self._post(await request.json())
            case "DELETE", "silence" if name in self.silences:
                if name in self.active:
                    self.silences[name]["endsAt"] = stamp(self.now())
                return web.Response()
        return web.Response(status=404)

    def _alert(self, name: str) -> dict[str, Any]:
        labels = self.labels.get(name, {})
        pairs = [[(one["name"], one["value"]) for one in of["matchers"]] for of in self.active.values()]
        silenced = any(all(labels.get(key, "") == value for key, value in silence) for silence in pairs)
        return {
            "fingerprint": name,
            "labels": labels,
            "annotations": {"summary": "as Alertmanager has it"},
            "startsAt": stamp(self.since.get(name, self.now())),
            "generatorURL": "",
            "status": {"state": "suppressed" if silenced else "active"},
        }

    def _group(self, name: str) -> dict[str, Any]:
        alert = self._alert(name)
        if self.muted is not None:
            alert["status"]["mutedBy"] = self.muted
        return {"labels": {}, "receiver": {"name": "phone"}, "alerts": [alert]}

    def _post(self, body: dict[str, Any]) -> web.Response:
        """As silence.Silences.Set does it: what cannot be changed in its place ends, and another is made."""
        now = self.now()
        if datetime.fromisoformat(body["endsAt"]) <= now:
            return web.json_response("end time can't be in the past", status=400)
        name, known = body.pop("id", None), None
        if name is not None:
            known = self.active.get(name)
            if name not in self.silences:
                return web.json_response("silence not found", status=404)
        same = known and (known["matchers"], known["startsAt"]) == (body["matchers"], body["startsAt"])
        if not same:
            if known:
                known["endsAt"] = stamp(now)
            name = str(uuid.uuid4())
            body["startsAt"] = stamp(max(now, datetime.fromisoformat(body["startsAt"])))
        body["endsAt"] = stamp(datetime.fromisoformat(body["endsAt"]))
        self.silences[name] = body
        return web.json_response({"silenceID": name})


def stamp(at: datetime) -> str:
    """Write a time as Alertmanager does: to the millisecond."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@asynccontextmanager
async def standing_in(now: Callable[[], datetime], **listener: Any) -> AsyncIterator[StandIn]:
    one = StandIn(now)
    app = web.Application()
    app.router.add_route("*", f"{one.PATH}/api/v2/{{rest:.*}}", one.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, **listener).start()
    scheme = "https" if listener.get("ssl_context") else "http"
    one.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}{one.PATH}"
    try:
        yield one
    finally:
        one.over.set()
        await runner.cleanup()
