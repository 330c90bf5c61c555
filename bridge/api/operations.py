"""/-/healthy, /-/ready, /-/reload and /metrics, as Alertmanager has them, and /-/status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from bridge.api.answers import answer, problem
from bridge.config import ConfigError
from bridge.telemetry import Metrics


class Operations:
    """What an operator, a probe and Prometheus ask.

    `unready` gives the reasons why the bridge cannot do its work now, `standing` those to start it anew;
    `reload` swaps the configuration and raises ConfigError; `observe` brings the gauges up to date;
    `status` tells how each part is.
    """

    def __init__(
        self,
        metrics: Metrics,
        unready: Callable[[], Awaitable[list[str]]],
        standing: Callable[[], list[str]],
        reload: Callable[[], Awaitable[None]],
        observe: Callable[[], Awaitable[None]],
        status: Callable[[], Awaitable[dict[str, Any]]],
    ) -> None:
        self._metrics = metrics
        self._unready = unready
        self._standing = standing
        self._reload = reload
        self._observe = observe
        self._status = status

    def routes(self) -> list[web.RouteDef]:
        """Give the routes."""
        return [
            web.get("/-/healthy", self.healthy),
            web.get("/-/ready", self.ready),
            web.post("/-/reload", self.reload),
            web.get("/-/status", self.status),
            web.get("/metrics", self.metrics),
        ]

    async def healthy(self, _: web.Request) -> web.Response:
        """Say that the process answers and its loops go round: 503 where only a restart can help."""
        if reasons := self._standing():
            return problem(503, "; ".join(reasons))
        return web.Response(text="OK")

    async def ready(self, _: web.Request) -> web.Response:
        """Say whether the store and the loops work: 503 with the reasons where they do not."""
        reasons = await self._unready()
        if reasons:
            return problem(503, "; ".join(reasons))
        return web.Response(text="OK")

    async def reload(self, _: web.Request) -> web.Response:
        """Swap the configuration; a bad file answers 500 with every problem, and the old one stays."""
        try:
            await self._reload()
        except ConfigError as error:
            return answer(
                {"error": "the configuration was not reloaded", "problems": str(error).splitlines()}, 500
            )
        return web.Response(text="OK")

    async def status(self, _: web.Request) -> web.Response:
        """Say how each part is, as JSON."""
        return answer(await self._status())

    async def metrics(self, request: web.Request) -> web.Response:
        """Give the metrics in Prometheus' text format; as OpenMetrics, with exemplars, to who asks for it."""
        await self._observe()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._metrics.registry), headers={"Content-Type": content_type})
