"""`serve --tracing`: one trace from Alertmanager's webhook over Apple to the phone's receipt, also over a restart."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from appworld import World
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
UPSTREAM = f"00-{TRACE}-{CALLER}-01"
UNSAMPLED = f"00-{TRACE}-{CALLER}-00"


class Collector:
    """Takes spans as an OpenTelemetry collector does (OTLP over HTTP, protobuf)."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        sent = ExportTraceServiceRequest.FromString(
            gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
        )
        for resource in sent.resource_spans:
            self.resources.append({a.key: a.value.string_value for a in resource.resource.attributes})
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    it = Collector()
    app = web.Application()
    app.add_routes([web.post("/v1/traces", it.take)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    it.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", it.url)
    yield it
    await runner.cleanup()


async def webhook(world: World, traceparent: str, *alerts: dict[str, Any]) -> None:
    answer = await world.post("/webhook", world.message(*alerts), headers={"traceparent": traceparent})
    assert answer.status == 200
    await world.settled()


def attributes(span: Any) -> dict[str, Any]:
    return {a.key: a.value.string_value or a.value.int_value for a in span.attributes}


async def test_webhook_push_and_receipts_are_one_trace_that_goes_on_from_alertmanagers(
    stage: World, collector: Collector
) -> None:
    stage.options["tracing"] = True
    await stage.start()
    await webhook(stage, UPSTREAM, stage.alert())
    stage.alice.answer()
    await stage.settled()
    await stage.stop()  # what has not been sent yet is sent now
    (taken,) = collector.named("webhook")
    (push,) = collector.named("push")
    receipts = collector.named("receipt")
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    assert taken.parent_span_id.hex() == CALLER
    assert push.parent_span_id == taken.span_id
    assert [span.parent_span_id for span in receipts] == [taken.span_id] * 2
    assert attributes(taken)["http.response.status_code"] == 200
    assert attributes(push)["outcome"] == "accepted"
    assert [attributes(span)["receipt"] for span in receipts] == ["received", "answered"]
    assert collector.resources[0]["service.name"] == "pushkit-bridge"


async def test_what_rings_after_a_restart_is_still_of_the_webhook_that_was_its_cause(
    stage: World, collector: Collector
) -> None:
    stage.options["tracing"] = True
    await stage.start()
    await webhook(stage, UPSTREAM, stage.alert())
    await stage.restart()
    await stage.pass_(45)
    await webhook(stage, UPSTREAM.replace(TRACE, "f" * 32), stage.alert())  # a repeat brings no news
    await stage.pass_(45)
    await stage.stop()
    assert [span.trace_id.hex() for span in collector.named("push")] == [TRACE] * 3


async def test_a_call_for_two_incidents_is_linked_to_the_trace_of_the_other(
    stage: World, collector: Collector
) -> None:
    stage.options["tracing"] = True
    await stage.start()
    other = "e" * 32
    await webhook(stage, UPSTREAM, stage.alert())
    await webhook(stage, UPSTREAM.replace(TRACE, other), stage.alert("Another"))
    await stage.pass_(90)
    await stage.stop()
    both = [
        {span.trace_id.hex(), *(link.trace_id.hex() for link in span.links)}
        for span in collector.named("push")
    ]
    assert {TRACE, other} in both


async def test_a_webhook_that_its_sender_does_not_record_is_not_recorded_here_either(
    stage: World, collector: Collector
) -> None:
    stage.options["tracing"] = True
    await stage.start()
    await webhook(stage, UNSAMPLED, stage.alert())
    await stage.stop()
    assert collector.spans == []


async def test_nothing_is_recorded_unless_it_is_asked_for(stage: World, collector: Collector) -> None:
    await stage.start()
    await webhook(stage, UPSTREAM, stage.alert())
    await stage.stop()
    assert collector.spans == []


async def test_no_secret_is_in_what_is_recorded(stage: World, collector: Collector) -> None:
    stage.options["tracing"] = True
    await stage.start()
    await webhook(stage, UPSTREAM, stage.alert())
    secrets = stage.secrets()
    await stage.stop()
    told = b"".join(span.SerializeToString() for span in collector.spans)
    assert len(told) > 100
    assert not [secret for secret in secrets if secret.encode() in told]


async def test_a_collector_that_is_away_holds_up_no_ring(
    stage: World, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    del collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    stage.options["tracing"] = True
    await stage.start()
    await webhook(stage, UPSTREAM, stage.alert())
    assert stage.rings() == [0]
    await stage.stop()
