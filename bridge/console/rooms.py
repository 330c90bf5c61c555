"""The pages and their addresses."""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from aiohttp import web

from bridge.console.acts import Acts
from bridge.console.door import Door, Person, fresh
from bridge.console.live import Live, Parts
from bridge.console.rendering import ASSETS, render
from bridge.console.replies import DONE, html, shown
from bridge.console.sight import Asked, Context, Sight
from bridge.look import asset

Look: TypeAlias = Callable[[web.Request], Awaitable[Context]]

_NUMBER: Final = re.compile("[1-9][0-9]{0,5}")
_LONGEST: Final = 20_000
"""Characters of labels that are explained."""


@dataclass(frozen=True, slots=True)
class View:
    """A page: its path, what it shows, and the parts of it that are kept up to date."""

    name: str
    path: str
    look: Look
    parts: tuple[str, ...] = ()


class Console:
    """The pages, and what their forms do. `prefix` is "" or "/path"."""

    def __init__(self, sight: Sight, door: Door, acts: Acts, prefix: str) -> None:
        self._sight = sight
        self.door = door
        self._acts = acts
        self._prefix = prefix
        self.live = Live(sight.metrics)
        # Stands for a token in what all who look at a page share.
        self._blank = secrets.token_hex(32)
        self._views = (
            View("now", "/", self._now, ("headline", "signs", "incidents", "duty", "news")),
            View("history", "/incidents", self._history),
            View(
                "incident", "/incidents/{id}", self._incident, ("state", "hops", "picture", "lines", "alerts")
            ),
            View("phones", "/phones", self._phones, ("cards",)),
            View("oncall", "/oncall", self._on_call, ("schedules", "receivers")),
            View("explain", "/explain", self._explain),
        )

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        found = [web.get("/assets/{tag}/{name}", self.asset, name="console.asset")]
        for view in self._views:
            page = shown(self._prefix, functools.partial(self.page, view))
            found.append(web.get(view.path, page, name=f"console.{view.name}"))
            if view.parts:
                path = f"/live{view.path}".rstrip("/")
                live = functools.partial(self.stream, view)
                found.append(web.get(path, live, name=f"console.live-{view.name}"))
        return [*found, *self._acts.routes()]

    async def close(self, _: web.Application) -> None:
        """End every stream: the listener stops."""
        self.live.close()

    async def asset(self, request: web.Request) -> web.Response:
        """Give a file of the pages: kept for ever, for its address says what is in it."""
        name, tag = request.match_info["name"], request.match_info["tag"]
        if name not in ASSETS:
            raise web.HTTPNotFound
        found = asset(name, ASSETS[name])
        kept = "public, max-age=31536000, immutable" if tag == found.tag else "no-store"
        headers = {"Cache-Control": kept, "X-Content-Type-Options": "nosniff"}
        return web.Response(
            body=found.content, content_type=found.content_type, charset="utf-8", headers=headers
        )

    async def page(self, view: View, request: web.Request) -> web.Response:
        """Show a page, and begin a session where there is none: its forms need one."""
        person = self.door.person(request)
        session = self.door.session(request) or fresh()
        context = await view.look(request)
        done = DONE.get(request.query.get("done", ""), "")
        common = self._common(view, request, person, self.door.token(session, person))
        response = html(render(f"{view.name}.html", {**context, **common, "done": done}))
        self.door.keep_session(request, response, session)
        return response

    async def stream(self, view: View, request: web.Request) -> web.StreamResponse:
        """Keep a page up to date."""
        person = self.door.person(request)
        token = self.door.token(self.door.session(request) or "", person)

        async def make() -> Parts:
            common = self._common(view, request, person, self._blank)
            context = {**await view.look(request), **common, "done": ""}
            return {name: render(f"{view.name}/{name}.html", context) for name in view.parts}

        key = (view.name, request.path_qs, person.role)
        return await self.live.stream(
            request,
            key,
            make,
            finish=lambda text: text.replace(self._blank, token),
            stands=lambda: self.door.stands(person),
        )

    def _common(self, view: View, request: web.Request, person: Person, token: str) -> dict[str, Any]:
        path = request.rel_url.raw_path.removeprefix(self._prefix).rstrip("/")
        query = {name: value for name, value in request.query.items() if name == "page"}
        live = request.rel_url.with_path(f"{self._prefix}/live{path}", encoded=True).with_query(query)
        return {
            "root": self._prefix,
            "view": view.name,
            "live": str(live) if view.parts else "",
            "person": person,
            "csrf": token,
        }

    # --- what each page shows ---

    async def _now(self, request: web.Request) -> Context:
        return await self._sight.now(_page(request))

    async def _history(self, request: web.Request) -> Context:
        return await self._sight.history(_page(request))

    async def _incident(self, request: web.Request) -> Context:
        found = await self._sight.incident(request.match_info["id"])
        if found is None:
            raise web.HTTPNotFound(text="there is no such incident, or it is older than what is kept")
        return found

    async def _phones(self, _: web.Request) -> Context:
        return await self._sight.devices()

    async def _on_call(self, request: web.Request) -> Context:
        return await self._sight.on_call(request.query)

    async def _explain(self, request: web.Request) -> Context:
        incident_id, _, fingerprint = request.query.get("alert", "").partition("/")
        picked = (incident_id, fingerprint) if fingerprint else None
        labels, at = (request.query.get(name, "")[:_LONGEST] for name in ("labels", "at"))
        return await self._sight.explain(Asked(labels, at, picked))


def _page(request: web.Request) -> int:
    text = request.query.get("page", "1")
    return int(text) if _NUMBER.fullmatch(text) else 1
