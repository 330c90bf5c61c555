"""The page that shows the phones, and the stream that keeps it true."""

from __future__ import annotations

import asyncio
import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientConnectionResetError, web

from bridge.simulator.screens import known_bridge, screen

if TYPE_CHECKING:
    from bridge.simulator import Simulator

_FILES: Final = {
    "/": "simulator/static/phones.html",
    "/phones.css": "simulator/static/phones.css",
    "/phones.js": "simulator/static/phones.js",
    "/icon.svg": "simulator/static/icon.svg",
    "/style.css": "look/style.css",
}
"""By path, what lies under bridge/: the page, and the one stylesheet, which it shares with the console."""

_TYPES: Final = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_PAUSE: Final = 0.05  # seconds in which changes are gathered
_SIGN_OF_LIFE: Final = 15.0


def wants_page(request: web.Request) -> bool:
    """Tell a browser from a program."""
    return "text/html" in request.headers.get("Accept", "")


def file(path: str) -> web.Response:
    """Give one of the page's files, "/" being the page itself."""
    name = _FILES[path]
    text = files("bridge").joinpath(name).read_text()
    return web.Response(
        text=text,
        content_type=_TYPES[name.rpartition(".")[2]],
        headers={"Cache-Control": "no-cache", "Vary": "Accept"},
    )


class Screens:
    """The routes of the page."""

    def __init__(self, sim: Simulator) -> None:
        self._sim = sim

    def routes(self) -> list[web.RouteDef]:
        """Give the routes; the page itself is at "/", beside the list for programs."""
        return [web.get("/screens", self.stream), *(web.get(path, _static) for path in _FILES if path != "/")]

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send every screen, then each that changes, as server-sent events without names."""
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        try:
            await response.write(b"retry: 1000\n\n")
            await self._send(response)
        except ClientConnectionResetError:
            pass  # the page has been closed
        return response

    async def _send(self, response: web.StreamResponse) -> None:
        shown: dict[str, dict[str, Any]] = {}
        while True:
            newest = self._sim.events.newest
            phones = list(self._sim.phones)
            screens = {phone.name: screen(phone) for phone in phones}
            changed = [one for name, one in screens.items() if shown.get(name) != one]
            news = {"phones": list(screens), "changed": changed, "bridge": known_bridge(phones)}
            news |= {"console": self._sim.console_url, "alarm": self._sim.alarm is not None}
            await response.write(f"data: {json.dumps(news)}\n\n".encode())
            shown = screens
            if not await self._moved(newest, response):
                return
            await asyncio.sleep(_PAUSE)

    async def _moved(self, newest: int, response: web.StreamResponse) -> bool:
        """Wait until something has happened; False: nothing will happen any more."""
        while True:
            try:
                return await self._sim.events.moved(newest, _SIGN_OF_LIFE)
            except TimeoutError:
                await response.write(b": still here\n\n")


async def _static(request: web.Request) -> web.Response:
    return file(request.path)
