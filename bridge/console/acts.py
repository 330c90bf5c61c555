"""What people do at the console: the forms, each of them checked to be theirs."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode

import segno
import structlog
from aiohttp import web

from bridge import people
from bridge.api import devices, overrides, tests
from bridge.api.answers import TooLarge, read_body
from bridge.console.door import FIELD, Door, Person
from bridge.console.rendering import render
from bridge.console.replies import html, shown
from bridge.console.sight import filled
from bridge.desk import Desk
from bridge.people import Verb
from bridge.store import enrolment
from bridge.texts import NAME, one_line

Form: TypeAlias = dict[str, str]
Act: TypeAlias = Callable[[web.Request, Person, Form], Awaitable[web.Response]]

log = structlog.get_logger()

_MOST: Final = 64 << 10
_NOTE: Final = 2000
_LONGEST: Final = timedelta(days=7)
_OVERRIDE: Final = ("schedule", "person", "from", "to")
_FIELD: Final = 200
"""Characters of a field that are shown again where it is wrong."""


class Acts:
    """Takes the forms. `phone_url` is where phones reach the bridge."""

    def __init__(self, desk: Desk, door: Door, phone_url: Callable[[], str], prefix: str) -> None:
        self._desk = desk
        self._door = door
        self._phone_url = phone_url
        self._prefix = prefix

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        acts: dict[str, Act] = {
            "/incidents/{id}/acknowledge": self._verb(lambda _, by: people.acknowledge(by)),
            "/incidents/{id}/unacknowledge": self._verb(lambda _, by: people.unacknowledge(by)),
            "/incidents/{id}/silence": self._verb(self._silence),
            "/incidents/{id}/hand-on": self._verb(lambda _, by: people.hand_on(by)),
            "/incidents/{id}/note": self._verb(_note),
            "/oncall/override": self.override,
            "/oncall/overrides/{id}/delete": self.take_back,
            "/phones/enrol": self.enrol,
            "/phones/{name}/test": self.test,
            "/phones/{name}/revoke": self.revoke,
        }
        return [
            web.post(path, shown(self._prefix, functools.partial(self._taken, act)), name=_named(path))
            for path, act in acts.items()
        ]

    async def _taken(self, act: Act, request: web.Request) -> web.Response:
        person = self._door.person(request)
        try:
            body = await read_body(request, _MOST)
            form = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=50))
        except (TooLarge, ValueError):
            raise web.HTTPBadRequest(text="this is no form of the console") from None
        self._door.check(request, person, form.get(FIELD, ""))
        return await act(request, person, form)

    def _verb(self, verb: Callable[[Form, str], Verb]) -> Act:
        async def act(request: web.Request, person: Person, form: Form) -> web.Response:
            name = request.match_info["id"]
            done = request.path.rpartition("/")[2]
            if await self._desk.act(name, verb(form, person.signature)) is None:
                raise web.HTTPNotFound(text="there is no such incident")
            log.info("acted at the console", incident=name, act=done, by=person.signature)
            return self._to(f"/incidents/{quote(name, safe='')}", done)

        return act

    def _silence(self, form: Form, by: str) -> Verb:
        text = form.get("minutes", "")
        minutes = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
        if not 0 < minutes <= _LONGEST / timedelta(minutes=1):
            raise web.HTTPBadRequest(text="a silence lasts from a minute to a week")
        return people.silence(self._desk.clock.now() + timedelta(minutes=minutes), by)

    async def override(self, _: web.Request, person: Person, form: Form) -> web.Response:
        """Put somebody else on call for a time; where that cannot be, the page says so beside the field."""
        now = self._desk.clock.now()
        try:
            name, found = overrides.read(self._desk.settings, filled(form), person.signature, now)
        except overrides.Unfit:
            typed = urlencode({field: form.get(field, "")[:_FIELD] for field in _OVERRIDE})
            return web.Response(status=303, headers={"Location": f"{self._prefix}/oncall?{typed}"})
        await overrides.write(self._desk, name, found)
        return self._to("/oncall", "override")

    async def take_back(self, request: web.Request, person: Person, _: Form) -> web.Response:
        """Delete an override."""
        if await overrides.delete(self._desk, request.match_info["id"], person.signature) is None:
            raise web.HTTPNotFound(
                text="there is no such override: somebody else deleted it, or it is of the configuration"
            )
        return self._to("/oncall", "take-back")

    async def enrol(self, _: web.Request, person: Person, form: Form) -> web.Response:
        """Make a one-time code, and show it as a QR code."""
        owner, device = form.get("owner", ""), form.get("device", "").strip() or None
        if owner not in self._desk.settings.people:
            raise web.HTTPNotFound(text="there is nobody of that name under people in the configuration")
        if device is not None and one_line(device, NAME) != device:
            raise web.HTTPBadRequest(text=f"a device's name is one line of at most {NAME} bytes")
        code = await devices.make_code(self._desk, owner, device)
        if code == "configured":
            words = (
                "that stands under `devices` in the configuration: take it out there, or leave out the name"
            )
            raise web.HTTPConflict(text=words)
        if code == "another's":
            raise web.HTTPConflict(text="that is the name of another device: choose another, or leave it out")
        log.info("acted at the console", act="enrol", owner=owner, by=person.signature)
        link = devices.link(self._phone_url().rstrip("/"), code)
        square = segno.make(link, error="m", micro=False)
        context = {
            "root": self._prefix,
            "owner": owner,
            "code": code.text,
            "url": self._phone_url().rstrip("/"),
            "expires": f"{code.expires_at:%H:%M} UTC",
            "qr": square.svg_inline(scale=6, border=3, dark="#000", light="#fff", svgclass="qr"),
        }
        frame = {"view": "phones", "live": "", "person": person, "done": "", "now": self._desk.clock.now()}
        return html(render("enrol.html", {**context, **frame}))

    async def test(self, request: web.Request, person: Person, _: Form) -> web.Response:
        """Ring one phone, and go where each hand-over is told."""
        name = request.match_info["name"]
        if not await self._desk.store.read(functools.partial(enrolment.list_devices, only=name)):
            raise web.HTTPNotFound(text="there is no such phone")
        change = await tests.begin(self._desk, "device", name, person.signature)
        return self._to(f"/incidents/{change.incident.id}", "test")

    async def revoke(self, request: web.Request, person: Person, _: Form) -> web.Response:
        """Let an enrolled phone go."""
        name = request.match_info["name"]
        if not await self._desk.revoke(name):
            raise web.HTTPNotFound(
                text="no such phone has enrolled: one of the configuration is taken away there"
            )
        log.info("device revoked", device=name, by=person.signature)
        return self._to("/phones", "revoke")

    def _to(self, path: str, done: str) -> web.Response:
        """Send the browser to a page that says what was done."""
        return web.Response(status=303, headers={"Location": f"{self._prefix}{path}?done={done}"})


def _note(form: Form, by: str) -> Verb:
    text = one_line(form.get("text", ""), _NOTE)
    if not text:
        raise web.HTTPBadRequest(text="a note needs words")
    return people.note(text, by)


def _named(path: str) -> str:
    parts = [part for part in path.split("/") if part and not part.startswith("{")]
    return "console." + "-".join(parts).replace("/", "-")
