"""The pages and their addresses."""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from aiohttp import web

from bridge.console.live import Live, Parts
from bridge.console.rendering import ASSETS, render
from bridge.console.sight import Sight
from bridge.look import asset
from bridge.telemetry import Metrics
from bridge.web import identity

Context: TypeAlias = dict[str, Any]

_NUMBER: Final = re.compile("[1-9][0-9]{0,5}")

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With no-referrer a browser would send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


@dataclass(frozen=True, slots=True)
class View:
    """A page that stays up to date: its template, the parts that are told anew, and what it shows."""

    name: str
    template: str
    parts: tuple[str, ...]
    look: Callable[[web.Request], Awaitable[Context]]


class Console:
    """The pages. `prefix` is "" or "/path"."""

    def __init__(self, sight: Sight, metrics: Metrics, prefix: str) -> None:
        self._sight = sight
        self._prefix = prefix
        self.live = Live(metrics)
        self._views = [View("now", "now.html", ("headline", "signs", "incidents", "duty", "news"), self._now)]

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        pages = {"now": "/"}
        found = [web.get("/assets/{tag}/{name}", self.asset, name="console.asset")]
        for view in self._views:
            page, live = (functools.partial(how, view) for how in (self.page, self.stream))
            path = pages[view.name]
            found.append(web.get(path, page, name=f"console.{view.name}"))
            found.append(
                web.get(f"/live{path.rstrip('/') or '/now'}", live, name=f"console.live-{view.name}")
            )
        return found

    async def asset(self, request: web.Request) -> web.Response:
        """Give a file of the pages: kept for ever, for its name says what is in it."""
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
        """Show a page."""
        context = await view.look(request) | self._common(view, request)
        return _html(render(view.template, context))

    async def stream(self, view: View, request: web.Request) -> web.StreamResponse:
        """Keep a page up to date."""

        async def make() -> Parts:
            context = await view.look(request) | self._common(view, request)
            return {name: render(f"{view.name}/{name}.html", context) for name in view.parts}

        return await self.live.stream(request, (view.name, request.path_qs), make, str)

    def _common(self, view: View, request: web.Request) -> Context:
        live = f"{self._prefix}/live{request.rel_url.path.removeprefix(self._prefix).rstrip('/') or '/now'}"
        query = f"?{request.query_string}" if request.query_string else ""
        return {
            "root": self._prefix,
            "view": view.name,
            "live": live + query,
            "person": identity(request).name,
        }

    async def _now(self, request: web.Request) -> Context:
        text = request.query.get("page", "1")
        return await self._sight.now(int(text) if _NUMBER.fullmatch(text) else 1)


def _html(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        text=text,
        status=status,
        content_type="text/html",
        headers={**_HEADERS, "Cache-Control": "no-store", **(headers or {})},
    )
