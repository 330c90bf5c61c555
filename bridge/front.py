"""The web listener: which rooms it has, below which prefix, and who is let in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ssl import SSLContext
from typing import Final, Protocol

from aiohttp import web

from bridge.api.answers import errors
from bridge.config import Secret
from bridge.desk import Desk
from bridge.senders import Senders
from bridge.telemetry import Metrics
from bridge.web import Identity, Refused, WebConfig, listen, protect, same_origin
from bridge.web.guard import HEADERS, KEEP_ALIVE, GuardedSite, Guards, Limits, open_files

_WEB: Final = 512
_PHONES: Final = 4096
"""Connections at once, where the limit on open files allows as many."""

DRAIN: Final = 10.0
"""Seconds that requests and pushes in flight have to end at a stop; the ledger keeps the rest."""

_OPEN: Final = ("/-/healthy", "/-/ready")


class Room(Protocol):
    """What answers some paths."""

    def routes(self) -> list[web.RouteDef]:
        """Give the routes, as they are without a prefix."""
        ...


@dataclass(frozen=True, slots=True)
class Front:
    """What the rooms of the web listener have in common. `prefix` is "" or "/path"."""

    desk: Desk
    config: WebConfig
    metrics: Metrics
    senders: Senders
    prefix: str = ""
    voucher: Callable[[web.Request], Identity | None] | None = None

    def application(self, rooms: Iterable[Room]) -> web.Application:
        """Put rooms behind one door."""
        app = web.Application(middlewares=[errors])
        protect(
            app,
            self.config,
            exempt={self.prefix + path for path in _OPEN},
            override=self._source_credentials,
            voucher=self.voucher,
            known=lambda address: self.senders.standing(address) == "known",
            on_refused=self._refused,
            on_admitted=self._admitted,
        )
        self.config.on_reload = lambda error: self.metrics.web_reload_ok.set(error is None)
        self.metrics.web_reload_ok.set(1)
        app.middlewares.append(same_origin)
        for room in rooms:
            app.add_routes([self._below(route) for route in room.routes()])
            if (close := getattr(room, "close", None)) is not None:
                app.on_shutdown.append(close)
        return app

    def _below(self, route: web.RouteDef) -> web.RouteDef:
        return web.RouteDef(route.method, self.prefix + route.path, route.handler, route.kwargs)

    def _source_credentials(self, request: web.Request) -> Secret | None:
        source = self.desk.settings.sources.get(request.match_info.get("source", ""))
        return source.credentials if source is not None else None

    def _webhook(self, request: web.Request) -> bool:
        parts = request.path.removeprefix(self.prefix).split("/")
        return request.method == "POST" and parts[1:2] == ["webhook"]

    async def _admitted(self, request: web.Request, who: Identity) -> None:
        if who.scheme != "none" and self._webhook(request):
            await self.senders.welcome(request.remote or "")

    async def _refused(self, request: web.Request, refused: Refused) -> bool:
        """Rule 7: an Alertmanager with wrong credentials loses its alerts; somebody must know.

        False: nobody would.
        """
        self.metrics.refusals.labels("web", refused.reason).inc()
        if not self._webhook(request):
            return True
        source = request.match_info.get("source", "default")
        known = source if source in self.desk.settings.sources else "default"
        recorded = refused.status != 401 or await self.senders.refused(
            self.desk, known, request.remote or "", refused.error
        )
        self.metrics.webhooks.labels(known, str(refused.status if recorded else 503)).inc()
        return recorded


def guards(metrics: Metrics, listener: str) -> Guards:
    """Make the guards of a listener, who count what they cut off; half of the open files are for others."""
    most = open_files()
    connections = min(_PHONES, most // 4) if listener == "phone" else min(_WEB, most // 8)
    return Guards(Limits(connections), lambda why: metrics.cut.labels(listener, why).inc())


async def serve(
    stack: AsyncExitStack,
    app: web.Application,
    addresses: Sequence[str],
    context: SSLContext | None,
    watch: Guards,
) -> list[str]:
    """Listen; `stack` unwinds it. Gives the URLs, with the ports that were given out. Raises OSError."""
    app.middlewares.insert(0, watch.middleware)
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=DRAIN, keepalive_timeout=KEEP_ALIVE, max_headers=HEADERS
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    found = []
    for text in addresses:
        address = listen(text)
        site = GuardedSite(runner, watch, address.host, address.port, ssl_context=context)
        await site.start()
        found.append(_url(site, "https" if context else "http"))
    return found


def _url(site: web.TCPSite, scheme: str) -> str:
    server = site._server  # noqa: SLF001 - aiohttp gives the bound port in no other way for port 0
    host, port = server.sockets[0].getsockname()[:2]  # type: ignore[union-attr]
    if host in {"0.0.0.0", "::"}:
        host = "127.0.0.1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
