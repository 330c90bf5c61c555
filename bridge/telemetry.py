"""Logs and metrics. No token, key or credential goes into either."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final, Literal, TextIO, TypeAlias

import orjson
import structlog
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bridge import __version__

LogFormat: TypeAlias = Literal["json", "console", "auto"]

_LATENCY: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
"""Seconds: a page is good below one, and late above ten."""


def configure_logs(level: str, form: LogFormat) -> None:
    """Set structlog up: lines of JSON, or colours for a person at a terminal ("auto" looks for one)."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if console:
        render: list[structlog.typing.Processor] = [
            _visible_fields,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_traceback),
        ]
    else:
        render = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json)]
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # What libraries say through the standard module comes out in the same form.
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    handler.addFilter(_without_what_was_sent)
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


def _without_what_was_sent(record: logging.LogRecord) -> bool:
    """Drop the traceback of a request that is no HTTP: it quotes the header, which may be a credential."""
    if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
        record.exc_info = record.exc_text = None
    return True


def _json(value: Any, **_: Any) -> str:
    try:
        text = orjson.dumps(value, default=str).decode()
    except TypeError:  # half a surrogate pair, from a path that is not UTF-8
        return json.dumps(value, default=str)
    # orjson leaves these as they are, and a terminal that shows the log would obey them.
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_UNSEEN: Final = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


def _visible(text: str) -> str:
    """Escape what a terminal would obey instead of showing it, as a label may hold it; lines stay."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def _visible_fields(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = _visible(value).replace("\n", "\\n") if name == "event" else _visible(value)
    return event


def _traceback(out: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    """Write a plain one: those of rich show the values of variables, and one of them can be a token."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    out.write(_visible(text.getvalue()))


class Metrics:
    """The bridge's metrics, in a registry of their own: several bridges can live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.webhooks = self._counter("webhooks", "Webhooks by source and HTTP status.", "source", "code")
        self.webhook_seconds = self._histogram("webhook_duration_seconds", "Time to answer a webhook.")
        self.alerts = self._counter("alerts", "Alerts received, by source and status.", "source", "status")
        self.repaired = self._counter("alerts_repaired", "Broken alerts that were mended.", "source")
        self.pages_settled = self._counter("pages_settled", "Pages by kind and outcome.", "kind", "outcome")
        self.pages = self._gauge("pages", "Pages without outcome, by state.", "state")
        self.oldest = self._gauge("outbox_oldest_seconds", "How long the oldest page has been due.")
        self.overdue = self._gauge("pages_overdue", "Pages past their time without an outcome: a fault.")
        self.overdue_age = self._gauge(
            "pages_overdue_oldest_seconds", "How long the time of the oldest overdue page has been over."
        )
        self.incidents = self._gauge("incidents", "Open incidents by state.", "state")
        self.unanswered = self._gauge(
            "incidents_unanswered", "Open incidents whose policy has ended unanswered."
        )
        self.pushes = self._counter(
            "pushes", "Requests to APNs by outcome and reason.", "push", "outcome", "reason"
        )
        self.push_seconds = self._histogram("push_duration_seconds", "Time from request to APNs' answer.")
        self.acceptance_seconds = self._histogram(
            "page_acceptance_seconds",
            "Time from the commit of a page (its webhook, or its ring) to acceptance.",
        )
        self.receipt_seconds = self._histogram(
            "page_receipt_seconds",
            "Time from the commit of a page (its webhook, or its ring) to the phone's first word of it.",
        )
        self.unheard = self._counter(
            "calls_unheard", "Pushes that APNs took and of which the phone said nothing in time.", "push"
        )
        self.outgoing = self._counter("outgoing_webhooks", "Posts to webhook targets, by outcome.", "outcome")
        self.receipts = self._counter("receipts", "Receipts from phones.", "receipt")
        self.enrolments = self._counter("enrolments", "Codes that phones tried, by outcome.", "outcome")
        self.cut = self._counter(
            "connections_cut", "Connections that were cut off, by listener and reason.", "listener", "reason"
        )
        self.streams = self._gauge("event_streams", "Open event streams of phones.")
        self.viewers = self._gauge("console_streams", "Open pages of the console that are kept up to date.")
        self.troubled = self._gauge(
            "device_trouble", "1 for each device with a token set aside.", "device", "reason"
        )
        self.doubtful = self._gauge(
            "device_doubtful",
            "For each phone that accepts and never says that it rang: its silent calls in a row.",
            "device",
        )
        self.bare = self._gauge(
            "devices_without_key",
            "Phones in use without an encryption key; where that is required they ring without saying why.",
        )
        self.stale = self._gauge(
            "schedule_stale_seconds",
            "For each schedule by a calendar: how long ago that was last read, 0 while it can be read.",
            "schedule",
        )
        self.drills = self._counter(
            "drills", "Drills by outcome: passed, failed, missed.", "drill", "outcome"
        )
        self.unconfirmed = self._gauge(
            "drill_unconfirmed",
            "For each who took part in the last drill of a name: 1 if they did not confirm.",
            "drill",
            "who",
        )
        self.heartbeat_age = self._gauge(
            "heartbeat_last_seen_seconds",
            "For each heartbeat: how long ago it came, or, before it came at all, was first waited for.",
            "heartbeat",
        )
        self.heartbeat_missing = self._gauge(
            "heartbeat_missing", "For each heartbeat: 1 while it stays away past its time.", "heartbeat"
        )
        self.alertmanager_unreachable = self._gauge(
            "alertmanager_unreachable_seconds",
            "For each Alertmanager of the configuration: since when it cannot be asked, 0 while it can.",
            "alertmanager",
        )
        self.alerts_gone = self._counter(
            "alerts_gone", "Alerts that ended because Alertmanager had them no more.", "alertmanager"
        )
        self.silences = self._counter(
            "silences", "Silences in Alertmanager that were created, changed, ended, or failed.", "outcome"
        )
        self.silences_waiting = self._gauge(
            "silences_waiting", "Incidents whose silence Alertmanager has not made or ended yet."
        )
        self.token_age = self._gauge("apns_provider_token_age_seconds", "Age of the APNs provider token.")
        self.connections = self._gauge("apns_connections", "Open connections to APNs.")
        self.apns_usable = self._gauge("apns_usable", "1 if APNs can be reached and accepts our credentials.")
        self.reload_ok = self._gauge("config_last_reload_successful", "1 if the last load succeeded.")
        self.reload_time = self._gauge(
            "config_last_reload_success_timestamp_seconds", "When a load last succeeded."
        )
        self.refusals = self._counter(
            "requests_refused", "Requests that were not let in, by listener and reason.", "listener", "reason"
        )
        self.web_reload_ok = self._gauge("web_config_last_reload_successful", "1 if the last load succeeded.")
        self.heartbeat = self._counter("heartbeats", "Pings of --heartbeat.url, by outcome.", "outcome")
        self.clock_drift = self._gauge(
            "clock_drift_seconds", "How far the wall clock has jumped since the start."
        )
        self._gauge("build_info", "The version that runs.", "version").labels(__version__).set(1)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"pushkit_bridge_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"pushkit_bridge_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str) -> Histogram:
        return Histogram(f"pushkit_bridge_{name}", text, buckets=_LATENCY, registry=self.registry)
