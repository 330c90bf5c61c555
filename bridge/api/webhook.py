"""POST /webhook and POST /webhook/{source}: committed, then 200."""

from __future__ import annotations

import asyncio
import difflib
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Final

import structlog
from aiohttp import web
from msgspec.structs import replace

from bridge import alerts
from bridge.api.admission import Admission, Busy, Ticket
from bridge.api.answers import TooLarge, answer, busy, errors, problem, read_body
from bridge.config import Settings
from bridge.desk import Desk, brief
from bridge.tracing import Span

log = structlog.get_logger()

DEFAULT_SOURCE: Final = "default"
_OPENING: Final = frozenset({"triggered", "rejoined"})
_LARGE: Final = 64 * 1024
_NAMED: Final = 10
"""So many broken alerts of a notification are named in the log."""
_LABELS: Final = 100
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class Webhook:
    """Takes Alertmanager's message, version 4. `news` is told the source of one that opens an alert."""

    def __init__(self, desk: Desk, news: Callable[[str], None]) -> None:
        self._desk = desk
        self._news = news
        self._labels: set[str] = set()
        self._admission = Admission()

    def routes(self) -> list[web.RouteDef]:
        """Give the routes of the two forms; whatever is below /webhook/ was meant for us."""
        return [web.post("/webhook", self.post), web.post("/webhook/{source:.*}", self.post)]

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Answer 200 once everything is committed; 400, 404, 413 for what can never succeed; 503 else."""
        source = request.match_info.get("source", DEFAULT_SOURCE)
        upstream = request.headers.get("traceparent", "")
        with self._desk.tracer.span("webhook", "server", [upstream], source=source[:100]) as span:
            response = await self._answer(request, source, span)
            span.note(http__response__status_code=response.status)
        return response

    async def _answer(self, request: web.Request, source: str, span: Span) -> web.StreamResponse:
        began = time.monotonic()  # the desk's clock may be steered meanwhile
        known = known_source(self._desk.settings, source)
        label = self._label(source) if known is None else "unknown"
        response = known or await errors(request, partial(self._take, source, span))
        if known is not None:
            refused = f"A webhook was sent to a source that is not configured: {source[:100]}"
            response = await self._refuse(known, {"reason": "unknown source", "code": "404"}, refused)
        self._desk.metrics.webhooks.labels(label, str(response.status)).inc()
        self._desk.metrics.webhook_seconds.observe(time.monotonic() - began)
        return response

    async def _take(self, source: str, span: Span, request: web.Request) -> web.StreamResponse:
        limit = self._desk.settings.max_body_size
        try:
            with self._admission.enter(source, limit) as ticket:
                return await self._read(source, span, request, limit, ticket)
        except Busy:
            log.warning("webhook put off", source=source, code=503)
            return busy()

    async def _read(
        self, source: str, span: Span, request: web.Request, limit: int, ticket: Ticket
    ) -> web.StreamResponse:
        try:
            body = await read_body(request, limit, ticket.grow)
        except TooLarge:
            hint = "raise max_body_size, or set max_alerts in Alertmanager's webhook_config"
            return await self._too_large(
                source, f"the body is larger than max_body_size ({limit} bytes)", hint
            )
        try:
            notification = await _parsed(body, source, self._desk.clock.now())
        except alerts.TooManyAlerts as error:
            return await self._too_large(
                source, str(error), "set max_alerts in Alertmanager's webhook_config"
            )
        except alerts.NotAnAlertmanagerMessage as error:
            log.error("webhook refused", source=source, code=400, error=str(error))  # noqa: TRY400
            return problem(400, str(error))
        changes = await self._desk.receive(replace(notification, traceparent=span.traceparent))
        span.note(alerts=len(notification.alerts), incidents=[change.incident.id for change in changes])
        if any(event.kind in _OPENING for change in changes for event in change.events):
            self._news(source)
        self._count(notification)
        done = brief(changes)
        log.info(
            "webhook",
            source=source,
            group_key=notification.group_key,
            alerts=len(notification.alerts),
            **done,
        )
        return answer({"status": "ok", **done})

    async def _too_large(self, source: str, error: str, hint: str) -> web.StreamResponse:
        log.error("webhook refused", source=source, code=413, error=error)
        summary = f"A webhook for {source} was refused, and its alerts are lost: {error}"
        return await self._refuse(problem(413, error, hint), {"source": source, "code": "413"}, summary)

    async def _refuse(
        self, response: web.StreamResponse, labels: Mapping[str, str], summary: str
    ) -> web.StreamResponse:
        """Refuse for good what somebody hears of; else 503, for its alerts would be gone without a trace."""
        recorded = await self._desk.alarm("PushkitBridgeWebhookRefused", labels, summary)
        return response if recorded else busy()

    def _count(self, notification: alerts.Notification) -> None:
        source = self._label(notification.source)
        firing = sum(alert.firing for alert in notification.alerts)
        repaired = [alert for alert in notification.alerts if alert.repairs]
        self._desk.metrics.alerts.labels(source, "firing").inc(firing)
        self._desk.metrics.alerts.labels(source, "resolved").inc(len(notification.alerts) - firing)
        if repaired:
            self._desk.metrics.repaired.labels(source).inc(len(repaired))
        for alert in repaired[:_NAMED]:
            log.warning(
                "broken alert repaired",
                fingerprint=alert.fingerprint,
                repairs=alert.repairs,
                more=max(len(repaired) - _NAMED, 0),
            )

    def _label(self, source: str) -> str:
        """Name a source in a metric. Where none is configured anybody can make names up: not without end."""
        if len(self._labels) < _LABELS:
            self._labels.add(source)
        return source if source in self._labels or source in self._desk.settings.sources else "other"


async def _parsed(body: bytes, source: str, now: datetime) -> alerts.Notification:
    """Parse, a large body beside the loop: it must not hold up a phone's answer."""
    if len(body) < _LARGE:
        return alerts.parse(body, source, now)
    return await asyncio.to_thread(alerts.parse, body, source, now)


def known_source(settings: Settings, source: str) -> web.Response | None:
    """Give None for a source that may send, else the answer that says why not."""
    if source in settings.sources or source == DEFAULT_SOURCE:
        return None
    if not _NAME.fullmatch(source) or source in {alerts.INTERNAL_SOURCE, alerts.DRILL_SOURCE}:
        return problem(404, f"{source[:100]!r} cannot be a source", "use letters, digits, '_', '.' and '-'")
    if not settings.sources:
        return None
    close = difflib.get_close_matches(source, [*settings.sources, DEFAULT_SOURCE], n=1)
    hint = f"did you mean /webhook/{close[0]}?" if close else "add it under sources: in the configuration"
    return problem(404, f"there is no source {source!r}", hint)
